//! Tensors in JSON: `instances` (row by row) and `inputs` (column by column).

use std::{borrow::Cow, collections::HashMap};

use lodeway_domain::signature::{self, DataType, Dtype, ModelSignature, Schema};

use super::{
    Form,
    columns::{Columns, wants_tensors},
    signature_tensors::{check, spec},
    split::{read_rows, records},
    value::{Context, Values, fault},
};
use crate::{
    Payload, Tensor,
    cells::Cells,
    fault::{Fault, Read, entry},
    json::{Reader, Scalar},
    nested::{Nested, Sink},
    packed::Packed,
};

/// Reads the value of `instances` or `inputs`.
pub(super) fn read<'a>(reader: &mut Reader<'a>, context: Context<'a>) -> Read<Values> {
    let is_table = has_inputs(context) && !wants_tensors(context.signature);
    let is_records = reader.begins_with_objects()?;
    match (reader.peek()?, is_table) {
        (b'[', true) if is_records => records(reader, context),
        (b'{', true) => table_by_column(reader, context),
        (_, true) => table_by_row(reader, context),
        (b'[', false) if is_records && context.form == Form::Instances => by_record(reader, context),
        (b'[', false) if is_records => Err(Fault::needs_runtime("`inputs` is a list of records")),
        (b'{', false) => by_name(reader, context),
        // No dtype could be told from it, and MLflow leaves it the list that it is.
        (b'[', false) if !has_inputs(context) && reader.begins_with(b"[]")? => {
            Err(Fault::needs_runtime("an empty list has no type"))
        }
        _ => single(reader, context),
    }
}

/// Whether a signature says what the model takes.
fn has_inputs(context: Context<'_>) -> bool {
    context
        .signature
        .is_some_and(|signature| signature.inputs.is_some())
}

/// A bare list, or a bare value, of which a signature of columns makes a table.
fn table_by_row<'a>(reader: &mut Reader<'a>, context: Context<'a>) -> Read<Values> {
    let mut columns = Columns::new(context.signature, context.body_bytes)?;
    let inputs = context.signature.and_then(|signature| signature.inputs.as_ref());
    let slots = match inputs.and_then(Schema::columns) {
        // the one column that there is takes a list of its values
        Some([signature::Column { name: Some(name), .. }]) => Some(columns.all(vec![Cow::Borrowed(name)])?),
        _ => None,
    };
    let rows = if reader.peek()? == b'[' {
        read_rows(reader, &mut columns, slots.as_deref(), true)?
    } else {
        let slot = slots.and_then(|slots| slots.first().copied());
        let slot = slot.unwrap_or_else(|| columns.numbered(0));
        columns.value(slot, 0, reader)?;
        1
    };
    table(columns, rows)
}

fn table(columns: Columns<'_>, rows: usize) -> Read<Values> {
    let (frame, ignored) = columns.finish(rows)?;
    Ok(Values {
        payload: Payload::Frame(frame),
        ignored,
        has_index: false,
    })
}

/// An object of columns by name, each a list, or each a single value of the only row.
fn table_by_column<'a>(reader: &mut Reader<'a>, context: Context<'a>) -> Read<Values> {
    let mut columns = Columns::new(context.signature, context.body_bytes)?;
    let mut rows: Option<usize> = None;
    let (mut lists, mut singles) = (false, false);
    reader.object(|reader, key| {
        let name = key.clone();
        let slot = columns.slot(key);
        if columns.is_ignored(slot) {
            return columns.value(slot, 0, reader);
        }
        if columns.rows(slot) != 0 {
            return Err(Fault::at(entry(&name), "comes twice; send it once"));
        }
        let mut length = 0;
        if reader.peek()? == b'[' {
            lists = true;
            columns.cells(slot, 0)?;
            reader.list(|reader| {
                columns.value(slot, length, reader)?;
                length += 1;
                Ok(())
            })?;
        } else {
            singles = true;
            columns.value(slot, 0, reader)?;
            length = 1;
        }
        if *rows.get_or_insert(length) == length || lists && singles {
            return Ok(());
        }
        Err(lengths(context.form, &name))
    })?;
    if lists && singles {
        return Err(Fault::needs_runtime(
            "some columns are lists and others single values",
        ));
    }
    table(columns, rows.unwrap_or_default())
}

fn lengths(form: Form, name: &str) -> Fault {
    let why = "differs in length from the inputs before it; send equally many values of each";
    fault(form, &format!("[\"{name}\"]"), why)
}

/// What takes the elements of one tensor.
#[derive(Debug)]
enum Gather {
    Known(Packed),
    Inferred(Cells),
}

impl Sink for Gather {
    fn push(&mut self, scalar: Scalar<'_>) -> Result<(), String> {
        match self {
            Self::Known(packed) => packed.push(&scalar),
            Self::Inferred(cells) => {
                cells.push(scalar);
                Ok(())
            }
        }
    }
}

/// A tensor while it is read, of the signature's type or of an inferred one.
struct Reading {
    name: String,
    /// Its path in messages.
    field: String,
    datatype: Option<DataType>,
    nested: Nested<Gather>,
    rows: usize,
}

