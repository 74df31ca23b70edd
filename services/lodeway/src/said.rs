//! Texts for people: without what a terminal would act on, every cause said once.

use std::{borrow::Cow, error::Error};

/// A text of somebody else in one line: control characters, line breaks among them, and what turns the direction of
/// writing are escaped (`\n`, `\u{1b}`), so that it can neither steer the terminal nor look like more than it is.
pub fn plain(text: &str) -> Cow<'_, str> {
    escaped(text, is_active)
}

/// As [`plain`], of a text whose line breaks and tabs are its own.
pub fn document(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_active(c) && !matches!(c, '\n' | '\t'))
}

/// A line of JSON that a terminal may show: what [`plain`] escapes and JSON does not, in JSON's way.
pub fn json_line(json: &str) -> String {
    let each = json.chars().map(|c| match is_active(c) {
        true => format!("\\u{:04x}", u32::from(c)),
        false => c.to_string(),
    });
    each.collect()
}

fn is_active(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escaped(text: &str, is_bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_bad) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_bad(c) {
            true => safe.extend(c.escape_default()),
            false => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// An error and its causes in one line; a cause that the text before it ends with is not said again.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !said.ends_with(&cause_text) {
            said.push_str(": ");
            said.push_str(&cause_text);
        }
        source = cause.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_escaped() {
        assert_eq!(plain("iris @ 3, größer"), "iris @ 3, größer");
        assert_eq!(
            plain("a\u{1b}[2Jb\u{7}\nc\td\u{9b}e\u{202e}f\u{2066}g\u{7f}"),
            r"a\u{1b}[2Jb\u{7}\nc\td\u{9b}e\u{202e}f\u{2066}g\u{7f}"
        );
        assert_eq!(document("a\n\tb\r\u{1b}"), "a\n\tb\\r\\u{1b}");
    }

    #[test]
    fn lines_of_json_stay_what_they_are() {
        let row = serde_json::json!({ "text": "\u{9b}2J\u{202e}\n" });
        let line = json_line(&row.to_string());
        assert!(!line.contains(is_active), "{line}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), row);
    }

    #[test]
    fn causes_are_said_once() {
        let missing = || std::io::Error::from_raw_os_error(2);
        let error = anyhow::Error::from(missing()).context("cannot read `/x`");
        let once = format!("cannot read `/x`: {}", missing());
        assert_eq!(chain(error.as_ref()), once);
        // An error that has its cause in its own text.
        let whole = anyhow::Error::from(missing()).context(once.clone()).context("up");
        assert_eq!(chain(whole.as_ref()), format!("up: {once}"));
    }
}
