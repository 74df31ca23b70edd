//! What is put on record of a rollout: who its revisions are by, and what happened to it.

use lodeway_domain::{
    serving::{Authorship, RevisionReason, Rollout, RolloutEvent, by_whom},
    time::Timestamp,
};

/// Who a revision is by that a rollout makes: whoever began the rollout.
pub(super) fn author(rollout: &Rollout, now: Timestamp, reason: RevisionReason) -> Authorship {
    Authorship {
        principal: rollout.principal.clone(),
        principal_verified: rollout.principal_verified,
        created: now,
        comment: rollout.comment.clone(),
        reason,
    }
}

/// An event in words, as the list of what happened has it. Steps are counted from 1, as people do.
pub(super) fn describe(event: &RolloutEvent) -> String {
    match event {
        RolloutEvent::Published => "traffic is set".to_owned(),
        RolloutEvent::Advance { to_step } => format!("goes on to step {}", to_step + 1),
        RolloutEvent::RollBack { reason } => format!("goes back: {reason}"),
        RolloutEvent::Restored => "traffic is as before".to_owned(),
        RolloutEvent::Complete => "the last step ended well".to_owned(),
        RolloutEvent::Finished => "the registry is told".to_owned(),
        RolloutEvent::CompletionRefused { why } => format!("the registry refused: {why}"),
        RolloutEvent::Pause { by, comment } => by_whom("paused", by, comment),
        RolloutEvent::Resume { by, comment } => by_whom("resumed", by, comment),
        RolloutEvent::Abort { by, comment } => by_whom("aborted", by, comment),
    }
}
