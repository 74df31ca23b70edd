//! Templates of custom judges: text with places for a row's texts.

use lodeway_domain::{Error, Result};

use crate::{Fence, Field, Row};

/// A text with placeholders `{{prompt}}`, `{{answer}}`, `{{context}}`, `{{expected}}`.
///
/// A placeholder is filled with the row's text between its marks ([`Fence`]), the context passage by passage; what a row's
/// text holds is never taken for a placeholder. Single braces and everything else are text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(Field),
}

impl Template {
    /// The longest template, in bytes.
    pub const MAX_BYTES: usize = 64 << 10;

    /// Reads a template. Errors: `INVALID_FIELD` with `template`: too long, a placeholder that is not closed or not known,
    /// or none at all.
    pub fn new(source: impl Into<String>) -> Result<Self> {
        let source = source.into();
        let wrong = |why: String| Err(Error::invalid("template", why));
        if source.len() > Self::MAX_BYTES {
            return wrong(format!("is longer than {} bytes", Self::MAX_BYTES));
        }
        let mut parts = Vec::new();
        let mut rest = source.as_str();
        while let Some((text, after)) = rest.split_once("{{") {
            let Some((name, after)) = after.split_once("}}") else {
                return wrong("has a `{{` without its `}}`".to_owned());
            };
            let Some(field) = Field::ALL.into_iter().find(|field| field.as_str() == name.trim()) else {
                let name: String = name.chars().take(40).collect();
                return wrong(format!(
                    "has `{{{{{name}}}}}`, which is none of `{{{{prompt}}}}`, `{{{{answer}}}}`, `{{{{context}}}}`, `{{{{expected}}}}`"
                ));
            };
            parts.push(Part::Text(text.to_owned()));
            parts.push(Part::Place(field));
            rest = after;
        }
        if parts.is_empty() {
            return wrong("names none of the row's texts".to_owned());
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self { source, parts })
    }

    /// The template as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The fields it names, each once.
    pub fn fields(&self) -> Vec<Field> {
        Field::ALL
            .into_iter()
            .filter(|field| self.parts.contains(&Part::Place(*field)))
            .collect()
    }

    /// The template with a row's texts in their places.
    pub fn fill(&self, row: &Row) -> String {
        let texts: Vec<&str> = self
            .fields()
            .into_iter()
            .flat_map(|field| row.texts(field))
            .collect();
        let fence = Fence::new(&texts);
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Place(field) => fenced(&fence, row, *field),
            })
            .collect()
    }
}

fn fenced(fence: &Fence, row: &Row, field: Field) -> String {
    let texts = row.texts(field);
    let name = |place: usize| match field {
        Field::Context => format!("passage {}", place + 1),
        _ => field.as_str().to_owned(),
    };
    texts
        .into_iter()
        .enumerate()
        .map(|(place, text)| fence.around(&name(place), text))
        .collect::<Vec<_>>()
        .join("\n\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_are_filled_once() {
        let template = Template::new("Is {{ answer }} kind? {\"a\": 1}\n{{context}}").unwrap();
        assert_eq!(template.fields(), [Field::Answer, Field::Context]);
        let row = Row {
            answer: Some("see {{context}}".to_owned()),
            context: vec!["one".to_owned(), "two".to_owned()],
            ..Row::default()
        };
        let filled = template.fill(&row);
        let fence = Fence::new(&["see {{context}}", "one", "two"]);
        let word = fence.word();
        assert_eq!(
            filled,
            format!(
                "Is <<<{word} answer\nsee {{{{context}}}}\n{word}>>> kind? {{\"a\": 1}}\n<<<{word} passage 1\none\n{word}>>>\n\n\
                 <<<{word} passage 2\ntwo\n{word}>>>"
            )
        );
    }

    #[test]
    fn faults_are_told() {
        for (source, why) in [
            ("no place", "names none"),
            ("{{answer", "without its"),
            ("{{output}}", "`{{output}}`"),
            ("{{}}", "`{{}}`"),
        ] {
            let error = Template::new(source).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(Template::new("{{answer}}".repeat(10_000)).is_err());
    }

    proptest! {
        #[test]
        fn any_source_and_any_row_are_borne(source in ".*|[{}a \n]*(\\{\\{(answer|x)\\}\\})?.*", answer in ".*") {
            if let Ok(template) = Template::new(source) {
                let row = Row { answer: Some(answer), ..Row::default() };
                let _ = template.fill(&row);
            }
        }
    }
}
