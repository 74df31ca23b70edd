//! Messages of the Open Inference Protocol, as payloads and back.
//!
//! Used by whoever serves the protocol and by whoever calls a server of it. An answer that no tensor holds (records,
//! nested lists) is one BYTES element `predictions`, a JSON document, with the parameter `content_type` =
//! `application/json`. A few parameters carry what the protocol has no word for: `content_type` = `pd` says that the tensors
//! are the columns of a table (as other servers of the protocol have it), `content_type` = `json` of a tensor that each of
//! its elements is the JSON text of a value, `lodeway_nulls` of a tensor which rows of a column are null,
//! `lodeway_inferred` of a tensor that its datatype is not the caller's, `lodeway_keyed` of the only tensor of an input or an
//! answer that it was given under its name, `lodeway_numbered` of a column that its name is a number, `lodeway_params` all
//! parameters of a scoring document as JSON, since a list does not fit into one of the protocol's, and `lodeway_document`
//! that the only element is a scoring document of this media type, for a model that streams its answers to one.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::{BufMut as _, Bytes, BytesMut};
use lodeway_domain::{
    Error, Result,
    signature::{DataType, ModelSignature},
};
use lodeway_inference::{
    Column, Document, Frame, Params, Payload, Tensor, structured, tensor::check_distinct,
};
use lodeway_proto::inference::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse,
    infer_parameter::ParameterChoice, model_infer_request::InferInputTensor,
    model_infer_response::InferOutputTensor,
};
use serde_json::Value;

const TABLE: &str = "pd";
const JSON: &str = "application/json";
/// What `content_type` says of a tensor whose elements are JSON texts.
pub const JSON_TEXTS: &str = "json";
/// The parameter of a tensor, and of its metadata, that says what its elements are.
pub const CONTENT_TYPE: &str = "content_type";
const DOCUMENT: &str = "predictions";
const NULLS: &str = "lodeway_nulls";
const INFERRED: &str = "lodeway_inferred";
const KEYED: &str = "lodeway_keyed";
const NUMBERED: &str = "lodeway_numbered";
const PARAMS: &str = "lodeway_params";
const SCORING_DOCUMENT: &str = "lodeway_document";
/// The parameter of an answer in a stream that failed: the reason of the error whose text it holds.
pub const ERROR_REASON: &str = "error_reason";
/// The property in a model's metadata that is `true` if it gives several answers to one input.
pub const STREAMS: &str = "streams";
/// The parameter of each answer of a stream: whether it is the last one to its input.
///
/// Source: decoupled models of Triton, as `tritonclient` reads them.
pub const FINAL: &str = "triton_final_response";
/// The parameter of a request that asks for an answer without outputs after the last one of a model that streams, since
/// nobody knows of an answer that it is the last until the model has ended.
const WITH_END: &str = "triton_enable_empty_final_response";
/// Parameters that speak of the protocol itself, and not to the model.
const RESERVED: [&str; 8] = [
    WITH_END,
    CONTENT_TYPE,
    PARAMS,
    SCORING_DOCUMENT,
    "binary_data_output",
    "binary_data",
    "headers",
    "prediction_id",
];

/// One tensor of either direction.
struct Parts {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    parameters: BTreeMap<String, InferParameter>,
    contents: Option<InferTensorContents>,
}

/// The input and the parameters of a request. Errors: `INVALID_FIELD` naming the tensor: unknown datatypes, contents that
/// are not of the shape, raw contents of another number than inputs, typed and raw contents together, a name that comes twice.
pub fn input_of(request: ModelInferRequest) -> Result<(Payload, Params)> {
    let is_table = is_table(&request.parameters);
    let params = params_of(&request.parameters)?;
    let document = request.parameters.get(SCORING_DOCUMENT).and_then(text_of);
    let document = document.map(str::to_owned);
    let parts = request.inputs.into_iter().map(|input| Parts {
        name: input.name,
        datatype: input.datatype,
        shape: input.shape,
        parameters: input.parameters,
        contents: input.contents,
    });
    let input = payload(parts, request.raw_input_contents, is_table, "inputs")?;
    if let Payload::Tensors(tensors) = &input {
        check_distinct("inputs", tensors)?;
    }
    match document {
        Some(content_type) => Ok((only_document(&input, content_type, "inputs")?, params)),
        None => Ok((input, params)),
    }
}

