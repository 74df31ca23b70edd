//! Exact match and token F1 of short answers, as SQuAD scores them.

use super::{is_space, rouge::Overlap, words::Words};

/// An answer in lower case without ASCII punctuation, the articles a, an, the, and spare white space.
///
/// Source: `normalize_answer` of the official evaluation script of SQuAD 2.0, Rajpurkar et al. 2018,
/// <https://aclanthology.org/P18-2124>.
pub fn normalize_answer(answer: &str) -> String {
    let lower = answer.to_lowercase();
    let bare: String = lower.chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let mut words = Vec::new();
    for part in bare.split(is_space) {
        // An article may also stand beside a sign that is no ASCII punctuation, a dash perhaps; then a gap remains.
        let mut from = 0;
        let mut word = String::new();
        while let Some(tail) = part.get(from..).filter(|tail| !tail.is_empty()) {
            let is_word = tail.starts_with(char::is_alphanumeric);
            let to = tail
                .find(|c: char| c.is_alphanumeric() != is_word)
                .unwrap_or(tail.len());
            let run = &tail[..to];
            if is_word && matches!(run, "a" | "an" | "the") {
                words.push(std::mem::take(&mut word));
            } else {
                word.push_str(run);
            }
            from += to;
        }
        words.push(word);
    }
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

/// The same in bytes.
fn normalize(answer: &str, words: &mut Vec<u8>) {
    words.clear();
    let is_plain = |byte: u8| byte.is_ascii() && (!byte.is_ascii_control() || is_space(char::from(byte)));
    if !answer.bytes().all(is_plain) {
        words.extend(normalize_answer(answer).bytes());
        return;
    }
    // What is left of a word is letters and digits, so an article is a whole word.
    let mut from = 0;
    let end_word = |words: &mut Vec<u8>, from: &mut usize| {
        if matches!(&words[*from..], b"a" | b"an" | b"the") {
            words.truncate(*from);
        }
        if words.len() > *from {
            words.push(b' ');
            *from = words.len();
        }
    };
    for byte in answer.bytes() {
        if byte.is_ascii_alphanumeric() {
            words.push(byte.to_ascii_lowercase());
        } else if !byte.is_ascii_punctuation() {
            end_word(words, &mut from);
        }
    }
    end_word(words, &mut from);
    words.pop();
}

/// Both answers are the same after [`normalize_answer`].
pub fn exact_match(answer: &str, reference: &str) -> bool {
    SquadScorer::default().score(answer, reference).0
}

/// Overlap of the words of both answers after [`normalize_answer`]; if either has none, 1 if both have none, else 0.
pub fn token_f1(answer: &str, reference: &str) -> Overlap {
    SquadScorer::default().score(answer, reference).1
}

/// Computes exact match and token F1; made to be used again for the next answers.
#[derive(Debug, Default)]
pub(super) struct SquadScorer {
    answer: Vec<u8>,
    reference: Vec<u8>,
    words: Words,
    left: Vec<u32>,
}

impl SquadScorer {
    pub(super) fn score(&mut self, answer: &str, reference: &str) -> (bool, Overlap) {
        normalize(answer, &mut self.answer);
        normalize(reference, &mut self.reference);
        let same = self.answer == self.reference;
        if self.answer.is_empty() || self.reference.is_empty() {
            return (same, Overlap::new(u64::from(same), 1, 1));
        }
        self.words.clear();
        self.left.clear();
        self.left.push(0);
        let (mut of_answer, mut of_reference, mut both) = (0, 0, 0);
        for word in self.reference.split(|byte| *byte == b' ') {
            let number = self.words.number(word) as usize;
            self.left.resize(self.words.len() + 1, 0);
            self.left[number] += 1;
            of_reference += 1;
        }
        for word in self.answer.split(|byte| *byte == b' ') {
            of_answer += 1;
            let left = &mut self.left[self.words.find(word) as usize];
            both += u64::from(*left > 0);
            *left = left.saturating_sub(1);
        }
        (same, Overlap::new(both, of_answer, of_reference))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    #[test]
    fn answers_are_normalized_as_squad_does() {
        assert_eq!(normalize_answer(" The  Cat's an_the  A–B, "), "cats anthe –b");
        assert!(exact_match("The Eiffel Tower!", "eiffel tower"));
        let overlap = token_f1("the red car car", "a red red car");
        assert_eq!((overlap.precision, overlap.recall), (2.0 / 3.0, 2.0 / 3.0));
        assert_eq!(token_f1("the", "!").f1, 1.0);
        assert_eq!(token_f1("the", "no").f1, 0.0);
    }

    #[test]
    fn plain_answers_are_normalized_as_all_are() {
        let mut random = Random::new(8, 8);
        let parts = [
            "a", "an", "the", "The", "cat", "x1", " ", " ", "\t", "\u{1c}", "'", ".", "-", "_", "A", "\u{7f}",
        ];
        let mut words = Vec::new();
        for _ in 0..5000 {
            let length = random.below(12);
            let answer: String = (0..length)
                .map(|_| parts[random.below(parts.len() as u64) as usize])
                .collect();
            normalize(&answer, &mut words);
            assert_eq!(words, normalize_answer(&answer).into_bytes(), "{answer:?}");
        }
    }
}
