//! The Open Inference Protocol, version 2, over HTTP: inference requests and responses as JSON, with or without the tail
//! of binary tensors.
//!
//! A body is JSON, or JSON followed by the raw data of tensors; then the header [`HEADER_LENGTH`] says where the JSON ends
//! and each tensor's parameter `binary_data_size` how many bytes of the tail are its own, in the order of the tensors. A
//! caller asks for binary outputs with `binary_data_output` on the request or `binary_data` on one output.
//!
//! In JSON, BYTES are texts; elements that are not UTF-8 go as base64 with the tensor's parameter `content_type` set to
//! `base64`, and are read so. With `json` each element of BYTES is the JSON text of a value, in binary data too. NaN and the infinities are written as null and null is read as NaN, since JSON has no words
//! for them; Python's words `NaN`, `Infinity` and `-Infinity` are read too. FP16 and BF16 travel only as binary data.
//! Who needs infinities back asks for binary data.
//!
//! Source: "Inference Request/Response JSON Object" of <https://github.com/kserve/open-inference-protocol>, and the binary
//! tensor data extension of Triton.

mod read;
mod write;

#[cfg(test)]
mod tests;

pub use read::{read_request, read_response};
pub use write::{Encoded, write_request, write_response};

use serde_json::Value;

use crate::{Params, Tensor};

/// The header that says how many bytes of a body are JSON, when binary tensors follow.
pub const HEADER_LENGTH: &str = "Inference-Header-Content-Length";

/// What a caller asks of a model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InferRequest {
    /// The caller's own id of the request, to be given back.
    pub id: Option<String>,
    /// Parameters of the request.
    pub parameters: Params,
    /// The inputs, of distinct names.
    pub inputs: Vec<Tensor>,
    /// The parameters of each input, in the order of `inputs`; fewer than inputs if the last ones have none.
    pub tensor_parameters: Vec<Params>,
    /// The outputs wanted; all of them if empty.
    pub outputs: Vec<RequestedOutput>,
}

/// An output that a caller wants.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RequestedOutput {
    /// Its name.
    pub name: String,
    /// Parameters, such as `binary_data`.
    pub parameters: Params,
}

/// What a model answers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InferResponse {
    /// The model or endpoint that answered.
    pub model_name: String,
    /// Its version, if there is one to tell.
    pub model_version: Option<String>,
    /// The id of the request.
    pub id: Option<String>,
    /// Parameters of the response.
    pub parameters: Params,
    /// The outputs.
    pub outputs: Vec<Tensor>,
    /// The parameters of each output, in the order of `outputs`; fewer than outputs if the last ones have none.
    pub tensor_parameters: Vec<Params>,
}

/// Which outputs a caller wants as binary data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BinaryOutputs {
    all: bool,
    by_name: Vec<(String, bool)>,
}

impl InferRequest {
    /// Which outputs the caller wants as binary data: `binary_data` of the output, else `binary_data_output` of the
    /// request, else none.
    pub fn binary_outputs(&self) -> BinaryOutputs {
        let flag = |params: &Params, name: &str| params.get(name).and_then(Value::as_bool);
        let named =
            |output: &RequestedOutput| Some((output.name.clone(), flag(&output.parameters, "binary_data")?));
        BinaryOutputs {
            all: flag(&self.parameters, "binary_data_output").unwrap_or_default(),
            by_name: self.outputs.iter().filter_map(named).collect(),
        }
    }
}

impl BinaryOutputs {
    /// Every output as binary data, or none.
    pub fn all(all: bool) -> Self {
        Self {
            all,
            by_name: Vec::new(),
        }
    }

    /// Whether this output is wanted as binary data.
    pub fn wants(&self, output: &str) -> bool {
        let named = self.by_name.iter().find(|(name, _)| name == output);
        named.map_or(self.all, |&(_, wanted)| wanted)
    }
}
