//! ROUGE, as the package rouge-score computes it.

use super::{
    grams::{Grams, count},
    words::Words,
};

/// Precision, recall and their harmonic mean, each in [0, 1].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Overlap {
    /// Of the text, the share that the reference has.
    pub precision: f64,
    /// Of the reference, the share that the text has.
    pub recall: f64,
    /// Their harmonic mean, 0 if both are 0.
    pub f1: f64,
}

impl Overlap {
    pub(super) fn new(both: u64, of_text: u64, of_reference: u64) -> Self {
        let precision = both as f64 / of_text.max(1) as f64;
        let recall = both as f64 / of_reference.max(1) as f64;
        let f1 = if precision + recall > 0.0 {
            2.0 * precision * recall / (precision + recall)
        } else {
            0.0
        };
        Self {
            precision,
            recall,
            f1,
        }
    }
}

/// The four kinds of ROUGE of one text.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rouge {
    /// Of single words.
    pub rouge1: Overlap,
    /// Of pairs of words.
    pub rouge2: Overlap,
    /// Of the longest common subsequence of words.
    pub rouge_l: Overlap,
    /// Of the union of longest common subsequences of lines.
    pub rouge_lsum: Overlap,
}

/// ROUGE of a text beside a reference.
///
/// Words are runs of `a` to `z` and digits after lower-casing; no stemmer. All 0 if either has no words. Source: Lin 2004,
/// <https://aclanthology.org/W04-1013>; `rouge_score.rouge_scorer` with `use_stemmer=False`.
pub fn rouge(text: &str, reference: &str) -> Rouge {
    RougeScorer::default().score(text, reference)
}

/// Computes ROUGE; made to be used again for the next texts.
#[derive(Debug, Default)]
pub(super) struct RougeScorer {
    words: Words,
    grams: Grams,
    text: Lines,
    reference: Lines,
    places: Vec<u64>,
    open: Vec<u64>,
}

/// The numbered words of lines; lines without a word have no part in any metric.
#[derive(Debug, Default)]
struct Lines {
    lower: Vec<u8>,
    numbers: Vec<u32>,
    /// Where each line ends.
    ends: Vec<usize>,
}

impl RougeScorer {
    pub(super) fn score(&mut self, text: &str, reference: &str) -> Rouge {
        self.words.clear();
        let Self {
            words,
            grams,
            text: of_text,
            reference: of_reference,
            ..
        } = self;
        of_reference.read(reference, |word| words.number(word));
        of_text.read(text, |word| words.find(word));
        let (text, reference) = (&of_text.numbers[..], &of_reference.numbers[..]);
        let [ones, twos] = grams.matches::<2>(text, &[reference], words.len());
        let overlap = |n, both| Overlap::new(both, count(text.len(), n), count(reference.len(), n));
        let common = common_length(reference, text, words.len(), &mut self.places, &mut self.open);
        let rouge_l = overlap(1, common);
        let rouge_lsum = if of_text.ends.len() == 1 && of_reference.ends.len() == 1 {
            // One line beside one line: nothing to unite.
            rouge_l
        } else {
            overlap(1, united(of_text, of_reference, words.len()))
        };
        Rouge {
            rouge1: overlap(1, ones),
            rouge2: overlap(2, twos),
            rouge_l,
            rouge_lsum,
        }
    }
}

impl Lines {
    fn read(&mut self, text: &str, mut number: impl FnMut(&[u8]) -> u32) {
        self.numbers.clear();
        self.ends.clear();
        self.lower.clear();
        if text.is_ascii() {
            self.lower
                .extend(text.bytes().map(|byte| byte.to_ascii_lowercase()));
        } else {
            self.lower.extend(text.to_lowercase().bytes());
        }
        // All that makes a word or a line is ASCII, so bytes do.
        let mut from = None;
        for (at, &byte) in self.lower.iter().enumerate() {
            if byte.is_ascii_lowercase() || byte.is_ascii_digit() {
                from.get_or_insert(at);
                continue;
            }
            if let Some(from) = from.take() {
                self.numbers.push(number(&self.lower[from..at]));
            }
            if byte == b'\n' && self.numbers.len() > self.ends.last().copied().unwrap_or(0) {
                self.ends.push(self.numbers.len());
            }
        }
        if let Some(from) = from {
            self.numbers.push(number(&self.lower[from..]));
        }
        if self.numbers.len() > self.ends.last().copied().unwrap_or(0) {
            self.ends.push(self.numbers.len());
        }
    }

