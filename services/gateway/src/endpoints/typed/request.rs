//! Requests of a typed service as inputs of models.

use bytes::Bytes;
use lodeway_domain::{
    Error, Result,
    error::Violations,
    signature::{ColumnType, DataType},
};
use lodeway_inference::{Column, Frame, Params, Payload, Tensor, half, rows};
use serde_json::{Map, Value as Json, json};

use super::{
    plan::{Inputs, Plan, TensorIn},
    read::{Cell, Given, JsonReader, join, run},
    shape::{Field, Kind, Shape},
    wire::{Raw, Reader},
};
use crate::endpoints::MAX_INPUT_BYTES;

mod filling;

use filling::{Filling, push_bytes};

/// So many requests are in one batch at most.
const MAX_ROWS: usize = 1 << 20;
/// So many dimensions has a tensor at most.
const MAX_RANK: usize = 32;

/// What goes to a model.
#[derive(Debug, PartialEq)]
pub(super) struct Input {
    pub(super) what: What,
    pub(super) params: Params,
    /// How many rows belong to each request.
    pub(super) rows: Vec<usize>,
}

/// The values, packed or as a document.
#[derive(Debug, PartialEq)]
pub(super) enum What {
    Packed(Payload),
    /// A scoring document in JSON.
    Document(Bytes),
}

/// The requests of one call.
struct Requests {
    messages: Vec<Bytes>,
    /// Params of the batch, one after the other if they came in pieces.
    params: Vec<u8>,
    is_batch: bool,
}

impl Requests {
    fn path(&self, at: usize) -> String {
        if self.is_batch {
            format!("rows[{at}]")
        } else {
            String::new()
        }
    }
}

impl Plan {
    /// Reads a request. With `as_document`, rows go as a document; else as a frame, in which lists and objects are JSON texts.
    ///
    /// Errors: `INVALID_FIELD` with the paths of fields of the request; `LIMIT_EXCEEDED` for more than is taken at once.
    pub(super) fn read(&self, message: Bytes, is_batch: bool, as_document: bool) -> Result<Input> {
        let mut requests = match is_batch {
            true => split(message)?,
            false => Requests {
                messages: vec![message],
                params: Vec::new(),
                is_batch,
            },
        };
        let mut violations = Violations::new();
        let rows = vec![1; requests.messages.len()];
        let (what, rows) = match &self.inputs {
            Inputs::Row(_) if as_document => (
                What::Document(self.document(&mut requests, &mut violations)?),
                rows,
            ),
            Inputs::Row(_) => {
                let frame = self.frame(&mut requests, &mut violations)?;
                (What::Packed(Payload::Frame(frame)), rows)
            }
            Inputs::Tensors(tensors) => {
                let (payload, rows) = self.tensors(&mut requests, tensors, &mut violations)?;
                (What::Packed(payload), rows)
            }
        };
        let params = self.params(requests.params.into(), &mut violations)?;
        violations.finish()?;
        let what = match what {
            What::Document(body) if !params.is_empty() => What::Document(with_params(&body, &params)?),
            what => what,
        };
        Ok(Input { what, params, rows })
    }

    fn params(&self, message: Bytes, violations: &mut Violations) -> Result<Params> {
        let Some(shape) = self.params.as_ref().filter(|_| !message.is_empty()) else {
            return Ok(Params::new());
        };
        let mut reader = JsonReader::new();
        let given = reader.fields(shape, shape.fields.len(), message, super::shape::PARAMS)?;
        violations.take("", reader.violations.finish());
        let named = shape.fields.iter().zip(given);
        Ok(named
            .filter_map(|(field, given)| Some((field.source.clone(), given?)))
            .collect())
    }

    /// Each field of a request, with its place among the inputs. Params are kept for the call; in a batch they are refused.
    fn each(
        &self,
        requests: &mut Requests,
        at: usize,
        violations: &mut Violations,
        mut take: impl FnMut(usize, &Field, Raw, &mut Violations) -> Result<()>,
    ) -> Result<()> {
        let path = requests.path(at);
        let params = self.params_number();
        let mut reader = Reader::new(requests.messages.get(at).cloned().unwrap_or_default());
        while let Some((number, raw)) = reader.next().map_err(|why| Error::invalid(&path, why))? {
            let Some((place, field)) = self.request.field(number) else {
                continue;
            };
            match raw {
                Raw::Bytes(message) if params == Some(number) => {
                    if requests.is_batch {
                        let why = "are of a single request; give those of the whole batch beside its rows";
                        violations.add(join(&path, &field.name), why);
                    } else {
                        requests.params.extend_from_slice(&message);
                    }
                }
                raw => take(place, field, raw, violations)?,
            }
        }
        Ok(())
    }