/// The document that is the first element.
fn only_document(payload: &Payload, content_type: String, field: &str) -> Result<Payload> {
    let body = match payload {
        Payload::Tensors(tensors) => tensors.first().and_then(|tensor| tensor.texts().next()),
        _ => None,
    };
    let body = body.ok_or_else(|| Error::invalid(field, "is called a document and holds none"))?;
    Ok(Payload::Document(Document { content_type, body }))
}

/// Whether a request holds a scoring document and no tensors of its own.
pub fn is_document(request: &ModelInferRequest) -> bool {
    request.parameters.contains_key(SCORING_DOCUMENT)
}

/// A request with a scoring document, which [`input_of`] gives back. Only a model host of ours reads it. Errors: a document
/// of 4 GiB or more.
pub fn document_request(document: &Document) -> Result<ModelInferRequest> {
    let tensor = Tensor::of_texts("document", vec![1], [&document.body])?;
    let mut request = request_of(Payload::Tensors(vec![tensor]), &Params::new())?;
    let kind = text_parameter(&*document.content_type);
    request.parameters.insert(SCORING_DOCUMENT.to_owned(), kind);
    Ok(request)
}

/// The answer of a server. Errors: as [`input_of`].
pub fn answer_of(response: ModelInferResponse) -> Result<Payload> {
    let is_table = is_table(&response.parameters);
    let is_document = response.parameters.get(CONTENT_TYPE).and_then(text_of) == Some(JSON);
    let parts = response.outputs.into_iter().map(|output| Parts {
        name: output.name,
        datatype: output.datatype,
        shape: output.shape,
        parameters: output.parameters,
        contents: output.contents,
    });
    let answer = payload(parts, response.raw_output_contents, is_table, "outputs")?;
    match &answer {
        Payload::Tensors(_) if is_document => only_document(&answer, JSON.to_owned(), "outputs"),
        _ => Ok(answer),
    }
}

/// Marks the inputs that a signature says are structured columns: where values are counted or kept, their texts are the
/// values that they stand for.
pub fn mark_structured(request: &mut ModelInferRequest, signature: &ModelSignature) {
    for (at, input) in request.inputs.iter_mut().enumerate() {
        if input.datatype == DataType::Bytes.as_str() && structured::is_structured(signature, at, &input.name)
        {
            let kind = text_parameter(JSON_TEXTS);
            input.parameters.insert(CONTENT_TYPE.to_owned(), kind);
        }
    }
}

/// A request with this input. Errors: a document, which the protocol does not carry.
pub fn request_of(payload: Payload, params: &Params) -> Result<ModelInferRequest> {
    let mut request = ModelInferRequest {
        parameters: parameters(&payload),
        ..ModelInferRequest::default()
    };
    if !params.is_empty() {
        let text = serde_json::to_string(params).map_err(Error::internal)?;
        request.parameters.insert(PARAMS.to_owned(), text_parameter(text));
    }
    for (tensor, parameters) in tensors(payload)? {
        let (name, datatype, shape, data) = tensor.into_parts();
        request.inputs.push(InferInputTensor {
            name,
            datatype: datatype.as_str().to_owned(),
            shape,
            parameters,
            contents: None,
        });
        request.raw_input_contents.push(data);
    }
    Ok(request)
}

/// A response with this answer, its contents raw or typed. FP16 and BF16 make all of them raw, since there is no other
/// form for them.
pub fn response_of(payload: Payload, raw: bool) -> Result<ModelInferResponse> {
    if let Payload::Document(document) = payload {
        let tensor = Tensor::of_texts(DOCUMENT, vec![1], [&document.body])?;
        let mut response = response_of(Payload::Tensors(vec![tensor]), raw)?;
        let kind = text_parameter(document.content_type);
        response.parameters.insert(CONTENT_TYPE.to_owned(), kind);
        return Ok(response);
    }
    let mut response = ModelInferResponse {
        parameters: parameters(&payload),
        ..ModelInferResponse::default()
    };
    let tensors = tensors(payload)?;
    let half = |tensor: &Tensor| matches!(tensor.datatype(), DataType::Fp16 | DataType::Bf16);
    let raw = raw || tensors.iter().any(|(tensor, _)| half(tensor));
    for (tensor, parameters) in tensors {
        let contents = (!raw).then(|| typed(&tensor));
        let (name, datatype, shape, data) = tensor.into_parts();
        response.outputs.push(InferOutputTensor {
            name,
            datatype: datatype.as_str().to_owned(),
            shape,
            parameters,
            contents,
        });
        if raw {
            response.raw_output_contents.push(data);
        }
    }
    Ok(response)
}

