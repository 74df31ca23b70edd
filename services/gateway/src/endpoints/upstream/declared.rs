//! What a model on another server declares of its inputs, and documents without types made to fit.
//!
//! A scoring document names no datatypes: its whole numbers are INT64, its decimals FP64. Another server takes only what it
//! declares, so such a tensor goes out in the declared datatype where that holds every value: integers in range, whole
//! numbers that a float has exactly, and decimals rounded to FP32, as a client of the server would. What does not fit goes
//! out as it is, and the server says what is wrong with it. Tensors whose datatype the caller said are never changed.
//!
//! Behind the same address there may be another server tomorrow, so what is declared is asked again in the background: after
//! [`MAX_AGE`], after a call failed, and when the server was away. Calls never wait for that. A server that fails or refuses
//! to say it is taken at its last word; one that says that there is nothing, once it has said so twice in a row.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::{BufMut as _, Bytes, BytesMut};
use lodeway_domain::{
    Error, Result,
    signature::{DataType, ModelSignature, Tensor as Declared},
    time::Timestamp,
};
use lodeway_inference::{
    Column, Frame, Payload, Tensor,
    elements::{Element, Elements},
};
use lodeway_proto::inference::ModelInferRequest;
use lodeway_rpc::inference;

use crate::endpoints::host::signature;

/// How long a server is taken at its word.
const MAX_AGE: Duration = Duration::from_secs(60);
/// The moment of a question that was never asked, or whose answer is in doubt.
const UNASKED: i64 = i64::MIN;

/// What a model on another server declares of its inputs, as it said last. All who call it share this.
#[derive(Debug)]
pub(crate) struct Declaration {
    word: ArcSwap<Word>,
    /// Whether it said last that it declares nothing.
    said_nothing: AtomicBool,
    /// When it was asked last, in milliseconds.
    asked: AtomicI64,
}

/// What was said of the inputs, as a signature and as it is applied.
#[derive(Debug, Default)]
struct Word {
    signature_json: String,
    inputs: Arc<DeclaredInputs>,
}

impl Default for Declaration {
    fn default() -> Self {
        Self {
            word: ArcSwap::default(),
            said_nothing: AtomicBool::new(false),
            asked: AtomicI64::new(UNASKED),
        }
    }
}

impl Declaration {
    /// What it said last.
    pub(crate) fn inputs(&self) -> Arc<DeclaredInputs> {
        self.word.load().inputs.clone()
    }

    /// The same as the signature that was made of it; empty if it declares nothing.
    pub(crate) fn signature_json(&self) -> String {
        self.word.load().signature_json.clone()
    }

    /// This is taken for its word. True if its inputs are other ones by that.
    pub(crate) fn set(&self, signature_json: &str) -> bool {
        let signature = signature(signature_json);
        let inputs = Arc::new(DeclaredInputs::of(signature.as_ref()));
        let word = Arc::new(Word {
            signature_json: signature_json.to_owned(),
            inputs: inputs.clone(),
        });
        self.word.swap(word).inputs != inputs
    }

    /// The server says this. That it declares nothing is doubted once where something is known. True if its inputs are other
    /// ones by that.
    pub(crate) fn hear(&self, signature_json: &str) -> bool {
        let is_nothing = signature_json.is_empty();
        let was_nothing = self.said_nothing.swap(is_nothing, Ordering::Relaxed);
        if is_nothing && !was_nothing && !self.word.load().signature_json.is_empty() {
            self.doubt();
            return false;
        }
        self.set(signature_json)
    }

    /// The server was asked and did not say it.
    pub(crate) fn unheard(&self) {
        self.said_nothing.store(false, Ordering::Relaxed);
    }

    /// Whether it is to be asked again.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        let age = now.millis().saturating_sub(self.asked.load(Ordering::Relaxed));
        u128::try_from(age).is_ok_and(|age| age >= MAX_AGE.as_millis())
    }

    /// It is asked now. What is doubted from here on is asked once more.
    pub(crate) fn asking(&self, now: Timestamp) {
        self.asked.store(now.millis(), Ordering::Relaxed);
    }

    /// A call failed: the server may be another one than it was.
    pub(crate) fn doubt(&self) {
        self.asked.store(UNASKED, Ordering::Relaxed);
    }
}

