//! What names, texts and model URIs in the wishes for an evaluation may be.

use crate::{error::Violations, registry::ModelRef};

/// The longest name of an evaluation or a scorer, in characters.
pub const MAX_NAME_LEN: usize = 250;
/// The longest template of a judge or an LLM target, in bytes.
const MAX_TEMPLATE_LEN: usize = 100_000;

pub(super) fn check_name(bad: &mut Violations, field: &str, text: &str) {
    if text.is_empty() {
        bad.add(field, "must be given");
    } else if text.chars().count() > MAX_NAME_LEN || text.contains('\0') {
        bad.add(
            field,
            format!("must be at most {MAX_NAME_LEN} characters, without NUL"),
        );
    }
}

pub(super) fn check_text(bad: &mut Violations, field: &str, text: &str) {
    if text.len() > MAX_TEMPLATE_LEN || text.contains('\0') {
        bad.add(
            field,
            format!("must be at most {MAX_TEMPLATE_LEN} bytes, without NUL"),
        );
    }
}

/// Only URIs of registered versions: a verdict binds a version.
pub(super) fn check_model(bad: &mut Violations, field: &str, uri: &str) {
    let found = bad.take(field, ModelRef::parse(field, uri));
    if let Some(ModelRef::Run { .. } | ModelRef::LoggedModel(_)) = found {
        bad.add(field, "must name a registered version, such as `models:/NAME/3`");
    }
}
