//! Frames between host and worker; the other end, with the format in words, is `python/lodeway_worker/wire.py`.

use std::{borrow::Cow, collections::VecDeque};

use bytes::{BufMut, Bytes, BytesMut};
use lodeway_domain::{Error, signature::DataType};
use lodeway_inference::{Column, Document, Frame, Params, Payload, Tensor};
use serde::{Deserialize, Serialize};

/// The version of the format; both ends come from one build.
const VERSION: u8 = 1;
/// The length of what comes before the header.
pub(crate) const PREAMBLE_BYTES: usize = 16;
/// The longest header that is read.
const MAX_HEADER_BYTES: usize = 16 << 20;
/// Below this a copy into one buffer is cheaper than several writes.
const JOIN_BYTES: usize = 64 << 10;
/// Tensors start at multiples of this, as numpy wants them.
const ALIGN: usize = 8;

/// What the host says.
#[derive(Serialize)]
struct Request<'a> {
    kind: &'static str,
    id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<&'a Params>,
    /// What names the call in logs.
    #[serde(skip_serializing_if = "str::is_empty")]
    trace: &'a str,
    #[serde(flatten)]
    value: Option<Value<'a>>,
}

/// A payload's description; its bytes are the body.
#[derive(Serialize, Deserialize)]
pub(crate) struct Value<'a> {
    form: Form,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tensors: Vec<Described<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<Cow<'a, str>>,
    #[serde(default)]
    bytes: usize,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    Tensors,
    Frame,
    Document,
}

#[derive(Serialize, Deserialize)]
struct Described<'a> {
    name: Cow<'a, str>,
    datatype: Cow<'a, str>,
    shape: Cow<'a, [i64]>,
    bytes: usize,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    nulls: bool,
    /// Whether the elements are JSON texts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    json: bool,
    /// Whether it came under its name, where no other came beside it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    keyed: bool,
    /// Whether the name is a number.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    numbered: bool,
}

/// What a worker says.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Reply {
    /// The model is loaded.
    Ready(ModelFacts),
    /// The model does not load.
    Failed { message: String },
    /// The answer to a ping.
    Pong { id: u64 },
    /// The answer to a call.
    Answer {
        id: u64,
        #[serde(flatten)]
        value: Value<'static>,
    },
    /// One of the answers of a stream.
    Item {
        id: u64,
        #[serde(flatten)]
        value: Value<'static>,
    },
    /// The end of a stream.
    End { id: u64 },
    /// There is no answer.
    Error {
        id: u64,
        fault: Fault,
        #[serde(default)]
        code: Option<String>,
        message: String,
    },
}

impl Reply {
    /// The call that it belongs to.
    pub fn id(&self) -> Option<u64> {
        match self {
            Self::Pong { id }
            | Self::Answer { id, .. }
            | Self::Item { id, .. }
            | Self::End { id }
            | Self::Error { id, .. } => Some(*id),
            Self::Ready(_) | Self::Failed { .. } => None,
        }
    }

    /// Whether its call is over.
    pub fn is_last(&self) -> bool {
        !matches!(self, Self::Item { .. })
    }
}

/// Whose fault an error is.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fault {
    Caller,
    Model,
    Size,
}

/// What is known of a model once it is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ModelFacts {
    /// The version of MLflow that loaded it.
    pub mlflow: String,
    /// Whether it answers in streams.
    pub streams: bool,
    /// The flavors in its `MLmodel`.
    pub flavors: Vec<String>,
    /// How long loading took, in milliseconds.
    pub load_ms: u64,
}

/// A call in the form in which it goes out.
pub(crate) enum Call<'a> {
    Ping,
    /// Input, parameters, and what names the call in logs.
    Predict(Payload, &'a Params, &'a str),
    Stream(Payload, &'a Params, &'a str),
    Cancel,
}