/// A model's inputs; empty if it does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeclaredInputs(Vec<DeclaredInput>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct DeclaredInput {
    name: String,
    datatype: DataType,
    /// Whether its shape is `[rows, 1]`.
    is_upright: bool,
}

impl DeclaredInputs {
    /// The inputs of a signature that was made of a server's metadata.
    pub(crate) fn of(signature: Option<&ModelSignature>) -> Self {
        let inputs = signature.and_then(|signature| signature.inputs.as_ref());
        let tensors = inputs.and_then(|inputs| inputs.tensors()).unwrap_or_default();
        let named = |tensor: &Declared| {
            Some(DeclaredInput {
                name: tensor.name.clone()?,
                datatype: tensor.dtype.datatype(),
                is_upright: matches!(*tensor.shape, [_, 1]),
            })
        };
        Self(tensors.iter().filter_map(named).collect())
    }

    /// The message with its inferred tensors as the model declares them. Errors: as [`inference::input_of`].
    pub(super) fn fit_message(&self, mut message: ModelInferRequest) -> Result<ModelInferRequest> {
        // What is inferred is said in a parameter of its tensor.
        let mut inputs = message.inputs.iter();
        let is_typed = inputs.len() > 0 && inputs.all(|input| input.parameters.is_empty());
        if self.0.is_empty() || is_typed {
            return Ok(message);
        }
        // The parameters of the whole stay as they are.
        let (payload, _) = inference::input_of(message.clone())?;
        let is_table = matches!(payload, Payload::Frame(_));
        let fitted = inference::request_of(self.fit(payload)?, &lodeway_inference::Params::new())?;
        message.inputs = fitted.inputs;
        for input in message.inputs.iter_mut().filter(|_| is_table) {
            if self.is_upright(&input.name) {
                input.shape.push(1);
            }
        }
        message.raw_input_contents = fitted.raw_input_contents;
        Ok(message)
    }

    /// The tensors of a payload as the model declares them. Errors: a document, which has none.
    pub(super) fn fit_tensors(&self, payload: Payload) -> Result<Vec<Tensor>> {
        match self.fit(payload)? {
            Payload::Tensors(tensors) => Ok(tensors),
            Payload::Frame(frame) => {
                let tensors = frame.into_tensors().into_iter();
                let shaped = tensors.map(|tensor| match *tensor.shape() {
                    [rows] if self.is_upright(tensor.name()) => tensor.reshaped(vec![rows, 1]),
                    _ => Ok(tensor),
                });
                shaped.collect()
            }
            Payload::Document(_) => Err(Error::internal("a document is no inference request")),
        }
    }

    /// The payload with its inferred tensors as the model declares them. Errors: none for a payload that was read.
    fn fit(&self, payload: Payload) -> Result<Payload> {
        if self.0.is_empty() {
            return Ok(payload);
        }
        Ok(match payload {
            Payload::Tensors(tensors) => {
                let is_alone = tensors.len() == 1;
                let tensors = tensors.into_iter().map(|tensor| self.tensor(tensor, is_alone));
                Payload::Tensors(tensors.collect())
            }
            // Records that are none name no columns.
            Payload::Frame(frame) if frame.columns().is_empty() => {
                let columns = self.0.iter().map(|input| {
                    let values = Tensor::new(&input.name, input.datatype, vec![0], Bytes::new())?;
                    Ok(Column { values, nulls: None })
                });
                Payload::Frame(Frame::new(columns.collect::<Result<_>>()?)?)
            }
            Payload::Frame(frame) => {
                let columns = frame.into_columns().into_iter().map(|column| Column {
                    values: self.tensor(column.values, false),
                    nulls: column.nulls,
                });
                Payload::Frame(Frame::new(columns.collect())?)
            }
            document @ Payload::Document(_) => document,
        })
    }

