//! Metrics of a text beside a reference, with no model and no network.
//!
//! Each is the text's own number; [`evaluate_text`] averages over pairs, and takes BLEU and chrF over the corpus.

mod bleu;
mod chrf;
mod edit;
mod evaluate;
mod grams;
mod readability;
mod rouge;
mod squad;
mod state;
mod words;

pub use bleu::{BleuStats, tokenize_13a};
pub use chrf::ChrfStats;
pub use edit::{levenshtein, levenshtein_ratio};
pub use evaluate::evaluate_text;
pub use readability::{Readability, readability};
pub use rouge::{Overlap, Rouge, rouge};
pub use squad::{exact_match, normalize_answer, token_f1};
pub use state::TextState;

/// What Python's `str.split` and `str.isspace` take for white space.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}
