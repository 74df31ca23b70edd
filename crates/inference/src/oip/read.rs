//! Requests and responses read.

use std::borrow::Cow;

use bytes::Bytes;
use lodeway_domain::{Error, Result, signature::DataType};

use super::{InferRequest, InferResponse, RequestedOutput};
use crate::{
    Params, Tensor,
    fault::{Fault, Read},
    json::{Reader, whole},
    nested::Nested,
    packed::Packed,
    tensor::check_distinct,
};

/// The parameter of a tensor that says how much of the tail is its own.
pub(super) const BINARY_SIZE: &str = "binary_data_size";
/// The parameter of a tensor that says what its elements are, and its values that are known here.
pub(super) const CONTENT_TYPE: &str = "content_type";
pub(super) const BASE64: &str = "base64";
pub(super) const JSON: &str = "json";

/// Reads an inference request; `header_length` is the header [`super::HEADER_LENGTH`] if it came.
///
/// Unknown keys are ignored. Errors: `INVALID_FIELD`, naming the tensor, for JSON that does not parse, elements that do not
/// fit datatype or shape, a header or sizes that lie about the body, and bytes that no tensor takes.
pub fn read_request(body: &Bytes, header_length: Option<usize>) -> Result<InferRequest> {
    let (header, mut tail) = Tail::cut(body, header_length)?;
    let mut request = InferRequest::default();
    let mut came = false;
    whole(&header, |reader| {
        reader.object(|reader, key| match &*key {
            "id" => text(reader, "id").map(|id| request.id = Some(id)),
            "parameters" => reader
                .params("parameters")
                .map(|params| request.parameters = params),
            "inputs" => {
                came = true;
                tail.tensors(
                    reader,
                    "inputs",
                    &mut request.inputs,
                    &mut request.tensor_parameters,
                )
            }
            "outputs" => requested(reader).map(|outputs| request.outputs = outputs),
            _ => reader.skip().map(drop),
        })
    })?;
    if !came {
        return Err(Error::invalid("inputs", "must be given, as a list of tensors"));
    }
    tail.finish()?;
    check_distinct("inputs", &request.inputs)?;
    Ok(request)
}

/// Reads an inference response; everything as in [`read_request`].
pub fn read_response(body: &Bytes, header_length: Option<usize>) -> Result<InferResponse> {
    let (header, mut tail) = Tail::cut(body, header_length)?;
    let mut response = InferResponse::default();
    whole(&header, |reader| {
        reader.object(|reader, key| match &*key {
            "model_name" => text(reader, "model_name").map(|name| response.model_name = name),
            "model_version" => {
                text(reader, "model_version").map(|version| response.model_version = Some(version))
            }
            "id" => text(reader, "id").map(|id| response.id = Some(id)),
            "parameters" => reader
                .params("parameters")
                .map(|params| response.parameters = params),
            "outputs" => tail.tensors(
                reader,
                "outputs",
                &mut response.outputs,
                &mut response.tensor_parameters,
            ),
            _ => reader.skip().map(drop),
        })
    })?;
    tail.finish()?;
    check_distinct("outputs", &response.outputs)?;
    Ok(response)
}

fn text(reader: &mut Reader<'_>, field: &str) -> Read<String> {
    reader.text(field).map(Cow::into_owned)
}

fn requested(reader: &mut Reader<'_>) -> Read<Vec<RequestedOutput>> {
    let mut outputs = Vec::new();
    reader.list(|reader| {
        let field = format!("outputs[{}]", outputs.len());
        let mut output = RequestedOutput::default();
        reader.object(|reader, key| match &*key {
            "name" => text(reader, &format!("{field}.name")).map(|name| output.name = name),
            "parameters" => {
                let params = reader.params(&format!("{field}.parameters"))?;
                output.parameters = params;
                Ok(())
            }
            _ => reader.skip().map(drop),
        })?;
        if output.name.is_empty() {
            return Err(Fault::at(format!("{field}.name"), "must be given"));
        }
        outputs.push(output);
        Ok(())
    })?;
    Ok(outputs)
}