/// A parameter that holds a text.
pub fn text_parameter(text: impl Into<String>) -> InferParameter {
    InferParameter {
        parameter_choice: Some(ParameterChoice::StringParam(text.into())),
    }
}

/// A parameter that says yes or no.
pub fn flag_parameter(flag: bool) -> InferParameter {
    InferParameter {
        parameter_choice: Some(ParameterChoice::BoolParam(flag)),
    }
}

/// Whether the end of a stream is to be told by an answer without outputs.
pub fn wants_end(request: &ModelInferRequest) -> bool {
    request.parameters.get(WITH_END).is_some_and(is_yes)
}

fn is_yes(parameter: &InferParameter) -> bool {
    matches!(parameter.parameter_choice, Some(ParameterChoice::BoolParam(true)))
}

/// The text of a parameter, if it holds one.
pub fn text_of(parameter: &InferParameter) -> Option<&str> {
    match &parameter.parameter_choice {
        Some(ParameterChoice::StringParam(text)) => Some(text),
        _ => None,
    }
}

fn is_table(parameters: &BTreeMap<String, InferParameter>) -> bool {
    parameters.get(CONTENT_TYPE).and_then(text_of) == Some(TABLE)
}

fn params_of(parameters: &BTreeMap<String, InferParameter>) -> Result<Params> {
    if parameters.is_empty() {
        return Ok(Params::new());
    }
    if let Some(text) = parameters.get(PARAMS).and_then(text_of) {
        return serde_json::from_str(text).map_err(|e| {
            Error::invalid(
                format!("parameters[\"{PARAMS}\"]"),
                format!("is no JSON object: {e}"),
            )
        });
    }
    let to_model = parameters
        .iter()
        .filter(|(name, _)| !RESERVED.contains(&name.as_str()));
    let value = |parameter: &InferParameter| match &parameter.parameter_choice {
        Some(ParameterChoice::BoolParam(v)) => Value::from(*v),
        Some(ParameterChoice::Int64Param(v)) => Value::from(*v),
        Some(ParameterChoice::Uint64Param(v)) => Value::from(*v),
        Some(ParameterChoice::DoubleParam(v)) => Value::from(*v),
        Some(ParameterChoice::StringParam(v)) => Value::from(v.as_str()),
        None => Value::Null,
    };
    Ok(to_model
        .map(|(name, parameter)| (name.clone(), value(parameter)))
        .collect())
}

fn parameters(payload: &Payload) -> BTreeMap<String, InferParameter> {
    match payload {
        Payload::Frame(_) => BTreeMap::from([(CONTENT_TYPE.to_owned(), text_parameter(TABLE))]),
        _ => BTreeMap::new(),
    }
}

type WithParameters = (Tensor, BTreeMap<String, InferParameter>);

fn tensors(payload: Payload) -> Result<Vec<WithParameters>> {
    match payload {
        Payload::Tensors(tensors) => Ok(tensors
            .into_iter()
            .map(|tensor| {
                let told = told(&tensor).collect();
                (tensor, told)
            })
            .collect()),
        Payload::Frame(frame) => Ok(frame
            .into_columns()
            .into_iter()
            .map(|column| {
                let nulls = column
                    .nulls
                    .map(|nulls| (NULLS.to_owned(), text_parameter(bitmap(&nulls))));
                let told = nulls.into_iter().chain(told(&column.values)).collect();
                (column.values, told)
            })
            .collect()),
        Payload::Document(_) => Err(Error::internal(
            "a document does not fit into an inference message",
        )),
    }
}

/// What is known of a tensor beside its datatype.
fn told(tensor: &Tensor) -> impl Iterator<Item = (String, InferParameter)> + use<> {
    let yes = |name: &str| (name.to_owned(), flag_parameter(true));
    let inferred = tensor.is_inferred().then(|| yes(INFERRED));
    let keyed = tensor.is_keyed().then(|| yes(KEYED));
    let numbered = tensor.is_numbered().then(|| yes(NUMBERED));
    let json = || (CONTENT_TYPE.to_owned(), text_parameter(JSON_TEXTS));
    inferred
        .into_iter()
        .chain(keyed)
        .chain(numbered)
        .chain(tensor.is_json().then(json))
}

