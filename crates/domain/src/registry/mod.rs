//! Registered models, their numbered versions, stages, aliases, and the ledger of what happened to them.
//!
//! A tour: [`names`] are the words a caller gives, [`Stage`] how far a version is, [`ModelRef`] what a model URI means,
//! [`ModelVersion`] and [`RegisteredModel`] the nouns, [`Transition`] an entry of the ledger and [`rollback`] the rule of
//! taking one back; [`promotion`] are the rules of what may have a stage or an alias.

pub mod model;
pub mod names;
pub mod promotion;
pub mod reference;
pub mod source;
pub mod stage;
pub mod transition;

pub use model::{
    DigestState, ModelVersion, ModelVersionStatus, NewModel, NewVersion, PROMPT_TAG, RegisteredModel, Tags,
    check_comment, check_description, check_link, check_source, check_tag, check_tags, is_prompt,
};
pub use names::{AliasName, ModelName, is_latest};
pub use reference::ModelRef;
pub use source::join_uri;
pub use stage::Stage;
pub use transition::{Change, Transition, TransitionKind, in_the_way, rollback};
