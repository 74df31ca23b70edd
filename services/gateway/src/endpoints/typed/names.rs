//! Names of a model as names of protobuf: fields in lower snake case, messages in upper camel case, each once.

use std::collections::HashSet;

/// The longest name of a field, in bytes; a longer one is cut.
const MAX_NAME_BYTES: usize = 100;

/// Words that Python keeps for itself. A field of such a name could be reached there only by `getattr`; other languages
/// rename by themselves.
const PYTHON_WORDS: [&str; 32] = [
    "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif", "else",
    "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal", "not",
    "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

/// The names of the fields of one message.
///
/// Two names that differ in underscores only are too close: compilers refuse them, since their JSON names collide.
pub(super) struct FieldNames {
    taken: HashSet<String>,
    /// JSON names that are spoken for.
    json: HashSet<String>,
    /// What the model calls in a way that is a name already; a JSON reader takes it for the field of that name.
    exact: HashSet<String>,
}

impl FieldNames {
    /// For a message with fields called `own` beside those of the model, which are called `sources` there.
    pub(super) fn new<'a>(own: &[&str], sources: impl Iterator<Item = &'a str>) -> Self {
        let taken = own.iter().map(|name| key(name)).collect();
        let mut json: HashSet<String> = own.iter().map(|name| json_name(name)).collect();
        json.extend(sources.map(str::to_owned));
        let exact = json.iter().filter(|source| ident(source, "", 0) == **source);
        Self {
            exact: exact.cloned().collect(),
            taken,
            json,
        }
    }

    /// The field's name and its JSON name, which is what the model calls it wherever that can be one. `stem` and `place`
    /// (from 1) make a name where nothing is left of the model's.
    pub(super) fn take(&mut self, source: &str, own: &[&str], stem: &str, place: usize) -> (String, String) {
        let wanted = ident(source, stem, place);
        let is_own = own
            .iter()
            .any(|&name| name == source || json_name(name) == source);
        let keeps_source = may_be_json_name(source) && !is_own;
        let mut name = wanted.clone();
        let mut next = 2;
        loop {
            let json = if keeps_source {
                source.to_owned()
            } else {
                json_name(&name)
            };
            let is_free = keeps_source || !self.json.contains(&json);
            let is_free = is_free && (name == source || !self.exact.contains(&name));
            if is_free && !self.taken.contains(&key(&name)) {
                self.taken.insert(key(&name));
                self.json.insert(json.clone());
                return (name, json);
            }
            name = format!("{wanted}_{next}");
            next += 1;
        }
    }
}

fn key(name: &str) -> String {
    name.replace('_', "").to_ascii_lowercase()
}

/// Whether compilers take the text as a JSON name; those of extensions stand in brackets.
fn may_be_json_name(text: &str) -> bool {
    let is_extension = text.starts_with('[') && text.ends_with(']');
    !(text.is_empty() || text.contains('\0') || is_extension)
}

/// The text in lower snake case, as in `sepal length (cm)` → `sepal_length_cm` and `SibSp` → `sib_sp`.
fn ident(text: &str, stem: &str, place: usize) -> String {
    let mut out = String::new();
    let mut before = ' ';
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if !letter.is_ascii_alphanumeric() {
            before = '_';
            continue;
        }
        let begins_word = letter.is_ascii_uppercase()
            && (before.is_ascii_lowercase()
                || before.is_ascii_digit()
                || before.is_ascii_uppercase() && letters.peek().is_some_and(char::is_ascii_lowercase));
        if !out.is_empty() && (before == '_' || begins_word) {
            out.push('_');
        }
        if out.len() >= MAX_NAME_BYTES {
            break;
        }
        out.push(letter.to_ascii_lowercase());
        before = letter;
    }
    let out = out.trim_matches('_');
    match out.chars().next() {
        None => format!("{stem}_{place}"),
        Some(first) if first.is_ascii_digit() => format!("{stem}_{out}"),
        Some(_) if PYTHON_WORDS.contains(&out) => format!("{out}_value"),
        Some(_) => out.to_owned(),
    }
}

/// The JSON name that compilers give a field.
pub(super) fn json_name(name: &str) -> String {
    let mut raised = false;
    let mut out = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '_' => raised = true,
            letter if raised => {
                out.push(letter.to_ascii_uppercase());
                raised = false;
            }
            letter => out.push(letter),
        }
    }
    out
}

/// A name of words between `_` or `-` in upper camel case, as in `fraud-score` → `FraudScore`.
pub(super) fn camel(name: &str) -> String {
    let raised = |word: &str| {
        let (first, rest) = word.split_at(1.min(word.len()));
        first.to_ascii_uppercase() + rest
    };
    name.split(['_', '-']).map(raised).collect()
}

/// The names of the messages of one file, nested ones included: Java has no nested class of an outer one's name.
pub(super) struct MessageNames(HashSet<String>);

impl MessageNames {
    /// With these names taken.
    pub(super) fn new(taken: &[&str]) -> Self {
        Self(taken.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// A name for the message of a field, `suffix` added.
    pub(super) fn take(&mut self, field: &str, suffix: &str) -> String {
        let mut wanted = camel(field) + suffix;
        // The messages of maps are called so.
        if wanted.ends_with("Entry") {
            wanted.push_str("Object");
        }
        let mut name = wanted.clone();
        let mut next = 2;
        while !self.0.insert(name.to_ascii_lowercase()) {
            name = format!("{wanted}{next}");
            next += 1;
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_lower_snake_case() {
        for (text, name) in [
            ("sepal length (cm)", "sepal_length_cm"),
            ("SibSp", "sib_sp"),
            ("HTTPStatus", "http_status"),
            ("median_house_value", "median_house_value"),
            ("x1", "x1"),
            ("0", "column_0"),
            ("2nd Floor", "column_2nd_floor"),
            ("größe", "gr_e"),
            ("日本", "column_3"),
            ("__a--b__", "a_b"),
            ("class", "class_value"),
            ("Class", "class_value"),
            ("message", "message"),
            ("NaN", "na_n"),
        ] {
            assert_eq!(ident(text, "column", 3), name, "{text}");
        }
        assert!(ident(&"xY".repeat(500), "column", 1).len() <= MAX_NAME_BYTES + 1);
    }

    #[test]
    fn names_that_are_too_close_are_told_apart() {
        let sources = ["a b", "a_b", "ab", "aB", "params", "[x]", "x", "a_b_2"];
        let own = ["params"];
        let mut names = FieldNames::new(&own, sources.into_iter());
        let taken: Vec<_> = sources.iter().map(|s| names.take(s, &own, "column", 1)).collect();
        let shown: Vec<_> = taken.iter().map(|(n, j)| format!("{n} {j}")).collect();
        assert_eq!(
            shown,
            [
                "a_b_3 a b",
                "a_b a_b",
                "ab_2 ab",
                "a_b_4 aB",
                "params_2 params2",
                "x_2 x2",
                "x x",
                "a_b_2_2 a_b_2"
            ]
        );
    }

    #[test]
    fn messages_are_called_once() {
        let mut names = MessageNames::new(&["Params"]);
        let taken = ["params", "home_address", "home_address", "x_entry"].map(|field| names.take(field, ""));
        assert_eq!(taken, ["Params2", "HomeAddress", "HomeAddress2", "XEntryObject"]);
        assert_eq!(camel("fraud-score"), "FraudScore");
        assert_eq!(camel("a--b-2"), "AB2");
        assert_eq!(json_name("sepal_length_2"), "sepalLength2");
    }
}