fn payload(
    parts: impl ExactSizeIterator<Item = Parts>,
    raw: Vec<Bytes>,
    is_table: bool,
    field: &str,
) -> Result<Payload> {
    if !raw.is_empty() && raw.len() != parts.len() {
        let why = format!("holds {} contents for {} tensors", raw.len(), parts.len());
        return Err(Error::invalid(
            format!("raw_{field}_contents").replace("s_", "_"),
            why,
        ));
    }
    let mut raw = raw.into_iter();
    let mut columns = Vec::with_capacity(parts.len());
    for mut part in parts {
        let nulls = part.parameters.remove(NULLS);
        let values = tensor(part, raw.next(), field)?;
        columns.push((values, nulls));
    }
    if !is_table {
        return Ok(Payload::Tensors(
            columns.into_iter().map(|(tensor, _)| tensor).collect(),
        ));
    }
    let columns = columns.into_iter().map(|(values, nulls)| {
        let rows = values.rows().unwrap_or_default();
        // `[rows, 1]` is a column too.
        let values = match values.shape() {
            [_, 1] => values.reshaped(vec![i64::try_from(rows).unwrap_or(i64::MAX)])?,
            _ => values,
        };
        let nulls = nulls
            .as_ref()
            .and_then(text_of)
            .map(|text| flags(text, rows))
            .transpose()?;
        Ok(Column { values, nulls })
    });
    Frame::new(columns.collect::<Result<_>>()?).map(Payload::Frame)
}

fn tensor(part: Parts, raw: Option<Bytes>, field: &str) -> Result<Tensor> {
    let path = |rest: &str| format!("{field}[\"{}\"]{rest}", part.name);
    let datatype = DataType::parse(&path(".datatype"), &part.datatype)?;
    let data = match (raw, part.contents) {
        (Some(raw), None) => raw,
        (None, Some(contents)) => packed(&contents, datatype).ok_or_else(|| {
            Error::invalid(
                path(".contents"),
                format!("holds no contents that are {datatype}, or values that it has no place for"),
            )
        })?,
        (Some(raw), Some(contents)) if contents == InferTensorContents::default() => raw,
        (Some(_), Some(_)) => {
            return Err(Error::invalid(
                path(".contents"),
                "comes beside raw contents; send one of the two",
            ));
        }
        (None, None) => Bytes::new(),
    };
    let kind = part.parameters.get(CONTENT_TYPE).and_then(text_of);
    let is_said = |name: &str| part.parameters.get(name).is_some_and(is_yes);
    let (is_inferred, is_keyed) = (is_said(INFERRED), is_said(KEYED));
    let tensor = Tensor::new(part.name, datatype, part.shape, data)?
        .with_json(kind == Some(JSON_TEXTS))
        .with_key(is_keyed)
        .with_number(is_said(NUMBERED));
    Ok(if is_inferred { tensor.inferred() } else { tensor })
}

/// Typed contents in packed form; none if a value is out of the datatype's range or the datatype has no typed form.
fn packed(contents: &InferTensorContents, datatype: DataType) -> Option<Bytes> {
    macro_rules! narrow {
        ($values:expr, $type:ty) => {{
            let mut out = BytesMut::with_capacity($values.len() * size_of::<$type>());
            for &value in $values {
                out.put_slice(&<$type>::try_from(value).ok()?.to_le_bytes());
            }
            out.freeze()
        }};
    }
    macro_rules! same {
        ($values:expr) => {{
            let mut out = BytesMut::with_capacity(size_of_val($values.as_slice()));
            for value in $values {
                out.put_slice(&value.to_le_bytes());
            }
            out.freeze()
        }};
    }
    Some(match datatype {
        DataType::Bool => contents.bool_contents.iter().map(|&b| u8::from(b)).collect(),
        DataType::Int8 => narrow!(&contents.int_contents, i8),
        DataType::Int16 => narrow!(&contents.int_contents, i16),
        DataType::Int32 => same!(&contents.int_contents),
        DataType::Int64 => same!(&contents.int64_contents),
        DataType::Uint8 => narrow!(&contents.uint_contents, u8),
        DataType::Uint16 => narrow!(&contents.uint_contents, u16),
        DataType::Uint32 => same!(&contents.uint_contents),
        DataType::Uint64 => same!(&contents.uint64_contents),
        DataType::Fp32 => same!(&contents.fp32_contents),
        DataType::Fp64 => same!(&contents.fp64_contents),
        DataType::Bytes => {
            let mut out = BytesMut::new();
            for element in &contents.bytes_contents {
                out.put_u32_le(u32::try_from(element.len()).ok()?);
                out.put_slice(element);
            }
            out.freeze()
        }
        DataType::Fp16 | DataType::Bf16 => return None,
    })
}

