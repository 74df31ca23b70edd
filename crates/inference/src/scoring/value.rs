//! The value of a form in JSON: what it is read with, what is read, and how its faults are told.

use lodeway_domain::signature::ModelSignature;

use super::Form;
use crate::{Payload, fault::Fault};

/// Values as they were read from one of the forms.
#[derive(Debug)]
pub(super) struct Values {
    pub(super) payload: Payload,
    pub(super) ignored: Vec<String>,
    pub(super) has_index: bool,
}

/// What a value is read with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'s> {
    pub(super) form: Form,
    pub(super) signature: Option<&'s ModelSignature>,
    /// The bytes of the body, which bound what may come of it.
    pub(super) body_bytes: usize,
    /// Whether columns without values get a type all the same.
    pub(super) is_packed: bool,
}

/// A fault of one of the forms, with the key before the path.
pub(super) fn fault(form: Form, path: &str, why: impl Into<String>) -> Fault {
    Fault::at(format!("{}{path}", form.key().unwrap_or("body")), why)
}