    fn lines(&self) -> impl Iterator<Item = &[u32]> {
        let mut from = 0;
        self.ends
            .iter()
            .map(move |&to| &self.numbers[std::mem::replace(&mut from, to)..to])
    }
}

/// The length of the longest common subsequence, 64 cells of the table at a time. Words of `a` are numbers from 1 to
/// `words`, those of `b` that it has not are 0.
///
/// Source: Hyyrö 2004, "Bit-parallel LCS-length computation revisited".
fn common_length(a: &[u32], b: &[u32], words: usize, places: &mut Vec<u64>, open: &mut Vec<u64>) -> u64 {
    let blocks = a.len().div_ceil(64);
    places.clear();
    places.resize((words + 1) * blocks, 0);
    for (at, &word) in a.iter().enumerate() {
        places[word as usize * blocks + at / 64] |= 1 << (at % 64);
    }
    open.clear();
    open.resize(blocks, u64::MAX);
    for &word in b.iter().filter(|word| **word > 0) {
        let mut carry = false;
        let places = &places[word as usize * blocks..(word as usize + 1) * blocks];
        for (open, place) in open.iter_mut().zip(places) {
            let met = *open & place;
            let (sum, first) = open.overflowing_add(met);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            carry = first || second;
            *open = sum | (*open & !place);
        }
    }
    // A closed bit is one more word in common; past the end of `a` none ever closes.
    open.iter().map(|open| u64::from(open.count_zeros())).sum()
}

/// Words of the reference's lines that lie on a longest common subsequence with some line of the text, no word counted
/// more often than either side has it.
fn united(text: &Lines, reference: &Lines, words: usize) -> u64 {
    let count = |lines: &Lines| {
        let mut counts = vec![0_u32; words + 1];
        lines.numbers.iter().for_each(|&word| counts[word as usize] += 1);
        counts
    };
    let (mut left_text, mut left_reference) = (count(text), count(reference));
    let mut hits = 0;
    for line in reference.lines() {
        let mut on_path = vec![false; line.len()];
        text.lines()
            .for_each(|other| mark_common(line, other, &mut on_path));
        for (&word, _) in line.iter().zip(on_path).filter(|(_, marked)| *marked) {
            let (text, reference) = (&mut left_text[word as usize], &mut left_reference[word as usize]);
            if *text > 0 && *reference > 0 {
                hits += 1;
                *text -= 1;
                *reference -= 1;
            }
        }
    }
    hits
}

/// Marks the words of `line` on one longest common subsequence with `other`. Of several, the one that rouge-score walks:
/// back from the end, along `other` only where that is strictly better.
fn mark_common(line: &[u32], other: &[u32], marked: &mut [bool]) {
    let width = other.len() + 1;
    let mut table = vec![0_u32; (line.len() + 1) * width];
    for (i, word) in line.iter().enumerate() {
        for (j, against) in other.iter().enumerate() {
            table[(i + 1) * width + j + 1] = if word == against {
                table[i * width + j] + 1
            } else {
                table[i * width + j + 1].max(table[(i + 1) * width + j])
            };
        }
    }
    let (mut i, mut j) = (line.len(), other.len());
    while i > 0 && j > 0 {
        if line[i - 1] == other[j - 1] {
            marked[i - 1] = true;
            (i, j) = (i - 1, j - 1);
        } else if table[i * width + j - 1] > table[(i - 1) * width + j] {
            j -= 1;
        } else {
            i -= 1;
        }
    }
}