fn typed(tensor: &Tensor) -> InferTensorContents {
    let data = tensor.data();
    let mut contents = InferTensorContents::default();
    macro_rules! elements {
        ($type:ty) => {
            data.as_chunks::<{ size_of::<$type>() }>()
                .0
                .iter()
                .map(|chunk| <$type>::from_le_bytes(*chunk).into())
                .collect()
        };
    }
    match tensor.datatype() {
        DataType::Bool => contents.bool_contents = data.iter().map(|&b| b != 0).collect(),
        DataType::Int8 => contents.int_contents = elements!(i8),
        DataType::Int16 => contents.int_contents = elements!(i16),
        DataType::Int32 => contents.int_contents = elements!(i32),
        DataType::Int64 => contents.int64_contents = elements!(i64),
        DataType::Uint8 => contents.uint_contents = elements!(u8),
        DataType::Uint16 => contents.uint_contents = elements!(u16),
        DataType::Uint32 => contents.uint_contents = elements!(u32),
        DataType::Uint64 => contents.uint64_contents = elements!(u64),
        DataType::Fp32 => contents.fp32_contents = elements!(f32),
        DataType::Fp64 => contents.fp64_contents = elements!(f64),
        DataType::Bytes => contents.bytes_contents = tensor.texts().collect(),
        DataType::Fp16 | DataType::Bf16 => {}
    }
    contents
}

/// One bit a row, the first the lowest of the first byte, in base64.
fn bitmap(flags: &[bool]) -> String {
    let bytes: Vec<u8> = flags
        .chunks(8)
        .map(|bits| {
            bits.iter()
                .enumerate()
                .fold(0, |byte, (at, &bit)| byte | (u8::from(bit) << at))
        })
        .collect();
    BASE64.encode(bytes)
}

