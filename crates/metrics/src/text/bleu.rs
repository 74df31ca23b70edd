//! BLEU, as sacrebleu computes it.

use std::{borrow::Cow, ops::AddAssign};

use super::{
    grams::{Grams, count},
    is_space,
    words::Words,
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
        BleuScorer::default().stats(text, references)
    }

    /// How many numbers these are.
    pub(super) const COUNTS: usize = 2 + 2 * ORDER;

    /// All numbers, in an order of their own.
    pub(super) fn counts(&self) -> [u64; Self::COUNTS] {
        std::array::from_fn(|at| match at {
            0 => self.text_words,
            1 => self.reference_words,
            at if at < 2 + ORDER => self.matches[at - 2],
            at => self.totals[at - 2 - ORDER],
        })
    }

    /// From all numbers.
    pub(super) fn of_counts(counts: [u64; Self::COUNTS]) -> Self {
        Self {
            text_words: counts[0],
            reference_words: counts[1],
            matches: std::array::from_fn(|n| counts[2 + n]),
            totals: std::array::from_fn(|n| counts[2 + ORDER + n]),
        }
    }

    /// How the score of a corpus changes with each of [`BleuStats::counts`].
    pub(super) fn gradient(&self) -> [f64; Self::COUNTS] {
        let score = self.score(false);
        let mut gradient = [0.0; Self::COUNTS];
        if score == 0.0 {
            return gradient;
        }
        let (own, reference) = (self.text_words as f64, self.reference_words as f64);
        if own < reference {
            gradient[0] = score * reference / (own * own);
            gradient[1] = -score / own;
        }
        for n in 0..ORDER {
            // Smoothing takes the place of matches that there are none of.
            if self.matches[n] > 0 {
                gradient[2 + n] = score / (ORDER as f64 * self.matches[n] as f64);
            }
            gradient[2 + ORDER + n] = -score / (ORDER as f64 * self.totals[n] as f64);
        }
        gradient
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

/// Computes stats; made to be used again for the next texts.
#[derive(Debug, Default)]
pub(super) struct BleuScorer {
    words: Words,
    grams: Grams,
    text: Vec<u32>,
    references: Vec<Vec<u32>>,
}

impl BleuScorer {
    pub(super) fn stats(&mut self, text: &str, references: &[&str]) -> BleuStats {
        let words = &mut self.words;
        words.clear();
        self.references.resize_with(references.len(), Vec::new);
        for (numbers, reference) in self.references.iter_mut().zip(references) {
            numbers.clear();
            each_word(reference, |word| numbers.push(words.number(word)));
        }
        self.text.clear();
        each_word(text, |word| self.text.push(words.find(word)));
        let length = self.text.len() as u64;
        let lengths = self.references.iter().map(|reference| reference.len() as u64);
        let nearest = lengths.min_by_key(|&other| (other.abs_diff(length), other));
        let matches = match &self.references[..] {
            [one] => self.grams.matches(&self.text, &[one], words.len()),
            all => {
                let all: Vec<&[u32]> = all.iter().map(Vec::as_slice).collect();
                self.grams.matches(&self.text, &all, words.len())
            }
        };
        BleuStats {
            text_words: length,
            reference_words: nearest.unwrap_or(0),
            matches,
            totals: [1, 2, 3, 4].map(|n| count(self.text.len(), n)),
        }
    }
}

/// The words of a text, parted by single spaces, as NIST's mteval-v13a parts them for Western languages.
///
/// Punctuation and symbols stand alone, but full stops and commas between digits, apostrophes, and hyphens not after a
/// digit. Source: sacrebleu's tokenizer `13a`.
pub fn tokenize_13a(text: &str) -> String {
    let mut words = String::with_capacity(text.len() * 2);
    each_word(text, |word| {
        if !words.is_empty() {
            words.push(' ');
        }
        // Words are cut at signs that are ASCII or white space.
        words.push_str(&String::from_utf8_lossy(word));
    });
    words
}

/// Gives each word of a text, in UTF-8.
fn each_word(text: &str, mut take: impl FnMut(&[u8])) {
    if needs_rewriting(text.as_bytes()) {
        return rewritten(text)
            .split(is_space)
            .filter(|word| !word.is_empty())
            .for_each(|word| take(word.as_bytes()));
    }
    let bytes = text.as_bytes();
    let is_digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let mut from = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        // What stands here ends the word before it: how many bytes, and whether they are a word themselves.
        let (length, is_word) = match KINDS[byte as usize] {
            Kind::Plain => {
                at += 1;
                continue;
            }
            Kind::Space => (1, false),
            Kind::Symbol => (1, true),
            Kind::Point if is_digit(at.checked_sub(1)) && is_digit(Some(at + 1)) => {
                at += 1;
                continue;
            }
            Kind::Point => (1, true),
            Kind::Hyphen if is_digit(at.checked_sub(1)) => (1, true),
            Kind::Hyphen => {
                at += 1;
                continue;
            }
            Kind::Wide => {
                let c = text.get(at..).and_then(|rest| rest.chars().next());
                let length = c.map_or(1, char::len_utf8);
                if !c.is_some_and(is_space) {
                    at += length;
                    continue;
                }
                (length, false)
            }
        };
        if at > from {
            take(&bytes[from..at]);
        }
        if is_word {
            take(&bytes[at..at + length]);
        }
        at += length;
        from = at;
    }
    if at > from {
        take(&bytes[from..at]);
    }
}

