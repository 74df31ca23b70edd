//! Which run a request names; older clients call the id `run_uuid`.

use super::body::blank;

/// The run that a request names.
pub(super) fn run_of(run_id: Option<String>, run_uuid: Option<String>) -> String {
    run_id
        .filter(|id| !id.is_empty())
        .or(run_uuid)
        .unwrap_or_default()
}

/// Whether a request names no run.
pub(super) fn no_run(run_id: Option<&String>, run_uuid: Option<&String>) -> bool {
    match run_id {
        Some(id) => id.is_empty(),
        None => blank(run_uuid),
    }
}