/// The binary data after the JSON, and how much of it is taken.
struct Tail {
    data: Option<Bytes>,
    taken: usize,
}

impl Tail {
    /// Cuts a body into its JSON and its tail; without a header everything is JSON.
    fn cut(body: &Bytes, header_length: Option<usize>) -> Result<(Bytes, Self)> {
        let Some(length) = header_length else {
            return Ok((body.clone(), Self { data: None, taken: 0 }));
        };
        if length > body.len() {
            let why = format!("says that {length} bytes are JSON; the body has {}", body.len());
            return Err(Error::invalid(super::HEADER_LENGTH, why));
        }
        let data = Some(body.slice(length..));
        Ok((body.slice(..length), Self { data, taken: 0 }))
    }

    /// The next `size` bytes, for the tensor at the path `field`.
    fn take(&mut self, size: usize, field: &str) -> Read<Bytes> {
        let Some(data) = &self.data else {
            let why = format!(
                "is in binary data, of which the header {} has to tell",
                super::HEADER_LENGTH
            );
            return Err(Fault::at(field, why));
        };
        let left = data.len() - self.taken;
        if size > left {
            let why = format!(
                "takes {size} bytes of binary data, and only {left} are left of {}",
                data.len()
            );
            return Err(Fault::at(field, why));
        }
        let start = self.taken;
        self.taken += size;
        Ok(data.slice(start..self.taken))
    }

    fn finish(&self) -> Result<()> {
        let left = self.data.as_ref().map_or(0, Bytes::len) - self.taken;
        if left == 0 {
            return Ok(());
        }
        let why = format!("ends with {left} bytes that no tensor takes; check each `{BINARY_SIZE}`");
        Err(Error::invalid("body", why))
    }

    fn tensors(
        &mut self,
        reader: &mut Reader<'_>,
        list: &str,
        tensors: &mut Vec<Tensor>,
        parameters: &mut Vec<Params>,
    ) -> Read<()> {
        // a key that comes twice counts once, as in Python
        tensors.clear();
        parameters.clear();
        self.taken = 0;
        reader.list(|reader| {
            let mut entry = Entry::default();
            let at = tensors.len();
            reader.object(|reader, key| entry.part(reader, &key, list, at))?;
            let (tensor, params) = entry.finish(self, list, at)?;
            tensors.push(tensor);
            parameters.push(params);
            Ok(())
        })
    }
}

/// One tensor of a list while its keys come, in whatever order.
#[derive(Default)]
struct Entry<'a> {
    name: Option<String>,
    datatype: Option<DataType>,
    shape: Option<Vec<i64>>,
    parameters: Params,
    data: Option<Data<'a>>,
}

/// The elements of a tensor in JSON.
enum Data<'a> {
    /// Read already by the datatype, which came before: how they are nested, and packed.
    Packed(DataType, Vec<i64>, Vec<u8>),
    /// To be read when all keys are known.
    Text(&'a str),
}

impl<'a> Entry<'a> {
    fn part(&mut self, reader: &mut Reader<'a>, key: &str, list: &str, at: usize) -> Read<()> {
        let field = format!("{list}[{at}]");
        match key {
            "name" => self.name = Some(text(reader, &format!("{field}.name"))?),
            "datatype" => {
                let field = format!("{field}.datatype");
                self.datatype = Some(DataType::parse(&field, &reader.text(&field)?)?);
            }
            "shape" => self.shape = Some(shape(reader, &format!("{field}.shape"))?),
            "parameters" => self.parameters = reader.params(&format!("{field}.parameters"))?,
            "data" => {
                self.data = Some(match (&self.name, self.datatype) {
                    // of BYTES the parameters may say that they are base64
                    (Some(name), Some(datatype)) if datatype != DataType::Bytes => {
                        let (found, data) = pack(reader, datatype, false, &format!("{list}[\"{name}\"]"))?;
                        Data::Packed(datatype, found, data)
                    }
                    _ => Data::Text(reader.skip()?),
                });
            }
            _ => drop(reader.skip()?),
        }
        Ok(())
    }

