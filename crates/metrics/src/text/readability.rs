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
    let mut counts = Counts::default();
    for c in text.chars() {
        if is_space(c) {
            counts.end_run();
        } else {
            counts.add(c);
        }
    }
    counts.end_run();
    counts.end_sentence();
    let sentences = if text.is_empty() {
        0
    } else {
        counts.sentences.max(1)
    };
    let mut found = Readability {
        words: counts.words,
        sentences,
        syllables: counts.syllables,
        characters: counts.characters,
        ..Readability::default()
    };
    if found.words > 0 {
        let per_sentence = found.words as f64 / sentences as f64;
        let per_word = found.syllables as f64 / found.words as f64;
        found.flesch = 206.835 - 1.015 * per_sentence - 84.6 * per_word;
        found.flesch_kincaid = 0.39 * per_sentence + 11.8 * per_word - 15.59;
        // Punctuation counts as characters, so what is punctuation only counts as a word.
        found.automated = 4.71 * found.characters as f64 / counts.runs as f64 + 0.5 * per_sentence - 21.43;
    }
    found
}

/// What was counted so far, and the run without white space that goes on.
///
/// A word is a run with a letter, a digit or `_`, without its punctuation; apostrophes stay. A sentence is what ends with
/// `.`, `!` or `?` and has more than two words, for which such a sign ends a word too.
#[derive(Default)]
struct Counts {
    words: u64,
    sentences: u64,
    syllables: u64,
    characters: u64,
    runs: u64,
    in_run: bool,
    /// The run is a word.
    is_word: bool,
    /// So is what comes after the last end of a sentence.
    is_sentence_word: bool,
    sentence_words: u64,
    word: Syllables,
}

impl Counts {
    fn add(&mut self, c: char) {
        self.characters += 1;
        self.in_run = true;
        if is_word(c) {
            self.is_word = true;
            self.is_sentence_word = true;
            self.word.add(c);
        } else if c == '\'' {
            self.word.add(c);
        } else if matches!(c, '.' | '!' | '?') {
            self.end_sentence();
        }
    }

    fn end_run(&mut self) {
        self.runs += u64::from(self.in_run);
        self.in_run = false;
        self.sentence_words += u64::from(self.is_sentence_word);
        self.is_sentence_word = false;
        if self.is_word {
            self.words += 1;
            self.syllables += self.word.count();
        }
        self.is_word = false;
        self.word = Syllables::default();
    }

    fn end_sentence(&mut self) {
        self.sentence_words += u64::from(self.is_sentence_word);
        self.is_sentence_word = false;
        self.sentences += u64::from(self.sentence_words > 2);
        self.sentence_words = 0;
    }
}

#[inline]
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_vowel(c: char) -> bool {
    matches!(c, 'a' | 'e' | 'i' | 'o' | 'u' | 'y')
}

/// Groups of vowels in a word, without a silent e at the end.
#[derive(Default)]
struct Syllables {
    groups: u64,
    /// The last three characters in lower case, the last one first.
    last: [char; 3],
}

impl Syllables {
    #[inline]
    fn add(&mut self, c: char) {
        if c.is_ascii() {
            self.add_lower(c.to_ascii_lowercase());
        } else {
            c.to_lowercase().for_each(|c| self.add_lower(c));
        }
    }

    #[inline]
    fn add_lower(&mut self, c: char) {
        let [last, second, _] = self.last;
        self.groups += u64::from(is_vowel(c) && !is_vowel(last));
        self.last = [c, last, second];
    }

    /// At least one.
    fn count(&self) -> u64 {
        let [last, second, third] = self.last;
        let silent = match (last, second) {
            // `table` keeps its e, `whale` does not.
            ('e', 'l') => is_vowel(third),
            ('e', _) => !is_vowel(second),
            ('d', 'e') => !matches!(third, 't' | 'd') && !is_vowel(third),
            _ => false,
        };
        self.groups.saturating_sub(u64::from(silent)).max(1)
    }
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
            assert_eq!(readability(word).syllables, expected, "{word}");
        }
    }
}