    /// A tensor under the only input's name if it came without one, and in the declared datatype if that holds it.
    fn tensor(&self, tensor: Tensor, is_alone: bool) -> Tensor {
        if !tensor.is_inferred() {
            return tensor;
        }
        let tensor = match self.0.as_slice() {
            [only] if is_alone && tensor.name().is_empty() => tensor.renamed(&only.name),
            _ => tensor,
        };
        match self.input(tensor.name()) {
            Some(declared) => converted(&tensor, declared.datatype).unwrap_or(tensor),
            None => tensor,
        }
    }

    fn input(&self, name: &str) -> Option<&DeclaredInput> {
        self.0.iter().find(|input| input.name == name)
    }

    /// Whether a column of a table goes out as `[rows, 1]`.
    fn is_upright(&self, name: &str) -> bool {
        self.input(name).is_some_and(|input| input.is_upright)
    }
}

/// The same values in another datatype; none if one of them is not in it, or if there is no such conversion.
fn converted(tensor: &Tensor, to: DataType) -> Option<Tensor> {
    let mut out = BytesMut::with_capacity(tensor.data().len());
    match tensor.datatype() {
        from if from == to => out.put_slice(tensor.data()),
        DataType::Int64 | DataType::Fp64 => {
            for element in Elements::of(tensor) {
                put(&mut out, element, to)?;
            }
        }
        _ => return None,
    }
    Tensor::new(tensor.name(), to, tensor.shape().to_vec(), out.freeze()).ok()
}

fn put(out: &mut BytesMut, element: Element<'_>, to: DataType) -> Option<()> {
    match (element, to) {
        (Element::Int(value), DataType::Int8) => out.put_i8(value.try_into().ok()?),
        (Element::Int(value), DataType::Int16) => out.put_i16_le(value.try_into().ok()?),
        (Element::Int(value), DataType::Int32) => out.put_i32_le(value.try_into().ok()?),
        (Element::Int(value), DataType::Uint8) => out.put_u8(value.try_into().ok()?),
        (Element::Int(value), DataType::Uint16) => out.put_u16_le(value.try_into().ok()?),
        (Element::Int(value), DataType::Uint32) => out.put_u32_le(value.try_into().ok()?),
        (Element::Int(value), DataType::Uint64) => out.put_u64_le(value.try_into().ok()?),
        (Element::Int(value), DataType::Fp32) => out.put_f32_le(exactly(value, value as f32, f64::from)?),
        (Element::Int(value), DataType::Fp64) => out.put_f64_le(exactly(value, value as f64, |v| v)?),
        (Element::Double(value), DataType::Fp32) => {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "decimals are rounded, and what becomes infinite is refused"
            )]
            let rounded = value as f32;
            (rounded.is_infinite() == value.is_infinite()).then(|| out.put_f32_le(rounded))?;
        }
        _ => return None,
    }
    Some(())
}

