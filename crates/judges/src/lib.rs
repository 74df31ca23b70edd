//! Judges of texts: toxicity, relevance, faithfulness and their like, as numbers with their grounds.
//!
//! A [`Judge`] puts questions to a chat model ([`Chat`]) and makes a [`Judgement`] of the answers; two do with an embedding
//! model or a classifier ([`TextModel`]) instead. There is no network here: who runs judges implements these traits. A [`Runner`] takes rows as they come, repeats and votes, waits where it must, and gives one [`RowResult`] for
//! each row and judge; a [`Summary`] makes means with intervals of them.
//!
//! - What is judged never speaks to the model: texts stand in a [`Fence`], answers are forced to a schema and checked.
//! - What failed is never a number: an [`Outcome`] is a score or one of six ways in which there is none.
//! - A rerun is free and the same: answers are kept by what was asked ([`AnswerCache`]), every word goes to a
//!   [`TranscriptSink`] under its digest, and a prompt's text never changes within a [`JudgeId`].
//!
//! ```
//! use std::sync::Arc;
//!
//! use futures::{StreamExt, stream};
//! use lodeway_judges::{Custom, Judge, JudgeId, Limits, Models, OutcomeKind, Row, Runner, ScoreKind, Template, own};
//!
//! # fn main() -> lodeway_domain::Result<()> {
//! let template = Template::new("Does the answer name a source? {{answer}}")?;
//! let sourced = Custom::new(JudgeId::new("sourced", 1)?, template, ScoreKind::Boolean, true)?;
//! let judges: Vec<Arc<dyn Judge>> = own("faithfulness").into_iter().chain([Arc::new(sourced) as _]).collect();
//! // With no models set, whatever must ask is an error of its row.
//! let runner = Runner::new(judges, Models::default(), Limits::default())?;
//! let row = Row {
//!     key: "7".to_owned(),
//!     answer: Some("Paris.".to_owned()),
//!     ..Row::default()
//! };
//! let results = runner.judge_rows(stream::iter([Ok(row)]), |_, _| false).collect::<Vec<_>>();
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
//! let results = runtime.map_err(lodeway_domain::Error::internal)?.block_on(results);
//! let kinds: Vec<OutcomeKind> = results.into_iter().flatten().map(|result| result.outcome.kind()).collect();
//! assert_eq!(kinds, [OutcomeKind::NotApplicable, OutcomeKind::Error]);
//! # Ok(())
//! # }
//! ```
//!
//! Whether a model judges well is not known here: that needs labels by people, on one's own data.

mod asking;
mod cache;
mod chat;
mod custom;
mod digest;
mod fence;
mod judge;
mod limits;
mod outcome;
mod own;
mod pace;
mod parse;
mod prompt;
mod row;
mod runner;
mod summary;
mod template;
mod texts;
mod totals;
mod transcript;
mod vote;

pub use asking::{Asking, Models};
pub use cache::{AnswerCache, MemoryCache};
pub use chat::{
    CallError, Chat, ChatAnswer, ChatRequest, FinishReason, LabelScore, Message, ResponseSchema, Role, Usage,
};
pub use custom::Custom;
pub use digest::Digest;
pub use fence::Fence;
pub use judge::{Category, Judge, JudgeId, ScoreKind};
pub use limits::Limits;
pub use outcome::{Finding, Judgement, Outcome, OutcomeKind, Score, Stop, Verdict};
pub use own::*;
pub use prompt::Prompt;
pub use row::{Field, Row};
pub use runner::{Repeat, RowResult, Runner};
pub use summary::{Aggregate, Mean, Summary};
pub use template::Template;
pub use texts::{Ahead, TextAnswers, TextModel};
pub use totals::Totals;
pub use transcript::{Transcript, TranscriptSink};
pub use vote::{Spread, vote};
