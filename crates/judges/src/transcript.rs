//! What was asked and answered, word by word.

use async_trait::async_trait;
use lodeway_domain::Result;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{ChatAnswer, ChatRequest, Digest};

/// One question and its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    /// The judge that asked, `name@version`.
    pub judge: String,
    /// The row it judged.
    pub row: String,
    /// Which repeat, from 0.
    pub repeat: u32,
    /// Which of the judge's questions, and `…/repair` where the model was to mend its answer.
    pub step: String,
    /// The route or model asked.
    pub model: String,
    /// The question.
    pub request: ChatRequest,
    /// The answer.
    pub answer: ChatAnswer,
}

impl Transcript {
    /// The digest of question and answer as canonical JSON. Tokens and cost are left out: prices change, words do not.
    pub fn digest(&self) -> Digest {
        Digest::of(&json!({
            "format": 1,
            "judge": self.judge,
            "model": self.model,
            "request": self.request.json(),
            "answer": {
                "text": self.answer.text,
                "refusal": self.answer.refusal,
                "finish": self.answer.finish,
                "model": self.answer.model,
            },
        }))
    }
}

/// Where transcripts go.
#[async_trait]
pub trait TranscriptSink: Send + Sync {
    /// Keeps a transcript under its digest. The same may come again, from another row or a resumed run.
    ///
    /// An error ends the evaluation: a report must not name a transcript that is nowhere.
    async fn put(&self, digest: &Digest, transcript: &Transcript) -> Result<()>;
}