/// The float, if it is the whole number itself.
fn exactly<F: Copy>(whole: i64, float: F, wide: impl Fn(F) -> f64) -> Option<F> {
    let wide = wide(float);
    // The float next to i64::MAX is 2^63, which a cast back would clip.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is whole, and within the range of i64"
    )]
    let is_same = wide < 9_223_372_036_854_775_808.0 && wide as i64 == whole;
    is_same.then_some(float)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(values: &[i64]) -> Tensor {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let size = i64::try_from(values.len()).unwrap();
        Tensor::new("", DataType::Int64, vec![size], data).unwrap()
    }

    fn decimal(values: &[f64]) -> Tensor {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let size = i64::try_from(values.len()).unwrap();
        Tensor::new("x", DataType::Fp64, vec![size], data).unwrap()
    }

    fn single(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn fitted(of: &[(&str, DataType)], tensor: Tensor) -> Tensor {
        let declared = of
            .iter()
            .map(|(name, datatype)| DeclaredInput {
                name: (*name).to_owned(),
                datatype: *datatype,
                is_upright: false,
            })
            .collect();
        let fitted = DeclaredInputs(declared)
            .fit(Payload::Tensors(vec![tensor]))
            .unwrap();
        let Payload::Tensors(mut tensors) = fitted else {
            panic!("{fitted:?}")
        };
        tensors.remove(0)
    }

    #[test]
    fn inferred_values_take_the_datatype_and_the_name_that_are_declared() {
        let x = |datatype| [("x", datatype)];
        let found = fitted(&x(DataType::Fp32), whole(&[1, -2]).inferred());
        assert_eq!((found.name(), found.datatype()), ("x", DataType::Fp32));
        assert_eq!(found.data()[..], single(&[1.0, -2.0])[..]);
        let found = fitted(
            &x(DataType::Fp32),
            decimal(&[0.1, f64::NAN, f64::INFINITY]).inferred(),
        );
        assert_eq!(found.data()[..4], 0.1_f32.to_le_bytes());
        for (datatype, bytes) in [
            (DataType::Int32, 4),
            (DataType::Uint8, 1),
            (DataType::Fp64, 8),
            (DataType::Int64, 8),
        ] {
            let found = fitted(&x(datatype), whole(&[7]).inferred());
            assert_eq!((found.datatype(), found.data().len()), (datatype, bytes));
            assert!(!found.is_inferred());
        }
    }

    #[test]
    fn what_would_lose_something_stays_as_it_is() {
        let x = |datatype| [("x", datatype)];
        for (datatype, value) in [
            (DataType::Fp32, (1 << 24) + 1),
            (DataType::Fp64, (1 << 53) + 1),
            (DataType::Fp64, i64::MAX),
            (DataType::Int32, 1 << 31),
            (DataType::Uint8, -1),
            (DataType::Bool, 1),
        ] {
            let found = fitted(&x(datatype), whole(&[value]).inferred());
            assert_eq!(found.datatype(), DataType::Int64, "{datatype} {value}");
        }
        for (datatype, value) in [(DataType::Fp32, 1e39), (DataType::Int64, 1.5)] {
            let found = fitted(&x(datatype), decimal(&[value]).inferred());
            assert_eq!(found.datatype(), DataType::Fp64, "{datatype} {value}");
        }
        // Of a type that its caller said, of another name, or not the only one that is declared.
        assert_eq!(
            fitted(&x(DataType::Fp32), whole(&[1])).datatype(),
            DataType::Int64
        );
        let other = fitted(&[("y", DataType::Fp32)], decimal(&[1.0]).inferred());
        assert_eq!((other.name(), other.datatype()), ("x", DataType::Fp64));
        let two = [("x", DataType::Fp32), ("y", DataType::Fp32)];
        assert_eq!(fitted(&two, whole(&[1]).inferred()).name(), "");
    }

    #[test]
    fn what_is_declared_is_asked_again_when_it_is_old_or_in_doubt() {
        let at = |seconds: i64| Timestamp::from_millis(1_700_000_000_000 + seconds * 1_000);
        let declaration = Declaration::default();
        assert!(declaration.is_due(at(0)));
        declaration.asking(at(0));
        assert!(!declaration.is_due(at(59)));
        assert!(declaration.is_due(at(60)));
        declaration.asking(at(60));
        declaration.doubt();
        assert!(declaration.is_due(at(60)));
    }

    #[test]
    fn that_nothing_is_declared_is_believed_when_it_is_said_twice_in_a_row() {
        let x = r#"{"inputs":"[{\"name\":\"x\",\"type\":\"tensor\",\"tensor-spec\":{\"dtype\":\"float32\",\"shape\":[-1]}}]"}"#;
        let now = Timestamp::from_millis(1_700_000_000_000);
        let declaration = Declaration::default();
        assert!(declaration.hear(x));
        assert!(!declaration.hear(x));
        assert_eq!(declaration.inputs().0.len(), 1);
        // The first time it is asked again; an answer between two of them that is none makes the second one the first.
        declaration.asking(now);
        assert!(!declaration.hear(""));
        assert!(declaration.is_due(now));
        declaration.unheard();
        assert!(!declaration.hear(""));
        assert_eq!(declaration.signature_json(), x);
        assert!(declaration.hear(""));
        assert_eq!(*declaration.inputs(), DeclaredInputs::default());
        // Who knows nothing loses nothing.
        declaration.asking(now);
        declaration.unheard();
        assert!(!declaration.hear(""));
        assert!(!declaration.is_due(now));
    }
}