/// A frame in pieces that are to be written one after the other; tensors are not copied unless they are small.
///
/// Errors: `LIMIT_EXCEEDED` beyond `max_body_bytes`.
pub(crate) fn encode(call: Call<'_>, id: u64, max_body_bytes: u64) -> Result<VecDeque<Bytes>, Error> {
    let (kind, value) = match call {
        Call::Ping => ("ping", None),
        Call::Cancel => ("cancel", None),
        Call::Predict(payload, params, trace) => ("predict", Some((payload, params, trace))),
        Call::Stream(payload, params, trace) => ("stream", Some((payload, params, trace))),
    };
    let mut segments = Vec::new();
    let (described, params, trace) = match &value {
        None => (None, None, ""),
        Some((payload, params, trace)) => {
            let params = (!params.is_empty()).then_some(*params);
            (Some(describe(payload, &mut segments)), params, *trace)
        }
    };
    let request = Request {
        kind,
        id,
        params,
        trace,
        value: described,
    };
    let header = serde_json::to_vec(&request).map_err(Error::internal)?;
    let body: usize = segments.iter().map(|segment| padded(segment.len())).sum();
    if header.len() > MAX_HEADER_BYTES || body as u64 > max_body_bytes {
        return Err(Error::Exhausted {
            message: format!("the input takes {body} bytes; at most {max_body_bytes} may be sent to a model"),
            retry_after: None,
        });
    }
    Ok(pieces(&header, body, segments))
}

fn pieces(header: &[u8], body: usize, segments: Vec<Bytes>) -> VecDeque<Bytes> {
    let join = body < JOIN_BYTES;
    let capacity = PREAMBLE_BYTES + header.len() + if join { body } else { 0 };
    let mut head = BytesMut::with_capacity(capacity);
    head.put_slice(b"LW");
    head.put_u8(VERSION);
    head.put_u8(0);
    // within the bound, checked above
    head.put_u32_le(u32::try_from(header.len()).unwrap_or(u32::MAX));
    head.put_u64_le(body as u64);
    head.put_slice(header);
    if join {
        for segment in segments {
            head.put_slice(&segment);
            head.put_bytes(0, padded(segment.len()) - segment.len());
        }
        return VecDeque::from([head.freeze()]);
    }
    let mut pieces = VecDeque::from([head.freeze()]);
    for segment in segments {
        let padding = padded(segment.len()) - segment.len();
        pieces.push_back(segment);
        if padding > 0 {
            pieces.push_back(Bytes::from_static(&[0; ALIGN]).slice(..padding));
        }
    }
    pieces
}

fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGN)
}

fn describe<'a>(payload: &'a Payload, segments: &mut Vec<Bytes>) -> Value<'a> {
    let mut tensor = |tensor: &'a Tensor, nulls: Option<&[bool]>| {
        segments.push(tensor.data().clone());
        if let Some(nulls) = nulls {
            segments.push(nulls.iter().map(|&null| u8::from(null)).collect());
        }
        Described {
            name: Cow::Borrowed(tensor.name()),
            datatype: Cow::Borrowed(tensor.datatype().as_str()),
            shape: Cow::Borrowed(tensor.shape()),
            bytes: tensor.data().len(),
            nulls: nulls.is_some(),
            json: tensor.is_json(),
            keyed: tensor.is_keyed(),
            numbered: tensor.is_numbered(),
        }
    };
    let (form, tensors, content_type, bytes) = match payload {
        Payload::Tensors(tensors) => (
            Form::Tensors,
            tensors.iter().map(|one| tensor(one, None)).collect(),
            None,
            0,
        ),
        Payload::Frame(frame) => {
            let columns = frame.columns().iter();
            let columns = columns.map(|column| tensor(&column.values, column.nulls.as_deref()));
            (Form::Frame, columns.collect(), None, 0)
        }
        Payload::Document(document) => {
            segments.push(document.body.clone());
            let content_type = Some(Cow::Borrowed(document.content_type.as_str()));
            (Form::Document, Vec::new(), content_type, document.body.len())
        }
    };
    Value {
        form,
        tensors,
        content_type,
        bytes,
    }
}

/// The lengths in a preamble: (header, body). Errors: not one of ours, or beyond the bounds.
pub(crate) fn lengths(
    preamble: &[u8; PREAMBLE_BYTES],
    max_body_bytes: u64,
) -> Result<(usize, usize), String> {
    let [b'L', b'W', VERSION, 0, a, b, c, d, body @ ..] = *preamble else {
        return Err(format!("a frame begins with {preamble:02x?}"));
    };
    let header = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    let body = u64::from_le_bytes(body);
    if header > MAX_HEADER_BYTES || body > max_body_bytes {
        return Err(format!(
            "a frame claims {header} bytes of header and {body} of body"
        ));
    }
    Ok((header, usize::try_from(body).unwrap_or(usize::MAX)))
}