fn flags(text: &str, rows: usize) -> Result<Vec<bool>> {
    let bytes = BASE64
        .decode(text)
        .ok()
        .filter(|bytes| bytes.len() == rows.div_ceil(8));
    let bytes = bytes
        .ok_or_else(|| Error::invalid(format!("parameters[\"{NULLS}\"]"), "is no bit a row in base64"))?;
    let bits = bytes
        .iter()
        .flat_map(|byte| (0..8).map(move |at| byte >> at & 1 == 1));
    Ok(bits.take(rows).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers() -> Tensor {
        let data: Vec<u8> = [1.5_f32, -0.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        Tensor::new("x", DataType::Fp32, vec![2], data).unwrap()
    }

    #[test]
    fn raw_and_typed_contents_mean_the_same() {
        let texts = Tensor::of_texts("t", vec![2], ["a", ""]).unwrap();
        let payload = Payload::Tensors(vec![numbers(), texts]);
        for raw in [true, false] {
            let response = response_of(payload.clone(), raw).unwrap();
            assert_eq!(response.raw_output_contents.is_empty(), !raw);
            assert_eq!(answer_of(response).unwrap(), payload);
        }
    }

    #[test]
    fn a_table_keeps_its_nulls_and_params_their_lists() {
        let column = Column {
            values: numbers(),
            nulls: Some(vec![false, true]),
        };
        let frame = Payload::Frame(Frame::new(vec![column]).unwrap());
        let params: Params = serde_json::from_str(r#"{"k": [1, 2], "s": "t"}"#).unwrap();
        let request = request_of(frame.clone(), &params).unwrap();
        assert_eq!(input_of(request).unwrap(), (frame, params));
    }

    #[test]
    fn a_datatype_that_nobody_said_stays_known_as_such() {
        let column = Column::new(numbers().inferred());
        for payload in [
            Payload::Tensors(vec![numbers().inferred(), numbers().renamed("said")]),
            Payload::Frame(Frame::new(vec![column, Column::new(numbers().renamed("said"))]).unwrap()),
        ] {
            let (back, params) = input_of(request_of(payload, &Params::new()).unwrap()).unwrap();
            let found: Vec<_> = match &back {
                Payload::Tensors(tensors) => tensors.iter().map(Tensor::is_inferred).collect(),
                Payload::Frame(frame) => frame
                    .columns()
                    .iter()
                    .map(|column| column.values.is_inferred())
                    .collect(),
                Payload::Document(_) => Vec::new(),
            };
            assert_eq!((found, params), (vec![true, false], Params::new()));
        }
    }

    #[test]
    fn a_tensor_that_came_under_its_name_stays_known_as_such() {
        for is_keyed in [false, true] {
            let answer = Payload::Tensors(vec![numbers().with_key(is_keyed)]);
            let Payload::Tensors(back) = answer_of(response_of(answer, true).unwrap()).unwrap() else {
                panic!("no tensors");
            };
            assert_eq!(back[0].is_keyed(), is_keyed);
        }
    }

    #[test]
    fn what_is_said_of_the_names_of_an_input_stays_known() {
        for is_said in [false, true] {
            let one = numbers().renamed("3").with_key(is_said).with_number(is_said);
            for payload in [
                Payload::Tensors(vec![one.clone()]),
                Payload::Frame(Frame::new(vec![Column::new(one)]).unwrap()),
            ] {
                let back = match input_of(request_of(payload, &Params::new()).unwrap()).unwrap().0 {
                    Payload::Frame(frame) => frame.into_columns().remove(0).values,
                    Payload::Tensors(mut tensors) => tensors.remove(0),
                    Payload::Document(_) => panic!("no tensors"),
                };
                assert_eq!((back.is_keyed(), back.is_numbered()), (is_said, is_said));
            }
        }
        let twice = Payload::Tensors(vec![numbers(), numbers()]);
        let refused = input_of(request_of(twice, &Params::new()).unwrap()).unwrap_err();
        assert!(refused.to_string().contains("comes twice"), "{refused}");
    }

    #[test]
    fn json_texts_stay_known_as_such() {
        let json = Tensor::of_texts("m", vec![1], ["[]"]).unwrap().with_json(true);
        let text = Tensor::of_texts("t", vec![1], ["[]"]).unwrap();
        let payload = Payload::Tensors(vec![json.clone(), text]);
        let (back, _) = input_of(request_of(payload.clone(), &Params::new()).unwrap()).unwrap();
        assert_eq!(back, payload);
        for raw in [true, false] {
            assert_eq!(
                answer_of(response_of(payload.clone(), raw).unwrap()).unwrap(),
                payload
            );
        }
        let frame = Payload::Frame(Frame::new(vec![Column::new(json)]).unwrap());
        let (back, _) = input_of(request_of(frame.clone(), &Params::new()).unwrap()).unwrap();
        assert_eq!(back, frame);
    }

    #[test]
    fn a_scoring_document_travels_to_a_host() {
        let document = Document {
            content_type: "application/json; charset=utf-8".to_owned(),
            body: Bytes::from_static(b"{\"messages\": []}"),
        };
        let request = document_request(&document).unwrap();
        assert!(is_document(&request));
        assert_eq!(
            input_of(request).unwrap(),
            (Payload::Document(document.clone()), Params::new())
        );
        let mut empty = document_request(&document).unwrap();
        (empty.inputs, empty.raw_input_contents) = (Vec::new(), Vec::new());
        assert!(input_of(empty).is_err());
    }

    #[test]
    fn a_document_travels_as_one_element() {
        let document = Payload::Document(Document {
            content_type: JSON.to_owned(),
            body: Bytes::from_static(b"{\"predictions\": [{}]}"),
        });
        for raw in [true, false] {
            assert_eq!(
                answer_of(response_of(document.clone(), raw).unwrap()).unwrap(),
                document
            );
        }
    }

    #[test]
    fn faults_name_the_tensor() {
        let sound = request_of(Payload::Tensors(vec![numbers()]), &Params::new()).unwrap();
        let mut lying = sound.clone();
        lying.raw_input_contents.push(Bytes::new());
        let mut both = sound.clone();
        both.inputs[0].contents = Some(InferTensorContents {
            fp32_contents: vec![1.0],
            ..InferTensorContents::default()
        });
        let mut short = sound.clone();
        short.raw_input_contents[0] = Bytes::from_static(b"abc");
        let mut odd = sound.clone();
        odd.inputs[0].datatype = "FP33".to_owned();
        for (bad, part) in [
            (lying, "raw_input_contents"),
            (both, "inputs[\"x\"].contents"),
            (short, "inputs[\"x\"]"),
            (odd, "inputs[\"x\"].datatype"),
        ] {
            let text = input_of(bad).unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
        }
    }
}
