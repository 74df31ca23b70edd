//! What is judged.

use serde::{Deserialize, Serialize};

/// A text of a row by its part in the conversation that is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// What the user asked.
    Prompt,
    /// What the model answered.
    Answer,
    /// What the model was given to answer from.
    Context,
    /// What it should have answered.
    Expected,
}

impl Field {
    /// All fields.
    pub const ALL: [Self; 4] = [Self::Prompt, Self::Answer, Self::Context, Self::Expected];

    /// The name of the field, as templates write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Answer => "answer",
            Self::Context => "context",
            Self::Expected => "expected",
        }
    }
}

/// One row of texts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Row {
    /// What names the row in its data set; results carry it, and resuming goes by it.
    pub key: String,
    /// What the user asked.
    pub prompt: Option<String>,
    /// What the model answered.
    pub answer: Option<String>,
    /// The passages that the model was given, in order; passage 1 is cited as `[1]`.
    pub context: Vec<String>,
    /// What it should have answered.
    pub expected: Option<String>,
}

impl Row {
    /// The row has this field, and there is more in it than white space.
    pub fn has(&self, field: Field) -> bool {
        match field {
            Field::Prompt => is_said(self.prompt.as_deref()),
            Field::Answer => is_said(self.answer.as_deref()),
            Field::Context => self.context.iter().any(|passage| is_said(Some(passage))),
            Field::Expected => is_said(self.expected.as_deref()),
        }
    }

    /// The texts of a field: passages of the context one by one, else one text or none.
    pub fn texts(&self, field: Field) -> Vec<&str> {
        match field {
            Field::Prompt => self.prompt.as_deref().into_iter().collect(),
            Field::Answer => self.answer.as_deref().into_iter().collect(),
            Field::Context => self.context.iter().map(String::as_str).collect(),
            Field::Expected => self.expected.as_deref().into_iter().collect(),
        }
    }

    /// The bytes of all texts.
    pub fn size_bytes(&self) -> usize {
        Field::ALL
            .into_iter()
            .flat_map(|field| self.texts(field))
            .map(str::len)
            .sum()
    }
}

fn is_said(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.trim().is_empty())
}
