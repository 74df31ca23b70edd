//! How hard an English text is to read.

use super::is_space;

/// Counts and indices of an English text.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Readability {
    /// Words: runs without white space that have a letter or digit.
    pub words: u64,
    /// Sentences of more than two words; at least 1 if there is any text.
    pub sentences: u64,
    /// Syllables, estimated from groups of vowels: right for about nine words in ten.
    pub syllables: u64,
    /// Characters but white space.
    pub characters: u64,
    /// Flesch reading ease: 206.835 − 1.015 words/sentence − 84.6 syllables/word; higher is easier, 0 without words.
    ///
    /// Source: Flesch 1948, "A new readability yardstick", <https://doi.org/10.1037/h0057532>.
    pub flesch: f64,
    /// Flesch-Kincaid grade: 0.39 words/sentence + 11.8 syllables/word − 15.59; 0 without words.
    ///
    /// Source: Kincaid et al. 1975, <https://apps.dtic.mil/sti/citations/ADA006655>.
    pub flesch_kincaid: f64,
    /// Automated readability index: 4.71 characters/word + 0.5 words/sentence − 21.43; 0 without words.
    ///
    /// Source: Senter and Smith 1967, <https://apps.dtic.mil/sti/citations/AD0667273>.
    pub automated: f64,
}

/// The readability of a text. Formulas and rules of counting are those of the package textstat, but for syllables, which
/// it looks up in a pronouncing dictionary.
pub fn readability(text: &str) -> Readability {
    let runs = text.split(is_space).filter(|run| !run.is_empty()).count() as f64;
    let words: Vec<String> = words(text);
    let characters = text.chars().filter(|c| !is_space(*c)).count() as u64;
    let syllables: u64 = words.iter().map(|word| syllables(word)).sum();
    let sentences = sentences(text);
    let mut found = Readability {
        words: words.len() as u64,
        sentences,
        syllables,
        characters,
        ..Readability::default()
    };
    if !words.is_empty() {
        let per_sentence = found.words as f64 / sentences as f64;
        let per_word = syllables as f64 / found.words as f64;
        found.flesch = 206.835 - 1.015 * per_sentence - 84.6 * per_word;
        found.flesch_kincaid = 0.39 * per_sentence + 11.8 * per_word - 15.59;
        // Punctuation counts as characters, so what is punctuation only counts as a word.
        found.automated = 4.71 * characters as f64 / runs + 0.5 * per_sentence - 21.43;
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Words without their punctuation; apostrophes inside a word stay.
fn words(text: &str) -> Vec<String> {
    let bare = |run: &str| -> String { run.chars().filter(|c| is_word(*c) || *c == '\'').collect() };
    let words = text.split(is_space).map(bare);
    words.filter(|word| word.contains(is_word)).collect()
}

/// Runs up to `.`, `!` or `?` that begin with a word and have more than two.
fn sentences(text: &str) -> u64 {
    if text.is_empty() {
        return 0;
    }
    let is_end = |c: char| matches!(c, '.' | '!' | '?');
    let pieces = text.split_inclusive(is_end);
    pieces.filter(|piece| words(piece).len() > 2).count().max(1) as u64
}

/// Groups of vowels, without a silent e at the end; at least one.
fn syllables(word: &str) -> u64 {
    let word = word.to_lowercase();
    let is_vowel = |c: char| matches!(c, 'a' | 'e' | 'i' | 'o' | 'u' | 'y');
    let mut groups = 0_u64;
    let mut before = false;
    for c in word.chars() {
        groups += u64::from(is_vowel(c) && !before);
        before = is_vowel(c);
    }
    let mut end = word.chars().rev();
    let (last, second, third) = (end.next(), end.next(), end.next());
    let after_vowel = second.is_some_and(is_vowel);
    let silent = match (last, second) {
        // `table` keeps its e, `whale` does not.
        (Some('e'), Some('l')) => third.is_some_and(is_vowel),
        (Some('e'), _) => !after_vowel,
        (Some('d'), Some('e')) => !matches!(third, Some('t' | 'd')) && !third.is_some_and(is_vowel),
        _ => false,
    };
    groups.saturating_sub(u64::from(silent)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_formulas_agree() {
        let text = "The quick brown fox jumps over the lazy dog. It doesn't like tables!";
        let found = readability(text);
        assert_eq!((found.words, found.sentences), (13, 2));
        assert_eq!(found.characters, 56);
        let automated = 4.71 * 56.0 / 13.0 + 0.5 * 6.5 - 21.43;
        assert!((found.automated - automated).abs() < 1e-12);
        assert!(found.flesch > 60.0 && found.flesch_kincaid < 8.0);
        // What textstat 0.7.13 gives.
        assert!((found.automated - 2.109_230_769_230_77).abs() < 1e-9);
        let text = "To be, or not to be. Yes. That is the question, my friend: 3.5 percent of it - really?";
        let found = readability(text);
        assert_eq!((found.words, found.sentences), (18, 3));
        assert!((found.automated + 1.573_157_894_736_841).abs() < 1e-9);
        assert_eq!(readability("").sentences, 0);
        assert_eq!(readability("... !").flesch, 0.0);
    }

    #[test]
    fn syllables_of_common_words() {
        let known = [
            ("table", 2),
            ("whale", 1),
            ("walked", 1),
            ("wanted", 2),
            ("the", 1),
            ("queue", 1),
            ("banana", 3),
        ];
        for (word, expected) in known {
            assert_eq!(syllables(word), expected, "{word}");
        }
    }
}
