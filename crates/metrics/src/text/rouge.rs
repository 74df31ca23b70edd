//! ROUGE, as the package rouge-score computes it.

use super::grams::{Grams, Vocabulary};

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
    let (text, reference) = (text.to_lowercase(), reference.to_lowercase());
    let mut vocabulary = Vocabulary::default();
    let text_lines = lines(&text, &mut vocabulary);
    let reference_lines = lines(&reference, &mut vocabulary);
    let (text, reference) = (text_lines.concat(), reference_lines.concat());
    let (own, other) = (Grams::new(&text, 32, 2), Grams::new(&reference, 32, 2));
    let overlap = |n| Overlap::new(own.matches(&other, n), own.count(n), other.count(n));
    let words = (text.len() as u64, reference.len() as u64);
    let rouge_l = Overlap::new(common_length(&text, &reference), words.0, words.1);
    let rouge_lsum = match (&text_lines[..], &reference_lines[..]) {
        // One line beside one line: nothing to unite.
        ([_], [_]) => rouge_l,
        _ => Overlap::new(united(&text_lines, &reference_lines), words.0, words.1),
    };
    Rouge {
        rouge1: overlap(1),
        rouge2: overlap(2),
        rouge_l,
        rouge_lsum,
    }
}

/// The numbered words of each line; lines without a word have no part in any metric.
fn lines<'a>(text: &'a str, vocabulary: &mut Vocabulary<'a>) -> Vec<Vec<u32>> {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let words = |line: &'a str| line.split(move |c| !is_word(c)).filter(|word| !word.is_empty());
    let lines = text.split('\n').map(|line| vocabulary.numbers(words(line)));
    lines.filter(|line| !line.is_empty()).collect()
}

/// The length of the longest common subsequence, 64 cells of the table at a time.
///
/// Source: Hyyrö 2004, "Bit-parallel LCS-length computation revisited".
fn common_length(a: &[u32], b: &[u32]) -> u64 {
    let highest = a.iter().chain(b).max().copied().unwrap_or(0) as usize;
    let blocks = a.len().div_ceil(64);
    let mut places = vec![0_u64; (highest + 1) * blocks];
    for (at, &word) in a.iter().enumerate() {
        places[word as usize * blocks + at / 64] |= 1 << (at % 64);
    }
    let mut open = vec![u64::MAX; blocks];
    for &word in b {
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
fn united(text: &[Vec<u32>], reference: &[Vec<u32>]) -> u64 {
    let highest = text.iter().chain(reference).flatten().max().copied().unwrap_or(0) as usize;
    let count = |lines: &[Vec<u32>]| {
        let mut counts = vec![0_u32; highest + 1];
        lines
            .iter()
            .flatten()
            .for_each(|&word| counts[word as usize] += 1);
        counts
    };
    let (mut left_text, mut left_reference) = (count(text), count(reference));
    let mut hits = 0;
    for line in reference {
        let mut on_path = vec![false; line.len()];
        text.iter()
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
