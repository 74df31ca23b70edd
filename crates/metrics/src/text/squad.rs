//! Exact match and token F1 of short answers, as SQuAD scores them.

use std::collections::HashMap;

use super::{is_space, rouge::Overlap};

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

/// Both answers are the same after [`normalize_answer`].
pub fn exact_match(answer: &str, reference: &str) -> bool {
    normalize_answer(answer) == normalize_answer(reference)
}

/// Overlap of the words of both answers after [`normalize_answer`]; if either has none, 1 if both have none, else 0.
pub fn token_f1(answer: &str, reference: &str) -> Overlap {
    let (answer, reference) = (normalize_answer(answer), normalize_answer(reference));
    if answer.is_empty() || reference.is_empty() {
        let same = u64::from(answer == reference);
        return Overlap::new(same, 1, 1);
    }
    let mut left: HashMap<&str, u64> = HashMap::new();
    let (mut of_answer, mut of_reference, mut both) = (0, 0, 0);
    for word in reference.split(' ') {
        *left.entry(word).or_default() += 1;
        of_reference += 1;
    }
    for word in answer.split(' ') {
        of_answer += 1;
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            both += 1;
        }
    }
    Overlap::new(both, of_answer, of_reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_normalized_as_squad_does() {
        assert_eq!(normalize_answer(" The  Cat's an_the  A–B, "), "cats anthe –b");
        assert!(exact_match("The Eiffel Tower!", "eiffel tower"));
        let overlap = token_f1("the red car car", "a red red car");
        assert_eq!((overlap.precision, overlap.recall), (2.0 / 3.0, 2.0 / 3.0));
        assert_eq!(token_f1("the", "!").f1, 1.0);
        assert_eq!(token_f1("the", "no").f1, 0.0);
    }
}
