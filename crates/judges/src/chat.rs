//! What a judge asks of a chat model, and what comes back.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Digest;

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The one who sets the rules.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message by `role`.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
        }
    }
}

/// A JSON schema that the answer is forced to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResponseSchema {
    /// A name of letters, digits, `_` and `-`, at most 64.
    pub name: String,
    /// The schema; every object in it lists all of its properties as required and allows no others.
    pub schema: Value,
}

/// One question to a chat model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// The conversation so far, oldest first.
    pub messages: Vec<Message>,
    /// 0 to 2³¹ − 1, which every known server accepts.
    pub seed: u32,
    /// 0 to 2; 0 takes the likeliest words.
    pub temperature: f64,
    /// The most tokens of the answer.
    pub max_tokens: u32,
    /// What the answer is forced to.
    pub response_schema: ResponseSchema,
}

impl ChatRequest {
    /// The key of the answer in a cache: model, messages, schema, seed, temperature and bound, with the judge that asks.
    pub fn key(&self, judge: &str, model: &str) -> Digest {
        Digest::of(&json!({
            "format": 1,
            "judge": judge,
            "model": model,
            "request": self.json(),
        }))
    }

    /// The request as a JSON value.
    pub fn json(&self) -> Value {
        json!({
            "messages": self.messages,
            "seed": self.seed,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "response_schema": self.response_schema,
        })
    }
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It had said all.
    Stop,
    /// It reached the bound of tokens.
    Length,
    /// The provider's filter cut it.
    ContentFilter,
    /// Anything else.
    Other,
}

/// Tokens of one call or of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
}

/// A model's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatAnswer {
    /// What it said.
    pub text: String,
    /// What the protocol's own field for a refusal said, if it refused that way.
    pub refusal: Option<String>,
    /// Why it stopped.
    pub finish: FinishReason,
    /// Tokens, as the provider counts them.
    pub usage: Usage,
    /// The model that answered, as the provider names it.
    pub model: String,
    /// The price of the call in the currency of the route's prices; none if the route has no prices.
    pub cost: Option<f64>,
}

/// The format of [`ChatAnswer::to_bytes`].
const FORMAT: u8 = 1;

impl ChatAnswer {
    /// The answer as bytes for a cache: a byte with the format, then JSON.
    ///
    /// Empty if the answer has no JSON form, which does not happen.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        match serde_json::to_writer(&mut bytes, self) {
            Ok(()) => bytes,
            Err(_) => Vec::new(),
        }
    }

    /// The answer back; none if the bytes are damaged or of another format.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&format, json) = bytes.split_first()?;
        if format != FORMAT {
            return None;
        }
        serde_json::from_slice(json).ok()
    }
}

/// Why a call gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// No answer within the time that the caller allows.
    Timeout,
    /// Too many calls; asking again later may help.
    RateLimited {
        /// The earliest time to ask again, if the other side said so.
        retry_after: Option<Duration>,
    },
    /// The other side is not there or failed; asking again may help.
    Unavailable {
        /// What is wrong, lower case, no full stop.
        message: String,
    },
    /// The provider declined to answer such a request.
    Refused {
        /// What it said.
        message: String,
    },
    /// Asking again would fail the same way, for example for a key that is not valid.
    Failed {
        /// What is wrong, lower case, no full stop.
        message: String,
    },
}

/// A chat model behind some address.
///
/// Dropping the future of a call cancels it.
#[async_trait]
pub trait Chat: Send + Sync {
    /// The name of the model or route asked, part of a cached answer's key: another name, another answer.
    fn model(&self) -> &str;

    /// One answer to `request`. Neither retries nor a timeout are needed here: who asks has both.
    async fn chat(&self, request: &ChatRequest) -> Result<ChatAnswer, CallError>;
}

/// The score of one label of a classifier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelScore {
    /// The label, as the model names it.
    pub label: String,
    /// A probability.
    pub score: f64,
}

impl LabelScore {
    /// The label of a score of all other labels together, where a model tells of its likeliest one alone.
    pub const REST: &str = "*";
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(text: &str) -> ChatAnswer {
        ChatAnswer {
            text: text.to_owned(),
            refusal: None,
            finish: FinishReason::Stop,
            usage: Usage::default(),
            model: "m-1".to_owned(),
            cost: Some(0.001),
        }
    }

    #[test]
    fn every_part_of_a_request_is_part_of_its_key() {
        let request = ChatRequest {
            messages: vec![Message::new(Role::User, "hello")],
            seed: 1,
            temperature: 0.0,
            max_tokens: 10,
            response_schema: ResponseSchema {
                name: "s".to_owned(),
                schema: json!({"type": "object"}),
            },
        };
        let key = request.key("j@1", "m");
        let change = |change: fn(&mut ChatRequest)| {
            let mut changed = request.clone();
            change(&mut changed);
            changed.key("j@1", "m")
        };
        assert_eq!(change(|_| ()), key);
        let others = [
            request.key("j@2", "m"),
            request.key("j@1", "n"),
            change(|r| r.messages[0].content.push('!')),
            change(|r| r.messages[0].role = Role::System),
            change(|r| r.seed = 2),
            change(|r| r.temperature = 0.5),
            change(|r| r.max_tokens = 11),
            change(|r| r.response_schema.schema = json!({"type": "array"})),
        ];
        assert!(others.iter().all(|other| *other != key), "{others:?}");
    }

    proptest! {
        #[test]
        fn any_answer_is_read_back_and_any_bytes_are_borne(text in ".*", bytes: Vec<u8>) {
            let answer = answer(&text);
            prop_assert_eq!(ChatAnswer::from_bytes(&answer.to_bytes()), Some(answer));
            let _ = ChatAnswer::from_bytes(&bytes);
        }
    }
}