/// What a byte is to [`each_word`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Space,
    Symbol,
    /// `.` and `,`: a word of its own but between digits.
    Point,
    /// A word of its own after a digit.
    Hyphen,
    /// The first byte of a character that is not ASCII.
    Wide,
}

const KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Plain; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'.' | b',' => Kind::Point,
            b'-' => Kind::Hyphen,
            b' ' | b'\t'..=b'\r' | 0x1c..=0x1f => Kind::Space,
            0x80.. => Kind::Wide,
            byte if is_symbol(byte) => Kind::Symbol,
            _ => Kind::Plain,
        };
        byte += 1;
    }
    kinds
};

/// Whether a text has what takes more than one look: line ends, entities, neighbouring points, or `<skipped>`.
fn needs_rewriting(bytes: &[u8]) -> bool {
    let mut before = 0;
    for &byte in bytes {
        let kind = KINDS[byte as usize];
        if byte == b'\n' || byte == b'&' || (kind == Kind::Point && KINDS[before as usize] == Kind::Point) {
            return true;
        }
        before = byte;
    }
    bytes.contains(&b'<') && bytes.windows(9).any(|window| window == b"<skipped>")
}

/// The text rewritten as the rules say, its words parted by white space.
fn rewritten(text: &str) -> String {
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
    String::from_utf8_lossy(&spaced).into_owned()
}

/// `{` to `~`, `[` to `` ` ``, `!` to `&`, `(` to `+`, `:` to `@`, and `/`. The space is one too, but a space more is none.
const fn is_symbol(byte: u8) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    #[test]
    fn one_look_gives_what_rewriting_does() {
        let mut random = Random::new(13, 1);
        let parts = [
            "a", "B", "1", "2", ".", ",", "-", "'", "$", "<", "skipped>", " ", "\t", "\u{a0}", "é",
            "\u{3000}", "東", "\u{85}", "\u{1e}",
        ];
        for _ in 0..20_000 {
            let length = random.below(14);
            let text: String = (0..length)
                .map(|_| parts[random.below(parts.len() as u64) as usize])
                .collect();
            let mut words = Vec::new();
            each_word(&text, |word| {
                words.push(String::from_utf8(word.to_vec()).unwrap())
            });
            let slow = rewritten(&text);
            let expected: Vec<&str> = slow.split(is_space).filter(|word| !word.is_empty()).collect();
            assert_eq!(words, expected, "{text:?}");
        }
    }
}
