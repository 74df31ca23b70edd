//! Requests and responses written.

use bytes::{BufMut as _, Bytes, BytesMut};
use lodeway_domain::{Error, Result, signature::DataType};
use serde_json::{Value, json};

use super::{
    BinaryOutputs, InferRequest, InferResponse,
    read::{BASE64, BINARY_SIZE, CONTENT_TYPE, JSON},
};
use crate::{
    Params, Tensor,
    elements::{Element, Elements},
    json::plain,
    packed::encode_base64,
};

/// A body as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The JSON, and the binary data after it.
    pub body: Bytes,
    /// The value of the header [`super::HEADER_LENGTH`]; `None` if all is JSON and the header is not to be sent.
    pub header_length: Option<usize>,
}

/// Writes a request, its inputs as binary data or as JSON.
///
/// Errors: `INVALID_FIELD` at `inputs["NAME"]` for FP16 and BF16 as JSON.
pub fn write_request(request: &InferRequest, binary: bool) -> Result<Encoded> {
    let mut writer = Writer::new();
    writer.optional_text("id", request.id.as_deref());
    writer.params("parameters", &request.parameters);
    writer.tensors("inputs", &request.inputs, &request.tensor_parameters, |_| binary)?;
    if !request.outputs.is_empty() {
        writer.key("outputs");
        let output = |output: &super::RequestedOutput| match output.parameters.is_empty() {
            true => json!({ "name": output.name }),
            false => json!({ "name": output.name, "parameters": output.parameters }),
        };
        let outputs: Value = request.outputs.iter().map(output).collect();
        plain(&mut writer.out, &outputs);
    }
    Ok(writer.finish())
}

/// Writes a response, with the outputs as binary data that `binary` names (see [`InferRequest::binary_outputs`]).
///
/// Outputs are written flat and in the order of `response`; choosing those that the caller wants is the server's part.
/// Errors: `INVALID_FIELD` at `outputs["NAME"]` for FP16 and BF16 as JSON.
pub fn write_response(response: &InferResponse, binary: &BinaryOutputs) -> Result<Encoded> {
    let mut writer = Writer::new();
    writer.optional_text("model_name", Some(&response.model_name));
    writer.optional_text("model_version", response.model_version.as_deref());
    writer.optional_text("id", response.id.as_deref());
    writer.params("parameters", &response.parameters);
    writer.tensors(
        "outputs",
        &response.outputs,
        &response.tensor_parameters,
        |name| binary.wants(name),
    )?;
    Ok(writer.finish())
}

/// A JSON object that is written key by key, and the tail that grows with it.
struct Writer {
    out: Vec<u8>,
    tail: Vec<Bytes>,
}

impl Writer {
    fn new() -> Self {
        Self {
            out: vec![b'{'],
            tail: Vec::new(),
        }
    }

    fn key(&mut self, key: &str) {
        if self.out.last() != Some(&b'{') {
            self.out.push(b',');
        }
        plain(&mut self.out, key);
        self.out.push(b':');
    }

    fn optional_text(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.key(key);
            plain(&mut self.out, text);
        }
    }

    fn params(&mut self, key: &str, params: &Params) {
        if !params.is_empty() {
            self.key(key);
            plain(&mut self.out, params);
        }
    }

    fn tensors(
        &mut self,
        list: &str,
        tensors: &[Tensor],
        parameters: &[Params],
        binary: impl Fn(&str) -> bool,
    ) -> Result<()> {
        self.key(list);
        self.out.push(b'[');
        for (at, tensor) in tensors.iter().enumerate() {
            if at != 0 {
                self.out.push(b',');
            }
            self.out.push(b'{');
            self.tensor(list, tensor, parameters.get(at), binary(tensor.name()))?;
            self.out.push(b'}');
        }
        self.out.push(b']');
        Ok(())
    }

    fn tensor(
        &mut self,
        list: &str,
        tensor: &Tensor,
        parameters: Option<&Params>,
        binary: bool,
    ) -> Result<()> {
        self.optional_text("name", Some(tensor.name()));
        self.key("shape");
        plain(&mut self.out, tensor.shape());
        self.optional_text("datatype", Some(tensor.datatype().as_str()));
        let mut parameters = parameters.cloned().unwrap_or_default();
        if tensor.is_json() {
            parameters.insert(CONTENT_TYPE.to_owned(), json!(JSON));
        }
        if binary {
            parameters.insert(BINARY_SIZE.to_owned(), json!(tensor.data().len()));
            self.params("parameters", &parameters);
            self.tail.push(tensor.data().clone());
            return Ok(());
        }
        if matches!(tensor.datatype(), DataType::Fp16 | DataType::Bf16) {
            let why = format!(
                "is {}, which has no form in JSON; ask for binary data",
                tensor.datatype()
            );
            return Err(Error::invalid(format!("{list}[\"{}\"]", tensor.name()), why));
        }
        let is_base64 = tensor.texts().any(|text| std::str::from_utf8(&text).is_err());
        if is_base64 {
            parameters.insert(CONTENT_TYPE.to_owned(), json!(BASE64));
        }
        self.params("parameters", &parameters);
        self.key("data");
        data(&mut self.out, tensor, is_base64);
        Ok(())
    }

    fn finish(mut self) -> Encoded {
        self.out.push(b'}');
        if self.tail.is_empty() {
            return Encoded {
                body: self.out.into(),
                header_length: None,
            };
        }
        let header_length = self.out.len();
        let size = self.tail.iter().map(Bytes::len).sum::<usize>();
        let mut body = BytesMut::with_capacity(header_length + size);
        body.put_slice(&self.out);
        self.tail.iter().for_each(|data| body.put_slice(data));
        Encoded {
            body: body.freeze(),
            header_length: Some(header_length),
        }
    }
}

/// The elements as one flat list.
fn data(out: &mut Vec<u8>, tensor: &Tensor, is_base64: bool) {
    out.push(b'[');
    for (at, element) in Elements::of(tensor).enumerate() {
        if at != 0 {
            out.push(b',');
        }
        match element {
            Element::Bool(value) => plain(out, &value),
            Element::Int(value) => plain(out, &value),
            Element::Uint(value) => plain(out, &value),
            Element::Single(value) => plain(out, &value),
            Element::Double(value) => plain(out, &value),
            Element::Text(text) if is_base64 => plain(out, &encode_base64(text)),
            Element::Text(text) => plain(out, std::str::from_utf8(text).unwrap_or_default()),
        }
    }
    out.push(b']');
}