    fn frame(&self, requests: &mut Requests, violations: &mut Violations) -> Result<Frame> {
        let Inputs::Row(columns) = &self.inputs else {
            return Err(Error::internal("tensors are no frame"));
        };
        let rows = requests.messages.len();
        let per_row: usize = columns.iter().map(|c| element_bytes(&c.column_type)).sum();
        if rows.saturating_mul(per_row) > MAX_INPUT_BYTES {
            return Err(too_many(rows));
        }
        let mut filling: Vec<_> = columns.iter().map(|c| Filling::new(&c.column_type)).collect();
        let mut reader = JsonReader::new();
        for at in 0..rows {
            let path = requests.path(at);
            self.each(
                requests,
                at,
                violations,
                |place, field, raw, violations| match filling.get_mut(place) {
                    Some(filling) => filling.take(field, raw, &path, &mut reader, violations),
                    None => Ok(()),
                },
            )?;
            for (filling, field) in filling.iter_mut().zip(&self.request.fields) {
                filling.end_row(field, &path, &mut reader, violations)?;
            }
        }
        violations.take("", reader.violations.finish());
        let mut made = Vec::with_capacity(columns.len());
        for ((column, filling), field) in columns.iter().zip(filling).zip(&self.request.fields) {
            // A null where the type has one, as in a batch with other rows that give it; what has none is left out, and so is
            // everything of conversations: models of these have defaults for what does not come, and none for null.
            let is_nothing = self.takes_nested() || filling.missing().is_some();
            if filling.given == 0 && !column.is_required && is_nothing {
                continue;
            }
            // Where it must be given that was said already.
            if let Some(at) = filling.missing().filter(|_| !column.is_required) {
                let why = format!(
                    "is left out here and given in other rows; `{}` holds no missing values",
                    column.column_type.as_str()
                );
                violations.add(join(&requests.path(at), &field.name), why);
            }
            let is_structured = filling.is_structured;
            let filled = filling.column(&column.name, rows)?;
            let values = filled.values.with_number(!column.is_named);
            made.push(Column {
                values: values.with_json(is_structured),
                ..filled
            });
        }
        if made.is_empty() {
            violations.add("", "gives no column at all");
        }
        Frame::new(made)
    }

    fn document(&self, requests: &mut Requests, violations: &mut Violations) -> Result<Bytes> {
        let Inputs::Row(columns) = &self.inputs else {
            return Err(Error::internal("tensors are no document"));
        };
        let mut reader = JsonReader::new();
        let mut rows = Vec::with_capacity(requests.messages.len());
        for at in 0..requests.messages.len() {
            let path = requests.path(at);
            // Finds the params; the rest is read below.
            self.each(requests, at, violations, |_, _, _, _| Ok(()))?;
            let message = requests.messages.get(at).cloned().unwrap_or_default();
            rows.push(reader.fields(&self.request, columns.len(), message, &path)?);
        }
        violations.take("", std::mem::take(&mut reader.violations).finish());
        let is_given = |place: usize| {
            let given = |row: &Vec<Given>| row.get(place).is_some_and(Option::is_some);
            columns.get(place).is_some_and(|column| column.is_required) || rows.iter().any(given)
        };
        let kept: Vec<_> = (0..columns.len()).map(is_given).collect();
        let names = columns.iter().zip(&kept).filter(|(_, kept)| **kept);
        let names: Vec<_> = names.map(|(column, _)| column.name.clone()).collect();
        let values = |row: Vec<Given>| {
            let kept = row.into_iter().zip(&kept).filter(|(_, kept)| **kept);
            kept.map(|(value, _)| value.unwrap_or(Json::Null))
                .collect::<Vec<_>>()
        };
        let rows: Vec<_> = rows.into_iter().map(values).collect();
        let body = match columns.as_slice() {
            // The form of a model that declares what it takes by type hints.
            [column] if !column.is_named => json!({ "inputs": rows.concat() }),
            _ => json!({ "dataframe_split": { "columns": names, "data": rows } }),
        };
        Ok(body.to_string().into())
    }