    fn finish(mut self, tail: &mut Tail, list: &str, at: usize) -> Read<(Tensor, Params)> {
        let missing = |part: &str| Fault::at(format!("{list}[{at}].{part}"), "must be given");
        let name = self.name.ok_or_else(|| missing("name"))?;
        let datatype = self.datatype.ok_or_else(|| missing("datatype"))?;
        let shape = self.shape.ok_or_else(|| missing("shape"))?;
        let field = format!("{list}[\"{name}\"]");
        let size = self.parameters.remove(BINARY_SIZE);
        let tensor = match (self.data, size) {
            (Some(_), Some(_)) => {
                return Err(Fault::at(
                    field,
                    format!("has both `data` and `{BINARY_SIZE}`; send one of them"),
                ));
            }
            (None, Some(size)) => {
                let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
                let whole = || {
                    Fault::at(
                        format!("{field}.parameters.{BINARY_SIZE}"),
                        "must be a number of bytes",
                    )
                };
                Tensor::new(name, datatype, shape, tail.take(size.ok_or_else(whole)?, &field)?)?
            }
            (Some(data), None) => {
                let is_base64 = datatype == DataType::Bytes
                    && self
                        .parameters
                        .get(CONTENT_TYPE)
                        .is_some_and(|kind| kind == BASE64);
                if is_base64 {
                    // said of the JSON and not of the elements, which are what they stand for from here on
                    self.parameters.remove(CONTENT_TYPE);
                }
                let (found, data) = match data {
                    Data::Packed(read, found, data) if read == datatype => (found, data),
                    Data::Packed(..) => return Err(Fault::at(field, "has two datatypes; send one of them")),
                    Data::Text(text) => pack(&mut Reader::again(text), datatype, is_base64, &field)?,
                };
                let tensor = Tensor::new(name, datatype, shape, data)?;
                if found.len() > 1 && found != tensor.shape() {
                    let why = format!(
                        "has data nested as {found:?}, and its shape is {:?}",
                        tensor.shape()
                    );
                    return Err(Fault::at(field, why));
                }
                tensor
            }
            (None, None) => {
                let why = format!(
                    "has neither `data` nor the parameter `{BINARY_SIZE}`; shared memory is not offered"
                );
                return Err(Fault::at(field, why));
            }
        };
        let is_json = tensor.datatype() == DataType::Bytes
            && self.parameters.get(CONTENT_TYPE).is_some_and(|kind| kind == JSON);
        if is_json {
            self.parameters.remove(CONTENT_TYPE);
        }
        Ok((tensor.with_json(is_json), self.parameters))
    }
}

fn shape(reader: &mut Reader<'_>, field: &str) -> Read<Vec<i64>> {
    let mut shape = Vec::new();
    reader.list(|reader| match reader.scalar()? {
        crate::json::Scalar::Int(size @ 0..) if shape.len() < crate::nested::MAX_DIMENSIONS => {
            shape.push(size);
            Ok(())
        }
        crate::json::Scalar::Int(0..) => {
            let most = crate::nested::MAX_DIMENSIONS;
            Err(Fault::at(field, format!("has more than {most} dimensions")))
        }
        _ => Err(Fault::at(
            format!("{field}[{}]", shape.len()),
            "must be a whole number from 0",
        )),
    })?;
    Ok(shape)
}

/// Elements in JSON, flat or nested: how they are nested, and packed.
fn pack(
    reader: &mut Reader<'_>,
    datatype: DataType,
    is_base64: bool,
    field: &str,
) -> Read<(Vec<i64>, Vec<u8>)> {
    if matches!(datatype, DataType::Fp16 | DataType::Bf16) {
        let why = format!("is {datatype}, which has no form in JSON; send it as binary data");
        return Err(Fault::at(field, why));
    }
    let mut nested = Nested::new(Packed::new(datatype, is_base64));
    nested.read(reader, 0, field)?;
    let (found, packed) = nested.finish();
    Ok((found, packed.into_data()))
}
