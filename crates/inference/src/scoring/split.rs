//! Tables in JSON: `dataframe_split` and `dataframe_records`.

use std::borrow::Cow;

use super::{
    Form,
    columns::{Columns, wants_tensors},
    signature_tensors::of_frame,
    value::{Context, Values, fault},
};
use crate::{
    Payload,
    fault::{Fault, Read},
    json::{Reader, Scalar},
};

/// Reads `{"columns": […], "data": [[…], …], "index": […]}`, of which only `data` must be there.
pub(super) fn split<'a>(reader: &mut Reader<'a>, context: Context<'a>) -> Read<Values> {
    if reader.peek()? != b'{' {
        return Err(fault(
            context.form,
            "",
            "must be an object with `data` and, for names, `columns`",
        ));
    }
    let mut columns = columns_for(context)?;
    let (mut slots, mut data, mut rows, mut index) = (None, None, None, None);
    reader.object(|reader, key| {
        match &*key {
            "columns" => slots = names(reader, &mut columns)?,
            // read at once if the names came before, as pandas writes them
            "data" if slots.is_some() => {
                rows = Some(read_rows(reader, &mut columns, slots.as_deref(), false)?)
            }
            "data" => data = Some(reader.skip()?),
            "index" => index = read_index(reader)?,
            _ => {
                let why = "is not a part of it; only `columns`, `data` and `index` are";
                return Err(fault(context.form, &format!(".{key}"), why));
            }
        }
        Ok(())
    })?;
    let rows = match (rows, data) {
        (Some(rows), _) => rows,
        (None, Some(data)) => read_rows(&mut Reader::again(data), &mut columns, slots.as_deref(), false)?,
        (None, None) => return Err(fault(context.form, ".data", "must be given, as a list of rows")),
    };
    let has_index = match index {
        Some((length, _)) if length != rows => {
            let why = format!("has {length} entries, and the data {rows} rows");
            return Err(fault(context.form, ".index", why));
        }
        Some((_, is_default)) => !is_default,
        None => false,
    };
    finish(columns, rows, context, has_index)
}

/// Reads `[{"a": 1, "b": 2}, …]`; a column that is missing from a record is null there.
pub(super) fn records<'a>(reader: &mut Reader<'a>, context: Context<'a>) -> Read<Values> {
    if reader.peek()? != b'[' {
        return Err(fault(context.form, "", "must be a list of records"));
    }
    let mut columns = columns_for(context)?;
    let mut row = 0;
    reader.list(|reader| {
        if reader.peek()? != b'{' {
            return Err(Fault::needs_runtime("a record is no object"));
        }
        reader.object(|reader, key| {
            let slot = columns.slot(key);
            columns.value(slot, row, reader)
        })?;
        row += 1;
        Ok(())
    })?;
    finish(columns, row, context, false)
}

fn columns_for(context: Context<'_>) -> Read<Columns<'_>> {
    let signature = context.signature.filter(|_| !wants_tensors(context.signature));
    let columns = Columns::new(signature, context.body_bytes)?;
    Ok(if context.is_packed {
        columns.packed()
    } else {
        columns
    })
}

fn finish(columns: Columns<'_>, rows: usize, context: Context<'_>, has_index: bool) -> Read<Values> {
    let (frame, ignored) = columns.finish(rows)?;
    let payload = match context.signature {
        Some(signature) if wants_tensors(context.signature) => Payload::Tensors(of_frame(&frame, signature)?),
        _ => Payload::Frame(frame),
    };
    Ok(Values {
        payload,
        ignored,
        has_index,
    })
}

/// The slots of the names in `columns`; `None` for null.
fn names<'a>(reader: &mut Reader<'a>, columns: &mut Columns<'a>) -> Read<Option<Vec<usize>>> {
    if reader.peek()? == b'n' {
        reader.scalar()?;
        return Ok(None);
    }
    let (mut names, mut numbers) = (Vec::new(), Vec::new());
    let mut strange = false;
    reader.list(|reader| {
        match reader.peek()? {
            b'[' | b'{' => strange |= !reader.skip()?.is_empty(),
            _ => match reader.scalar()? {
                Scalar::Text(name) => names.push(name),
                Scalar::Int(number) => {
                    numbers.push(names.len());
                    names.push(Cow::Owned(number.to_string()));
                }
                _ => strange = true,
            },
        }
        Ok(())
    })?;
    if strange {
        return Err(Fault::needs_runtime(
            "`dataframe_split.columns` holds names that are no strings",
        ));
    }
    let slots = columns.all(names)?;
    for slot in numbers.iter().filter_map(|&at| slots.get(at)) {
        columns.set_numbered(*slot);
    }
    Ok(Some(slots))
}

/// How many entries the index has, and whether they count from 0; `None` for null.
fn read_index(reader: &mut Reader<'_>) -> Read<Option<(usize, bool)>> {
    if reader.peek()? == b'n' {
        reader.scalar()?;
        return Ok(None);
    }
    let (mut length, mut is_default) = (0, true);
    reader.list(|reader| {
        match reader.peek()? {
            b'[' | b'{' => is_default &= reader.skip()?.is_empty(),
            _ => match reader.scalar()? {
                Scalar::Int(number) => is_default &= usize::try_from(number) == Ok(length),
                _ => is_default = false,
            },
        }
        length += 1;
        Ok(())
    })?;
    Ok(Some((length, is_default)))
}

/// Reads a list of rows into slots, or into columns called 0, 1, 2 … if there are none; returns how many rows there are.
///
/// A short row ends in missing values, as in pandas. With `singles` a row may be one value without a list.
pub(super) fn read_rows<'a>(
    reader: &mut Reader<'a>,
    columns: &mut Columns<'a>,
    slots: Option<&[usize]>,
    singles: bool,
) -> Read<usize> {
    let mut numbered = Vec::new();
    let (mut rows, mut width) = (0, 0);
    if reader.peek()? != b'[' {
        return Err(Fault::needs_runtime("the rows are no list"));
    }
    reader.list(|reader| {
        let mut at = 0;
        let mut cell = |reader: &mut Reader<'a>| {
            let slot = match slots {
                Some(slots) => slots.get(at).copied().ok_or_else(|| {
                    let why = format!("has more values in row {rows} than the {} columns", slots.len());
                    fault(Form::DataframeSplit, ".data", why)
                })?,
                None => match numbered.get(at) {
                    Some(&slot) => slot,
                    None => {
                        let slot = columns.numbered(at);
                        numbered.push(slot);
                        slot
                    }
                },
            };
            at += 1;
            columns.value(slot, rows, reader)
        };
        match reader.peek()? {
            b'[' => reader.list(cell)?,
            b'{' => return Err(Fault::needs_runtime("a row is an object")),
            _ if singles => cell(reader)?,
            _ => return Err(Fault::needs_runtime("a row is no list")),
        }
        width = width.max(at);
        rows += 1;
        Ok(())
    })?;
    match slots {
        Some(slots) if rows != 0 && width != slots.len() => {
            let why = format!(
                "has {width} values in a row, and there are {} columns",
                slots.len()
            );
            Err(fault(Form::DataframeSplit, ".data", why))
        }
        _ => Ok(rows),
    }
}