    fn tensors(
        &self,
        requests: &mut Requests,
        tensors: &[TensorIn],
        violations: &mut Violations,
    ) -> Result<(Payload, Vec<usize>)> {
        let mut payloads = Vec::with_capacity(requests.messages.len());
        for at in 0..requests.messages.len() {
            let path = requests.path(at);
            let mut given: Vec<Option<Bytes>> = vec![None; tensors.len()];
            self.each(requests, at, violations, |place, field, raw, violations| {
                match (given.get_mut(place), raw) {
                    (Some(slot), Raw::Bytes(message)) => *slot = Some(message),
                    _ => violations.add(join(&path, &field.name), "is no message"),
                }
                Ok(())
            })?;
            let mut made = Vec::with_capacity(tensors.len());
            for ((tensor, given), field) in tensors.iter().zip(given).zip(&self.request.fields) {
                let path = join(&path, &field.name);
                let read = match given {
                    Some(message) => tensor_of(tensor, field, message, &path),
                    None => Err(Error::invalid(&path, "must be given")),
                };
                made.extend(violations.take(&path, read));
            }
            payloads.push(Payload::Tensors(made));
        }
        std::mem::take(violations).finish()?;
        let Some(first) = payloads.first() else {
            return Err(Error::invalid("rows", "must hold at least one request"));
        };
        let counts = payloads
            .iter()
            .map(|payload| payload.rows().unwrap_or(1))
            .collect();
        if !requests.is_batch {
            return Ok((payloads.swap_remove(0), counts));
        }
        for (at, payload) in payloads.iter().enumerate() {
            if payload.rows().is_none() || !rows::compatible(first, payload) {
                let why = "holds tensors of other dimensions than the first, or of unequal rows";
                violations.add(format!("rows[{at}]"), why);
            }
        }
        std::mem::take(violations).finish()?;
        let payloads: Vec<_> = payloads.iter().collect();
        Ok((rows::concat_rows(&payloads)?, counts))
    }
}

fn too_many(rows: usize) -> Error {
    Error::Exhausted {
        message: format!("the batch holds {rows} rows, more than are taken at once; send fewer"),
        retry_after: None,
    }
}

/// The requests of a batch. Errors: bytes that are no batch; more rows than are taken.
fn split(message: Bytes) -> Result<Requests> {
    let (mut messages, mut params) = (Vec::new(), Vec::new());
    let mut reader = Reader::new(message);
    while let Some((number, raw)) = reader.next().map_err(|why| Error::invalid("", why))? {
        match (number, raw) {
            (1, Raw::Bytes(message)) => messages.push(message),
            (2, Raw::Bytes(message)) => params.extend_from_slice(&message),
            _ => {}
        }
        if messages.len() > MAX_ROWS {
            return Err(too_many(messages.len()));
        }
    }
    if messages.is_empty() {
        return Err(Error::invalid("rows", "must hold at least one request"));
    }
    Ok(Requests {
        messages,
        params,
        is_batch: true,
    })
}

fn with_params(body: &[u8], params: &Params) -> Result<Bytes> {
    let mut document: Map<String, Json> = serde_json::from_slice(body).map_err(Error::internal)?;
    document.insert("params".to_owned(), Json::Object(params.clone()));
    Ok(Json::Object(document).to_string().into())
}

/// What a value of a column takes at least.
fn element_bytes(column_type: &ColumnType) -> usize {
    let datatype = column_type.datatype().unwrap_or(DataType::Bytes);
    datatype.element_bytes().unwrap_or(size_of::<u32>())
}

/// Reads a tensor's message. Errors: `INVALID_FIELD` at `path.shape` and `path.values`.
fn tensor_of(tensor: &TensorIn, field: &Field, message: Bytes, path: &str) -> Result<Tensor> {
    let Kind::Tensor(shape) = &field.kind else {
        return Err(Error::internal("a field of a tensor is of another kind"));
    };
    let items = items_of(shape);
    let (mut dimensions, mut data, mut elements) = (Vec::new(), Data::Empty, 0_usize);
    let mut reader = Reader::new(message);
    while let Some((number, raw)) = reader.next().map_err(|why| Error::invalid(path, why))? {
        let read = match number {
            1 => run(&Kind::Int64, raw, |cell| match cell {
                Cell::Int(size) if dimensions.len() < MAX_RANK => {
                    dimensions.push(size);
                    Ok(())
                }
                _ => Err(format!("has more than {MAX_RANK} dimensions")),
            })
            .map_err(|why| ("shape", why)),
            2 => data
                .take(tensor.datatype, items, raw, &mut elements)
                .map_err(|why| ("values", why)),
            _ => Ok(()),
        };
        read.map_err(|(part, why)| Error::invalid(join(path, part), why))?;
    }
    if dimensions.is_empty() {
        dimensions = shape_of(&tensor.shape, elements).ok_or_else(|| {
            let why = format!(
                "must be given: {elements} values do not say which shape they have of {:?}, -1 for any size",
                tensor.shape
            );
            Error::invalid(join(path, "shape"), why)
        })?;
    }
    let fits = dimensions.len() == tensor.shape.len()
        && dimensions
            .iter()
            .zip(&tensor.shape)
            .all(|(&size, &want)| size >= 0 && (want < 0 || size == want));
    if !fits {
        let why = format!(
            "is {dimensions:?}; the model takes {:?}, -1 for any size",
            tensor.shape
        );
        return Err(Error::invalid(join(path, "shape"), why));
    }
    Tensor::new(
        &tensor.name,
        tensor.datatype,
        dimensions.clone(),
        data.into_bytes(),
    )
    .map_err(|_| {
        let why = format!("holds {elements} elements, which do not make the shape {dimensions:?}");
        Error::invalid(join(path, "values"), why)
    })
}