impl Value<'_> {
    /// The payload of this description and its body, whose bytes it shares. Errors: they do not fit.
    pub fn payload(self, body: &Bytes) -> Result<Payload, String> {
        let mut at = 0_usize;
        let mut take = |length: usize| {
            let end = at.checked_add(length).filter(|&end| end <= body.len());
            let end = end.ok_or("a tensor ends beyond the body")?;
            let taken = body.slice(at..end);
            at = end.next_multiple_of(ALIGN);
            Ok::<_, String>(taken)
        };
        if let Form::Document = self.form {
            return Ok(Payload::Document(Document {
                content_type: self.content_type.unwrap_or_default().into_owned(),
                body: take(self.bytes)?,
            }));
        }
        let mut columns = Vec::with_capacity(self.tensors.len());
        for described in self.tensors {
            let datatype = DataType::parse("datatype", &described.datatype).map_err(|e| e.to_string())?;
            let data = take(described.bytes)?;
            let values = Tensor::new(described.name, datatype, described.shape.into_owned(), data)
                .map_err(|e| e.to_string())?
                .with_json(described.json)
                .with_key(described.keyed)
                .with_number(described.numbered);
            let nulls = match described.nulls {
                true => Some(take(values.elements())?.iter().map(|&null| null != 0).collect()),
                false => None,
            };
            columns.push(Column { values, nulls });
        }
        match self.form {
            Form::Frame => Frame::new(columns).map(Payload::Frame).map_err(|e| e.to_string()),
            _ => Ok(Payload::Tensors(
                columns.into_iter().map(|column| column.values).collect(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(payload: Payload) -> (Bytes, Bytes) {
        let pieces = encode(Call::Predict(payload, &Params::new(), ""), 7, 1 << 30).unwrap();
        let mut frame: BytesMut = pieces.into_iter().flatten().collect();
        let preamble = *frame.first_chunk().unwrap();
        let (header, body) = lengths(&preamble, 1 << 30).unwrap();
        assert_eq!(frame.len(), PREAMBLE_BYTES + header + body);
        let _ = frame.split_to(PREAMBLE_BYTES);
        (frame.split_to(header).freeze(), frame.freeze())
    }

    #[test]
    fn a_payload_comes_back() {
        let large = vec![7; JOIN_BYTES + 1];
        let column = Column {
            values: Tensor::of_texts("t", vec![2], ["a", ""]).unwrap(),
            nulls: Some(vec![false, true]),
        };
        for payload in [
            Payload::Tensors(vec![
                Tensor::new("b", DataType::Bool, vec![3], vec![1, 0, 1]).unwrap(),
                Tensor::new("l", DataType::Uint8, vec![large.len() as i64], large).unwrap(),
                Tensor::new("s", DataType::Fp64, vec![], vec![1; 8]).unwrap(),
                Tensor::of_texts("j", vec![1], ["[]"]).unwrap().with_json(true),
            ]),
            Payload::Frame(Frame::new(vec![column]).unwrap()),
            Payload::Document(Document {
                content_type: "text/csv".to_owned(),
                body: Bytes::from_static(b"a\n1\n"),
            }),
        ] {
            let (header, body) = sent(payload.clone());
            let value: Value<'_> = serde_json::from_slice(&header).unwrap();
            assert_eq!(value.payload(&body).unwrap(), payload);
        }
    }

    #[test]
    fn garbage_is_told_from_frames() {
        assert!(lengths(b"HTTP/1.1 200 OK\r", 1 << 30).is_err());
        let mut preamble = [b'L', b'W', VERSION, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        assert!(lengths(&preamble, 1 << 30).is_err());
        preamble[15] = 0;
        assert_eq!(lengths(&preamble, 1 << 30), Ok((1, 0)));
        for header in [
            r#"{"form":"tensors","tensors":[{"name":"x","datatype":"FP64","shape":[1],"bytes":9}]}"#,
            r#"{"form":"tensors","tensors":[{"name":"x","datatype":"FP64","shape":[-1],"bytes":8}]}"#,
            r#"{"form":"tensors","tensors":[{"name":"x","datatype":"FP63","shape":[1],"bytes":8}]}"#,
            r#"{"form":"document","bytes":18446744073709551615}"#,
        ] {
            let value: Value<'_> = serde_json::from_str(header).unwrap();
            assert!(value.payload(&Bytes::from_static(&[0; 8])).is_err(), "{header}");
        }
    }
}
