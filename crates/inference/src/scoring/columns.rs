//! Columns that are filled row by row and become a frame.

use std::{borrow::Cow, collections::HashMap};

use lodeway_domain::signature::{
    Column as Wanted, ColumnInput, ColumnKind, ColumnType, DataType, ModelSignature, Schema,
};

use crate::{
    Column, Frame, Tensor,
    cells::Cells,
    fault::{Fault, Read, entry},
    json::Reader,
};

/// Up to so many columns a name is searched for one by one.
const FEW: usize = 16;
/// So many missing values may a body stand for, per byte: records that each bring their own column would otherwise grow to
/// the square of what was sent.
const MISSING_PER_BYTE: usize = 64;

/// Columns while they are filled.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    signature: Option<(&'a ModelSignature, &'a [Wanted])>,
    slots: Vec<Slot<'a>>,
    by_name: HashMap<Cow<'a, str>, usize>,
    /// Where the next name is looked for first.
    next: usize,
    missing_left: usize,
    is_packed: bool,
}

#[derive(Debug)]
struct Slot<'a> {
    name: Cow<'a, str>,
    /// `None` if the signature does not know the column.
    cells: Option<Cells>,
    column_type: Option<&'a ColumnType>,
    came: bool,
    /// Whether the caller gave no name or a number for one.
    is_numbered: bool,
}

impl<'a> Columns<'a> {
    /// No columns yet. If the signature holds columns, those are filled and no other. Errors: a signature with nested
    /// columns is left to the runtime.
    pub(super) fn new(signature: Option<&'a ModelSignature>, body_bytes: usize) -> Read<Self> {
        let wanted = signature.and_then(|signature| Some((signature, signature.inputs.as_ref()?.columns()?)));
        let mut columns = Self {
            signature: wanted,
            slots: Vec::new(),
            by_name: HashMap::new(),
            next: 0,
            missing_left: body_bytes.saturating_mul(MISSING_PER_BYTE).saturating_add(4096),
            is_packed: false,
        };
        for (at, column) in wanted.iter().flat_map(|(_, wanted)| wanted.iter()).enumerate() {
            if column.column_type.datatype().is_none() {
                let name = column.name.clone().unwrap_or_else(|| at.to_string());
                let why = format!(
                    "{} is `{}` in the signature",
                    entry(&name),
                    column.column_type.as_str()
                );
                return Err(Fault::needs_runtime(why));
            }
            if let Some(name) = &column.name {
                columns.add(Cow::Borrowed(name), Some(&column.column_type));
            }
        }
        Ok(columns)
    }

    /// The same, whose columns get a type even where there are no rows to infer one from.
    pub(super) fn packed(self) -> Self {
        Self {
            is_packed: true,
            ..self
        }
    }

    fn add(&mut self, name: Cow<'a, str>, column_type: Option<&'a ColumnType>) -> usize {
        let floats = matches!(column_type, Some(ColumnType::Float | ColumnType::Double));
        let at = self.slots.len();
        if at >= FEW {
            if at == FEW {
                let known = self.slots.iter().enumerate();
                self.by_name = known.map(|(at, slot)| (slot.name.clone(), at)).collect();
            }
            self.by_name.insert(name.clone(), at);
        }
        self.slots.push(Slot {
            name,
            cells: Some(Cells::new(floats)),
            column_type,
            came: false,
            is_numbered: false,
        });
        at
    }

    /// The slot of a column of this name; columns come in the same order in every row, mostly.
    pub(super) fn slot(&mut self, name: Cow<'a, str>) -> usize {
        let guess = self
            .slots
            .get(self.next)
            .filter(|slot| slot.name == name)
            .map(|_| self.next);
        let at = guess.or_else(|| {
            if self.slots.len() <= FEW {
                self.slots.iter().position(|slot| slot.name == name)
            } else {
                self.by_name.get(&name).copied()
            }
        });
        let at = at.unwrap_or_else(|| self.unknown(name));
        self.next = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        at
    }

    /// The slot of the column at a place, where columns have no names.
    pub(super) fn numbered(&mut self, place: usize) -> usize {
        let slot = self.slot(Cow::Owned(place.to_string()));
        self.set_numbered(slot);
        slot
    }