fn items_of(shape: &Shape) -> &Kind {
    match shape.fields.get(1).map(|field| &field.kind) {
        Some(Kind::List(items)) => items,
        _ => &Kind::Bytes,
    }
}

/// The shape that so many elements must have; `None` if several would do, or none.
fn shape_of(declared: &[i64], elements: usize) -> Option<Vec<i64>> {
    let elements = i64::try_from(elements).ok()?;
    let fixed = declared
        .iter()
        .filter(|&&size| size >= 0)
        .try_fold(1_i64, |product, &size| product.checked_mul(size))?;
    let varying = declared.iter().filter(|&&size| size < 0).count();
    let free = match varying {
        0 => 1,
        1 if fixed > 0 && elements % fixed == 0 => elements / fixed,
        _ => return None,
    };
    Some(
        declared
            .iter()
            .map(|&size| if size < 0 { free } else { size })
            .collect(),
    )
}

/// The elements of a tensor while they are read.
enum Data {
    Empty,
    /// A packed run of floats is what a tensor holds, so that it is not copied.
    Whole(Bytes),
    Made(Vec<u8>),
}

impl Data {
    fn take(
        &mut self,
        datatype: DataType,
        kind: &Kind,
        raw: Raw,
        elements: &mut usize,
    ) -> Result<(), String> {
        if let (Self::Empty, Raw::Bytes(run), DataType::Fp32 | DataType::Fp64) = (&self, &raw, datatype) {
            let size = datatype.element_bytes().unwrap_or(1);
            if run.len() % size != 0 {
                return Err("ends in the middle of a number".to_owned());
            }
            *elements = run.len() / size;
            *self = Self::Whole(run.clone());
            return Ok(());
        }
        let data = self.made();
        run(kind, raw, |cell| {
            *elements += 1;
            push_element(data, datatype, cell)
        })
    }

    fn made(&mut self) -> &mut Vec<u8> {
        loop {
            match self {
                Self::Made(data) => return data,
                Self::Empty => *self = Self::Made(Vec::new()),
                Self::Whole(run) => *self = Self::Made(run.to_vec()),
            }
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Empty => Bytes::new(),
            Self::Whole(run) => run,
            Self::Made(data) => data.into(),
        }
    }
}

fn push_element(data: &mut Vec<u8>, datatype: DataType, cell: Cell) -> Result<(), String> {
    let whole = match &cell {
        Cell::Int(value) => i128::from(*value),
        Cell::Uint(value) => i128::from(*value),
        _ => 0,
    };
    let beyond = |_| format!("holds {whole}, which is beyond {datatype}");
    match (datatype, cell) {
        (DataType::Bool, Cell::Bool(value)) => data.push(value.into()),
        (DataType::Int8, _) => data.extend(i8::try_from(whole).map_err(beyond)?.to_le_bytes()),
        (DataType::Int16, _) => data.extend(i16::try_from(whole).map_err(beyond)?.to_le_bytes()),
        (DataType::Int32, _) => data.extend(i32::try_from(whole).map_err(beyond)?.to_le_bytes()),
        (DataType::Int64, _) => data.extend(i64::try_from(whole).map_err(beyond)?.to_le_bytes()),
        (DataType::Uint8, _) => data.extend(u8::try_from(whole).map_err(beyond)?.to_le_bytes()),
        (DataType::Uint16, _) => data.extend(u16::try_from(whole).map_err(beyond)?.to_le_bytes()),
        (DataType::Uint32, _) => data.extend(u32::try_from(whole).map_err(beyond)?.to_le_bytes()),
        (DataType::Uint64, _) => data.extend(u64::try_from(whole).map_err(beyond)?.to_le_bytes()),
        (DataType::Fp16, Cell::Float(value)) => data.extend(half::to_fp16(value.into()).to_le_bytes()),
        (DataType::Fp32, Cell::Float(value)) => data.extend(value.to_le_bytes()),
        (DataType::Fp64, Cell::Double(value)) => data.extend(value.to_le_bytes()),
        (DataType::Bytes, Cell::Bytes(bytes)) => push_bytes(data, &bytes)?,
        _ => return Err(format!("holds a value that is no {datatype}")),
    }
    Ok(())
}
