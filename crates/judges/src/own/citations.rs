//! Citation marks in an answer: `[2]`, `[1, 3]`, `[1][3]`.

/// A sentence of an answer, and one passage that it cites.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Citation {
    /// The sentence, without its marks.
    pub sentence: String,
    /// The number of the passage, from 1; 0 and numbers without a passage occur, for answers are free to write them.
    pub passage: u32,
}

/// All citations of an answer in their order; a sentence that cites several passages comes once for each.
///
/// A mark belongs to the sentence it stands in, or, after the full stop, to the sentence before it. A bracket holds numbers
/// of at most six digits, with commas between them; any other bracket is text. A mark without a sentence cites nothing.
pub fn citations(answer: &str) -> Vec<Citation> {
    let mut found = Vec::new();
    let (mut sentence, mut cited) = (String::new(), Vec::new());
    let mut is_ended = false;
    let mut rest = answer;
    while let Some(next) = rest.chars().next() {
        if let Some((passages, after)) = mark(rest) {
            cited.extend(passages);
            rest = after;
            continue;
        }
        let after = &rest[next.len_utf8()..];
        if is_ended && !next.is_whitespace() && !ends(next) {
            close(&mut sentence, &mut cited, &mut found);
            is_ended = false;
        }
        if next == '\n' {
            is_ended = true;
        } else if ends(next) {
            // A full stop inside a number or a name ("3.14", "example.org") ends nothing.
            is_ended = after
                .chars()
                .next()
                .is_none_or(|c| c.is_whitespace() || c == '[' || ends(c));
        }
        sentence.push(next);
        rest = after;
    }
    close(&mut sentence, &mut cited, &mut found);
    found
}

fn ends(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '。' | '！' | '？')
}

fn close(sentence: &mut String, cited: &mut Vec<u32>, found: &mut Vec<Citation>) {
    let text = sentence.split_whitespace().collect::<Vec<_>>().join(" ");
    for passage in cited.drain(..) {
        let citation = Citation {
            sentence: text.clone(),
            passage,
        };
        if !text.is_empty() && !found.contains(&citation) {
            found.push(citation);
        }
    }
    sentence.clear();
}

/// The numbers of a mark at the beginning of `text`, and what follows it.
fn mark(text: &str) -> Option<(Vec<u32>, &str)> {
    let (inside, after) = text.strip_prefix('[')?.split_once(']')?;
    let numbers = inside
        .split(',')
        .map(|number| {
            let number = number.trim();
            let is_number = (1..=6).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
            if is_number { number.parse().ok() } else { None }
        })
        .collect::<Option<Vec<u32>>>()?;
    Some((numbers, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cited(answer: &str) -> Vec<(String, u32)> {
        citations(answer)
            .into_iter()
            .map(|citation| (citation.sentence, citation.passage))
            .collect()
    }

    #[test]
    fn marks_belong_to_their_sentences() {
        let answer = "Rome is old [1]. It has 2.8 million people.[2][3] See example.org [x] or [note].\nNo mark here! \
                      Paris, too [1, 4]?";
        let expected = [
            ("Rome is old .", 1),
            ("It has 2.8 million people.", 2),
            ("It has 2.8 million people.", 3),
            ("Paris, too ?", 1),
            ("Paris, too ?", 4),
        ];
        let expected: Vec<(String, u32)> = expected
            .iter()
            .map(|(text, n)| ((*text).to_owned(), *n))
            .collect();
        assert_eq!(cited(answer), expected);
        assert_eq!(cited("None. [] [1;2] [-1] [1234567]"), []);
        assert_eq!(cited("Zero [0]"), [("Zero".to_owned(), 0)]);
        assert_eq!(cited("[1] [2]\n"), []);
        assert_eq!(
            cited("Twice [1] the same [1]."),
            [("Twice the same .".to_owned(), 1)]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_borne(answer in "[\\[\\]0-9,. a-z!\n]{0,60}|.*") {
            for citation in citations(&answer) {
                prop_assert!(citation.passage <= 999_999);
            }
        }
    }
}