    /// Says that a column's name is a number, unless the signature names it.
    pub(super) fn set_numbered(&mut self, slot: usize) {
        let is_named = matches!(self.signature, Some((_, [Wanted { name: Some(_), .. }, ..])));
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.is_numbered = !is_named;
        }
    }

    /// A new slot for a name that did not come before.
    fn unknown(&mut self, name: Cow<'a, str>) -> usize {
        let arrived = self.slots.len();
        match self.signature {
            // by position
            Some((_, wanted @ [Wanted { name: None, .. }, ..])) if arrived < wanted.len() => {
                let column_type = wanted.get(arrived).map(|column| &column.column_type);
                self.add(name, column_type)
            }
            Some(_) => {
                let at = self.add(name, None);
                if let Some(slot) = self.slots.get_mut(at) {
                    slot.cells = None;
                }
                at
            }
            None => self.add(name, None),
        }
    }

    /// The slots of a list of names, in their order. Errors: a name that comes twice.
    pub(super) fn all(&mut self, names: Vec<Cow<'a, str>>) -> Read<Vec<usize>> {
        let mut slots = Vec::with_capacity(names.len());
        for name in names {
            let at = self.slot(name);
            if let Some(slot) = self.slots.get_mut(at)
                && std::mem::replace(&mut slot.came, true)
            {
                return Err(match self.signature {
                    Some(_) => Fault::at(entry(&slot.name), "comes twice; send it once"),
                    // pandas keeps both
                    None => Fault::needs_runtime(format!("{} comes twice", entry(&slot.name))),
                });
            }
            slots.push(at);
        }
        Ok(slots)
    }

    /// Takes the value of a column in a row; the rows before it that had none get a missing value.
    pub(super) fn value(&mut self, slot: usize, row: usize, reader: &mut Reader<'_>) -> Read<()> {
        let Some(cells) = self.cells(slot, row)? else {
            return reader.skip().map(drop);
        };
        match reader.peek()? {
            b'[' | b'{' => {
                reader.skip()?;
                cells.push_other();
            }
            _ => cells.push(reader.scalar()?),
        }
        Ok(())
    }

    /// The cells of a column, filled up to a row; `None` if the column is left out.
    pub(super) fn cells(&mut self, slot: usize, row: usize) -> Read<Option<&mut Cells>> {
        let Some(Slot {
            name, cells, came, ..
        }) = self.slots.get_mut(slot)
        else {
            return Ok(None);
        };
        *came = true;
        let Some(cells) = cells else {
            return Ok(None);
        };
        if cells.rows() != row {
            if cells.rows() > row {
                return Err(Fault::at(entry(name), format!("comes twice in row {row}")));
            }
            spend(&mut self.missing_left, row - cells.rows())?;
            cells.pad(row);
        }
        Ok(Some(cells))
    }

    /// How many rows a column has so far.
    pub(super) fn rows(&self, slot: usize) -> usize {
        self.slots
            .get(slot)
            .and_then(|slot| slot.cells.as_ref())
            .map_or(0, Cells::rows)
    }

    /// The signature's type of a column.
    pub(super) fn column_type(&self, slot: usize) -> Option<&'a ColumnType> {
        self.slots.get(slot).and_then(|slot| slot.column_type)
    }

    /// Whether the signature leaves a column out.
    pub(super) fn is_ignored(&self, slot: usize) -> bool {
        self.slots.get(slot).is_some_and(|slot| slot.cells.is_none())
    }

    /// The frame of `rows` rows and the names that were left out.
    pub(super) fn finish(mut self, rows: usize) -> Read<(Frame, Vec<String>)> {
        for slot in self.slots.iter_mut().filter(|slot| slot.came) {
            if let Some(cells) = &mut slot.cells {
                spend(&mut self.missing_left, rows.saturating_sub(cells.rows()))?;
                cells.pad(rows);
            }
        }
        let Some((signature, wanted)) = self.signature else {
            let columns = self
                .slots
                .into_iter()
                .filter_map(|slot| Some((slot.name.into_owned(), slot.cells?, slot.is_numbered)));
            let is_typeless = rows == 0 && self.is_packed;
            let columns = columns.map(|(name, cells, is_numbered)| {
                let column = match is_typeless {
                    true => nothing(name)?,
                    false => cells.infer_column(name)?,
                };
                Ok(labelled(column, is_numbered))
            });
            return Ok((Frame::new(columns.collect::<Read<_>>()?)?, Vec::new()));
        };
        let ignored = self
            .slots
            .iter()
            .filter(|slot| slot.cells.is_none())
            .map(|slot| slot.name.clone());
        let ignored: Vec<_> = ignored.map(Cow::into_owned).collect();
        // known slots stand in the order of the signature, by name or by position
        let came = self
            .slots
            .iter()
            .zip(wanted)
            .filter(|(slot, _)| slot.came && slot.cells.is_some());
        let mut inputs: Vec<_> = came
            .map(|(slot, wanted)| describe(slot, &wanted.column_type))
            .collect();
        // those that are left out help to explain what is missing
        inputs.extend(ignored.iter().map(|name| ColumnInput {
            name,
            kind: ColumnKind::Other,
            has_nulls: false,
        }));
        signature.check_columns(&inputs)?;
        let mut columns = Vec::with_capacity(wanted.len());
        for (slot, wanted) in self.slots.into_iter().zip(wanted) {
            if let (true, Some(cells)) = (slot.came, slot.cells) {
                let column = cells.convert(slot.name.into_owned(), &wanted.column_type)?;
                columns.push(labelled(column, slot.is_numbered));
            }
        }
        Ok((Frame::new(columns)?, ignored))
    }
}

/// A column without values, of numpy's type for nothing.
fn nothing(name: String) -> Read<Column> {
    let values = Tensor::new(name, DataType::Fp64, vec![0], Vec::new())?;
    Ok(Column::new(values.inferred()))
}

fn labelled(column: Column, is_numbered: bool) -> Column {
    Column {
        values: column.values.with_number(is_numbered),
        ..column
    }
}

fn spend(left: &mut usize, missing: usize) -> Read<()> {
    *left = left.checked_sub(missing).ok_or_else(|| {
        Fault::at(
            "body",
            "stands for too many missing values; send fewer rows or only columns that have values",
        )
    })?;
    Ok(())
}

fn describe<'s>(slot: &'s Slot<'_>, wanted: &ColumnType) -> ColumnInput<'s> {
    let (kind, has_nulls) = match &slot.cells {
        Some(cells) if cells.rows() != 0 => cells.kind(wanted),
        // no value is no fault
        _ => (fitting(wanted), false),
    };
    ColumnInput {
        name: &slot.name,
        kind,
        has_nulls,
    }
}

fn fitting(wanted: &ColumnType) -> ColumnKind {
    match wanted {
        ColumnType::Boolean => ColumnKind::Boolean,
        ColumnType::Integer | ColumnType::Long => ColumnKind::Integer { min: 0, max: 0 },
        ColumnType::Float | ColumnType::Double => ColumnKind::Float,
        _ => ColumnKind::String,
    }
}

/// Whether a signature holds tensors.
pub(super) fn wants_tensors(signature: Option<&ModelSignature>) -> bool {
    signature
        .and_then(|signature| signature.inputs.as_ref())
        .and_then(Schema::tensors)
        .is_some()
}
