//! Models that say something of texts, a vector or scores by label; their answers, kept text by text.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use lodeway_domain::Result;
use serde_json::json;

use crate::{AnswerCache, CallError, Digest, LabelScore, Usage};

/// A model that turns texts into vectors (`T` = `Vec<f32>`) or gives them scores by label (`T` = `Vec<LabelScore>`).
///
/// Dropping the future of a call cancels it.
#[async_trait]
pub trait TextModel<T>: Send + Sync {
    /// What names the model and all that decides its answers, part of a kept answer's key: another name, another answer.
    fn model(&self) -> &str;

    /// One answer for each text, in the order of `texts`. Neither retries nor a timeout are needed here.
    async fn answers(&self, texts: &[&str]) -> Result<TextAnswers<T>, CallError>;
}

/// What a model says of some texts.
#[derive(Debug, Clone, PartialEq)]
pub struct TextAnswers<T> {
    /// One for each text.
    pub values: Vec<T>,
    /// Tokens of the call.
    pub usage: Usage,
    /// The price of the call; none if it has no price.
    pub cost: Option<f64>,
}

impl<T> From<Vec<T>> for TextAnswers<T> {
    fn from(values: Vec<T>) -> Self {
        Self {
            values,
            usage: Usage::default(),
            cost: None,
        }
    }
}

impl<T> TextAnswers<T> {
    /// Each answer with its share of what the call cost; what does not divide falls to the first.
    pub(crate) fn apart(self) -> impl Iterator<Item = KeptText<T>> {
        let texts = self.values.len().max(1) as u64;
        let (usage, cost) = (self.usage, self.cost.map(|cost| cost / texts as f64));
        self.values.into_iter().enumerate().map(move |(at, value)| {
            let share = |tokens: u64| tokens / texts + if at == 0 { tokens % texts } else { 0 };
            KeptText {
                value,
                usage: Usage {
                    input_tokens: share(usage.input_tokens),
                    output_tokens: share(usage.output_tokens),
                },
                cost,
            }
        })
    }
}

/// The answer about one text, as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KeptText<T> {
    pub(crate) value: T,
    pub(crate) usage: Usage,
    pub(crate) cost: Option<f64>,
}

/// The format of [`KeptText::to_bytes`].
const FORMAT: u8 = 1;

impl<T: TextValue> KeptText<T> {
    /// The key of the answer in a cache: what kind of answer, which model, which text.
    pub(crate) fn key(model: &str, text: &str) -> Digest {
        Digest::of(&json!({"format": 1, "kind": T::KIND, "model": model, "text": text}))
    }

    /// A byte with the format, tokens read and written, the cost (NaN for none), then the value.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        bytes.extend(self.usage.input_tokens.to_le_bytes());
        bytes.extend(self.usage.output_tokens.to_le_bytes());
        bytes.extend(self.cost.unwrap_or(f64::NAN).to_le_bytes());
        self.value.write(&mut bytes);
        bytes
    }

    /// The answer back; none if the bytes are damaged or of another format.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&format, rest) = bytes.split_first()?;
        let (&input, rest) = rest.split_first_chunk::<8>()?;
        let (&output, rest) = rest.split_first_chunk::<8>()?;
        let (&cost, rest) = rest.split_first_chunk::<8>()?;
        let cost = f64::from_le_bytes(cost);
        let kept = Self {
            value: T::read(rest)?,
            usage: Usage {
                input_tokens: u64::from_le_bytes(input),
                output_tokens: u64::from_le_bytes(output),
            },
            cost: (!cost.is_nan()).then_some(cost),
        };
        (format == FORMAT && kept.value.is_sound()).then_some(kept)
    }
}

/// What a model may say of a text.
pub(crate) trait TextValue: Clone + Send + Sync + 'static {
    /// Part of the key.
    const KIND: &'static str;
    /// What is said of answers that are not sound.
    const FAULT: &'static str;

    fn is_sound(&self) -> bool;
    fn write(&self, bytes: &mut Vec<u8>);
    fn read(bytes: &[u8]) -> Option<Self>;
}

impl TextValue for Vec<f32> {
    const KIND: &'static str = "embedding";
    const FAULT: &'static str =
        "the embedding model did not give one finite vector of the same length for each text";

    fn is_sound(&self) -> bool {
        !self.is_empty() && self.iter().all(|x| x.is_finite())
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        self.iter().for_each(|x| bytes.extend(x.to_le_bytes()));
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks::<4>();
        rest.is_empty()
            .then(|| numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
    }
}

impl TextValue for Vec<LabelScore> {
    const KIND: &'static str = "classification";
    const FAULT: &'static str = "the classifier did not give each text scores between 0 and 1";

