//! BLEU, as sacrebleu computes it.

use std::{borrow::Cow, ops::AddAssign};

use super::{
    grams::{Grams, Vocabulary},
    is_space,
};

const ORDER: usize = 4;

/// What BLEU needs of a text beside its references; stats of a corpus are the sum over its texts.
///
/// Source: Papineni et al. 2002, <https://aclanthology.org/P02-1040>; Post 2018, "A Call for Clarity in Reporting BLEU
/// Scores", <https://aclanthology.org/W18-6319>: `sacrebleu.metrics.BLEU` with its defaults (case kept, tokenizer 13a,
/// smoothing `exp`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BleuStats {
    /// Words of the text.
    pub text_words: u64,
    /// Words of the reference of nearest length, of equally near ones the shorter.
    pub reference_words: u64,
    /// n-grams of the text that a reference has too, for n = 1 to 4.
    pub matches: [u64; ORDER],
    /// n-grams of the text, for n = 1 to 4.
    pub totals: [u64; ORDER],
}

impl BleuStats {
    /// Of one text; without references nothing matches and their length is 0.
    pub fn of(text: &str, references: &[&str]) -> Self {
        let text = tokenize_13a(text);
        let references: Vec<String> = references
            .iter()
            .map(|reference| tokenize_13a(reference))
            .collect();
        let mut vocabulary = Vocabulary::default();
        let words = vocabulary.numbers(text.split(' ').filter(|word| !word.is_empty()));
        let own = Grams::new(&words, 32, ORDER as u32);
        let mut nearest: Option<u64> = None;
        let mut others = Vec::with_capacity(references.len());
        for reference in &references {
            let reference = vocabulary.numbers(reference.split(' ').filter(|word| !word.is_empty()));
            let length = reference.len() as u64;
            let distance = |length: u64| (length.abs_diff(words.len() as u64), length);
            if nearest.is_none_or(|nearest| distance(length) < distance(nearest)) {
                nearest = Some(length);
            }
            others.push(Grams::new(&reference, 32, ORDER as u32));
        }
        Self {
            text_words: words.len() as u64,
            reference_words: nearest.unwrap_or(0),
            matches: [1, 2, 3, 4].map(|n| own.matches_any(&others, n)),
            totals: [1, 2, 3, 4].map(|n| own.count(n)),
        }
    }

    /// The score in [0, 100]; 0 if nothing matches.
    ///
    /// With `effective_order` orders that the text is too short for do not count, which is right for single sentences
    /// (`sacrebleu.sentence_bleu`) and not for a corpus (`sacrebleu.corpus_bleu`).
    pub fn score(&self, effective_order: bool) -> f64 {
        if self.matches == [0; ORDER] {
            return 0.0;
        }
        let brevity = if self.text_words < self.reference_words {
            (1.0 - self.reference_words as f64 / self.text_words as f64).exp()
        } else {
            1.0
        };
        let (mut logs, mut orders, mut halvings) = (0.0, ORDER, 1.0);
        for (n, (&matches, &total)) in self.matches.iter().zip(&self.totals).enumerate() {
            if total == 0 {
                // Without effective order the missing precisions are 0, and so is the score but for underflow.
                if !effective_order {
                    return 0.0;
                }
                break;
            }
            if effective_order {
                orders = n + 1;
            }
            let precision = if matches == 0 {
                halvings *= 2.0;
                100.0 / (halvings * total as f64)
            } else {
                100.0 * matches as f64 / total as f64
            };
            logs += precision.ln();
        }
        brevity * (logs / orders as f64).exp()
    }
}

impl AddAssign for BleuStats {
    fn add_assign(&mut self, other: Self) {
        self.text_words += other.text_words;
        self.reference_words += other.reference_words;
        for n in 0..ORDER {
            self.matches[n] += other.matches[n];
            self.totals[n] += other.totals[n];
        }
    }
}

/// The words of a text, parted by single spaces, as NIST's mteval-v13a parts them for Western languages.
///
/// Punctuation and symbols stand alone, but full stops and commas between digits, apostrophes, and hyphens not after a
/// digit. Source: sacrebleu's tokenizer `13a`.
pub fn tokenize_13a(text: &str) -> String {
    let mut line = Cow::Borrowed(text.trim_end_matches(is_space));
    // Most texts have none of these, and then nothing is copied.
    for (found, replacement) in [("<skipped>", ""), ("-\n", ""), ("\n", " ")] {
        if line.contains(found) {
            line = Cow::Owned(line.replace(found, replacement));
        }
    }
    if line.contains('&') {
        for (entity, symbol) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
            line = Cow::Owned(line.replace(entity, symbol));
        }
    }
    // All that is looked for is ASCII, so bytes do; whole characters of other scripts pass through.
    let mut spaced = Vec::with_capacity(line.len() * 2 + 2);
    spaced.push(b' ');
    for byte in line.bytes() {
        if is_symbol(byte) {
            spaced.extend([b' ', byte, b' ']);
        } else {
            spaced.push(byte);
        }
    }
    spaced.push(b' ');
    let is_point = |byte: u8| matches!(byte, b'.' | b',');
    let is_other = |byte: u8| !byte.is_ascii_digit();
    let spaced = part(
        &spaced,
        |a, b| is_other(a) && is_point(b),
        |a, b| [a, b' ', b, b' '],
    );
    let spaced = part(
        &spaced,
        |a, b| is_point(a) && is_other(b),
        |a, b| [b' ', a, b' ', b],
    );
    let spaced = part(
        &spaced,
        |a, b| a.is_ascii_digit() && b == b'-',
        |a, b| [a, b' ', b, b' '],
    );
    let spaced = String::from_utf8_lossy(&spaced);
    let mut words = String::with_capacity(spaced.len());
    for word in spaced.split(is_space).filter(|word| !word.is_empty()) {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
    }
    words
}

/// `{` to `~`, `[` to `` ` ``, `!` to `&`, `(` to `+`, `:` to `@`, and `/`. The space is one too, but a space more is none.
fn is_symbol(byte: u8) -> bool {
    matches!(byte, b'{'..=b'~' | b'['..=b'`' | b'!'..=b'&' | b'('..=b'+' | b':'..=b'@' | b'/')
}

/// Rewrites each pair of neighbours that fits, from the left, no byte in two pairs.
fn part(bytes: &[u8], fits: impl Fn(u8, u8) -> bool, rewrite: impl Fn(u8, u8) -> [u8; 4]) -> Vec<u8> {
    let mut parted = Vec::with_capacity(bytes.len() + bytes.len() / 4);
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        match tail {
            [second, tail @ ..] if fits(*first, *second) => {
                parted.extend(rewrite(*first, *second));
                rest = tail;
            }
            _ => {
                parted.push(*first);
                rest = tail;
            }
        }
    }
    parted
}