impl Reading {
    fn new(name: &str, signature: Option<&ModelSignature>) -> Read<Self> {
        let datatype = match spec(name, signature) {
            Some(spec) if spec.dtype == Dtype::Object => {
                return Err(Fault::needs_runtime(format!(
                    "{} is of dtype object in the signature",
                    entry(name)
                )));
            }
            spec => spec.map(|spec| spec.dtype.datatype()),
        };
        let gather = match datatype {
            Some(datatype) => Gather::Known(Packed::new(datatype, false)),
            None => Gather::Inferred(Cells::new(false)),
        };
        Ok(Self {
            name: name.to_owned(),
            field: entry(name),
            datatype,
            nested: Nested::new(gather),
            rows: 0,
        })
    }

    fn finish(self) -> Read<Tensor> {
        let (shape, gather) = self.nested.finish();
        match (gather, self.datatype) {
            (Gather::Known(packed), Some(datatype)) => {
                Ok(Tensor::new(self.name, datatype, shape, packed.into_data())?)
            }
            (Gather::Inferred(cells), _) => cells.infer_tensor(self.name, shape),
            (Gather::Known(_), None) => Err(Fault::at(entry(&self.name), "has no type")),
        }
    }
}

/// One tensor as a nested list or a single value.
fn single(reader: &mut Reader<'_>, context: Context<'_>) -> Read<Values> {
    let tensors = context
        .signature
        .and_then(|signature| signature.inputs.as_ref()?.tensors());
    let name = match tensors.unwrap_or_default() {
        [] => "",
        [only] => only.name.as_deref().unwrap_or_default(),
        several => {
            let names: Vec<_> = several
                .iter()
                .filter_map(|tensor| tensor.name.as_deref())
                .collect();
            let why = format!(
                "is one tensor; the signature takes an object with `{}`",
                names.join("`, `")
            );
            return Err(fault(context.form, "", why));
        }
    };
    let mut reading = Reading::new(name, context.signature)?;
    reading.nested.read(reader, 0, &reading.field)?;
    checked(vec![reading.finish()?], context)
}

/// An object of tensors by name.
fn by_name(reader: &mut Reader<'_>, context: Context<'_>) -> Read<Values> {
    let mut tensors = Vec::new();
    reader.object(|reader, key| {
        let mut reading = named(&key, context)?;
        reading.nested.read(reader, 0, &reading.field)?;
        tensors.push(reading.finish()?);
        Ok(())
    })?;
    if context.form == Form::Instances {
        let rows = tensors.first().and_then(Tensor::rows);
        if let Some(other) = tensors.iter().find(|tensor| tensor.rows() != rows) {
            return Err(lengths(context.form, other.name()));
        }
    }
    checked(by_their_names(tensors), context)
}

/// The tensors of an object; one alone says so.
fn by_their_names(tensors: Vec<Tensor>) -> Vec<Tensor> {
    let is_alone = tensors.len() == 1;
    let tensors = tensors.into_iter();
    tensors.map(|tensor| tensor.with_key(is_alone)).collect()
}

fn named(name: &str, context: Context<'_>) -> Read<Reading> {
    if name.is_empty() {
        // it would be taken for a tensor without a name
        return Err(Fault::needs_runtime("an input is called \"\""));
    }
    Reading::new(name, context.signature)
}

/// A list of records, whose values are stacked to one tensor a name.
fn by_record<'a>(reader: &mut Reader<'a>, context: Context<'a>) -> Read<Values> {
    let mut readings: Vec<Reading> = Vec::new();
    let mut by_key: HashMap<Cow<'a, str>, usize> = HashMap::new();
    let (mut rows, mut next) = (0, 0);
    reader.list(|reader| {
        if reader.peek()? != b'{' {
            return Err(Fault::at("instances", "mixes records and other values"));
        }
        reader.object(|reader, key| {
            // records mostly name their values in one order
            let guess = readings
                .get(next)
                .filter(|reading| reading.name == *key)
                .map(|_| next);
            let at = match guess.or_else(|| by_key.get(&key).copied()) {
                Some(at) => at,
                None => {
                    readings.push(named(&key, context)?);
                    by_key.insert(key, readings.len() - 1);
                    readings.len() - 1
                }
            };
            next = if at + 1 == readings.len() { 0 } else { at + 1 };
            let Some(reading) = readings.get_mut(at) else {
                return Ok(());
            };
            if reading.rows != rows {
                return Err(uneven(context, &reading.name));
            }
            reading.rows += 1;
            reading.nested.read(reader, 1, &reading.field)
        })?;
        rows += 1;
        Ok(())
    })?;
    let mut tensors = Vec::with_capacity(readings.len());
    for mut reading in readings {
        if reading.rows != rows {
            return Err(uneven(context, &reading.name));
        }
        reading.nested.close_outer(0, rows, &reading.field)?;
        tensors.push(reading.finish()?);
    }
    checked(by_their_names(tensors), context)
}

/// Records that do not all name the same values. MLflow asks only for equally many of each name, so that without a signature
/// the model says whether it takes them.
fn uneven(context: Context<'_>, name: &str) -> Fault {
    match has_inputs(context) {
        true => lengths(context.form, name),
        false => Fault::needs_runtime(format!("{} is not in every record", entry(name))),
    }
}

fn checked(tensors: Vec<Tensor>, context: Context<'_>) -> Read<Values> {
    let ignored = match context.signature {
        Some(signature) => check(&tensors, signature)?,
        None => Vec::new(),
    };
    Ok(Values {
        payload: Payload::Tensors(tensors),
        ignored,
        has_index: false,
    })
}