    fn is_sound(&self) -> bool {
        self.iter().all(|label| (0.0..=1.0).contains(&label.score))
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        // Labels and finite numbers always have a JSON form; without it the answer would not be read back.
        if let Ok(json) = serde_json::to_vec(self) {
            bytes.extend(json);
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// A model that is asked about the texts of many rows at a time, before the rows ask one by one.
///
/// Which texts stand together in a call depends on their order alone, so that a model whose answers depend a little on
/// their company gives the same to the same rows.
pub struct Ahead<T> {
    model: Arc<dyn TextModel<T>>,
    texts_a_call: usize,
    held: Mutex<HashMap<String, KeptText<T>>>,
}

#[expect(private_bounds, reason = "vectors and scores by label are all there is")]
impl<T: TextValue> Ahead<T> {
    /// Asks `model` about at most `texts_a_call` texts at a time.
    pub fn new(model: Arc<dyn TextModel<T>>, texts_a_call: usize) -> Self {
        Self {
            model,
            texts_a_call: texts_a_call.max(1),
            held: Mutex::default(),
        }
    }

    /// Fetches the answers about the texts that `cache` has not, and forgets those of before.
    ///
    /// A call that fails for good is cut in two until the texts are found that it fails on; those, and all the rest if the
    /// model is not there, are left to the rows, which have their own patience. Errors: those of the cache.
    pub async fn fetch(&self, cache: Option<&dyn AnswerCache>, texts: &[&str]) -> Result<()> {
        let (mut seen, mut wanted) = (HashSet::new(), Vec::new());
        for &text in texts {
            if !seen.insert(text) {
                continue;
            }
            let kept = match cache {
                Some(cache) => cache.get(&KeptText::<T>::key(self.model.model(), text)).await?,
                None => None,
            };
            if kept.as_deref().and_then(KeptText::<T>::from_bytes).is_none() {
                wanted.push(text);
            }
        }
        let mut held = HashMap::new();
        for some in wanted.chunks(self.texts_a_call) {
            if !self.ask(some, &mut held).await {
                break;
            }
        }
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
        Ok(())
    }

    /// Whether asking about more texts is of use.
    fn ask<'s>(
        &'s self,
        texts: &'s [&'s str],
        held: &'s mut HashMap<String, KeptText<T>>,
    ) -> BoxFuture<'s, bool> {
        Box::pin(async move {
            match self.model.answers(texts).await {
                Ok(answers) if answers.values.len() == texts.len() => {
                    let texts = texts.iter().map(|text| (*text).to_owned());
                    held.extend(texts.zip(answers.apart()));
                    true
                }
                Ok(_) | Err(CallError::Failed { .. } | CallError::Refused { .. }) if texts.len() > 1 => {
                    let (one, other) = texts.split_at(texts.len() / 2);
                    self.ask(one, held).await && self.ask(other, held).await
                }
                Ok(_) | Err(CallError::Failed { .. } | CallError::Refused { .. }) => true,
                Err(_) => false,
            }
        })
    }
}

#[async_trait]
impl<T: TextValue> TextModel<T> for Ahead<T> {
    fn model(&self) -> &str {
        self.model.model()
    }

    async fn answers(&self, texts: &[&str]) -> Result<TextAnswers<T>, CallError> {
        let known: Option<Vec<KeptText<T>>> = {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            texts.iter().map(|text| held.get(*text).cloned()).collect()
        };
        let Some(known) = known else {
            return self.model.answers(texts).await;
        };
        let mut all = TextAnswers::from(Vec::with_capacity(known.len()));
        for one in known {
            all.usage.input_tokens = all.usage.input_tokens.saturating_add(one.usage.input_tokens);
            all.usage.output_tokens = all.usage.output_tokens.saturating_add(one.usage.output_tokens);
            all.cost = match (all.cost, one.cost) {
                (Some(sum), Some(cost)) => Some(sum + cost),
                (sum, cost) => sum.or(cost),
            };
            all.values.push(one.value);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_back_and_damage_is_not() {
        let vector = KeptText {
            value: vec![0.25_f32, -1.5],
            usage: Usage {
                input_tokens: 3,
                output_tokens: 0,
            },
            cost: Some(0.5),
        };
        assert_eq!(KeptText::from_bytes(&vector.to_bytes()), Some(vector.clone()));
        let labels = KeptText {
            value: vec![LabelScore {
                label: "toxic".to_owned(),
                score: 0.125,
            }],
            usage: Usage::default(),
            cost: None,
        };
        assert_eq!(KeptText::from_bytes(&labels.to_bytes()), Some(labels));
        let bytes = vector.to_bytes();
        for end in 0..bytes.len() {
            // A vector that is cut between two numbers is a vector all the same; its length shows beside others.
            let is_whole = end > 25 && (end - 25).is_multiple_of(4);
            assert_eq!(
                KeptText::<Vec<f32>>::from_bytes(&bytes[..end]).is_some(),
                is_whole,
                "{end}"
            );
        }
    }

    #[test]
    fn the_cost_of_a_call_is_that_of_its_texts() {
        let call = TextAnswers {
            values: vec![vec![1.0_f32]; 3],
            usage: Usage {
                input_tokens: 8,
                output_tokens: 0,
            },
            cost: Some(0.75),
        };
        let apart: Vec<_> = call.apart().collect();
        let tokens: Vec<u64> = apart.iter().map(|one| one.usage.input_tokens).collect();
        assert_eq!((tokens, apart[1].cost), (vec![4, 2, 2], Some(0.25)));
    }
}
