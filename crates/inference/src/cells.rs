//! One column or tensor whose type is known only when all its values were seen.

use lodeway_domain::{
    Error,
    signature::{ColumnKind, ColumnType, DataType},
};

use crate::{
    Column, Tensor,
    fault::{Fault, Read, entry},
    json::Scalar,
    packed::{Packed, decode_base64},
};

/// Whole numbers up to this size are exact as floats of 64 bits.
const EXACT: i128 = 1 << f64::MANTISSA_DIGITS;
/// The same for floats of 32 bits.
const EXACT_IN_SINGLE: u128 = 1 << f32::MANTISSA_DIGITS;

/// The values so far, packed as the narrowest of INT64, FP64, BOOL and BYTES that holds them.
///
/// Null and NaN are the same, a missing value, as in pandas.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    lane: Lane,
    data: Vec<u8>,
    rows: usize,
    /// One flag a row as far as the last null; shorter than `rows` if none follows.
    nulls: Vec<bool>,
    /// Least and greatest of the numbers without a point.
    least: i64,
    greatest: i64,
    /// The same of those beyond 64 bits.
    wide: Option<(i128, i128)>,
    /// The first of them that a float of 32 bits rounds, and the first that one of 64 bits does.
    rounded: [Option<i128>; 2],
    /// Whether a number with a point came.
    has_points: bool,
    /// Whether a number without one came.
    has_whole: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// Nothing but nulls; no data yet.
    #[default]
    Empty,
    Int,
    Float,
    Bool,
    Text,
    /// Values that share no type; no data any more.
    Mixed,
}

impl Cells {
    /// No values yet. With `floats` numbers are packed as FP64 from the start, which saves a pass.
    pub(crate) fn new(floats: bool) -> Self {
        Self {
            lane: if floats { Lane::Float } else { Lane::Empty },
            least: i64::MAX,
            greatest: i64::MIN,
            ..Self::default()
        }
    }

    /// Makes floats of nothing but missing values, as pandas does for an empty column of a CSV.
    pub(crate) fn default_to_floats(&mut self) {
        if self.lane == Lane::Empty {
            self.lane = Lane::Float;
            self.fill(self.rows);
        }
    }

    /// How many values there are.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Takes a value.
    pub(crate) fn push(&mut self, scalar: Scalar<'_>) {
        match scalar {
            Scalar::Int(value) => {
                self.least = self.least.min(value);
                self.greatest = self.greatest.max(value);
                self.note_whole(value.into());
                match self.enter(Lane::Int) {
                    Lane::Int => self.data.extend(value.to_le_bytes()),
                    Lane::Float => self.data.extend((value as f64).to_le_bytes()),
                    _ => self.mix(),
                }
            }
            Scalar::Float(value) if value.is_nan() => return self.push_null(),
            Scalar::Float(value) => {
                self.has_points = true;
                self.push_float(value);
            }
            Scalar::Wide(value) => {
                let (least, greatest) = self.wide.unwrap_or((value, value));
                self.wide = Some((least.min(value), greatest.max(value)));
                self.note_whole(value);
                self.push_float(value as f64);
            }
            Scalar::Bool(value) => match self.enter(Lane::Bool) {
                Lane::Bool => self.data.push(value.into()),
                _ => self.mix(),
            },
            Scalar::Text(text) => return self.push_text(&text),
            Scalar::Null => return self.push_null(),
        }
        self.rows += 1;
    }

    fn note_whole(&mut self, value: i128) {
        self.has_whole = true;
        if value.unsigned_abs() > EXACT_IN_SINGLE {
            let rounds = [(value as f32) as i128 != value, (value as f64) as i128 != value];
            for (first, rounds) in self.rounded.iter_mut().zip(rounds) {
                *first = first.or(rounds.then_some(value));
            }
        }
    }

    fn push_float(&mut self, value: f64) {
        match self.enter(Lane::Float) {
            Lane::Float => self.data.extend(value.to_le_bytes()),
            _ => self.mix(),
        }
    }

    /// Takes a text.
    pub(crate) fn push_text(&mut self, text: &str) {
        match (self.enter(Lane::Text), u32::try_from(text.len())) {
            (Lane::Text, Ok(length)) => {
                self.data.extend(length.to_le_bytes());
                self.data.extend(text.as_bytes());
            }
            _ => self.mix(),
        }
        self.rows += 1;
    }

    /// Takes a list or a record, of which nothing is kept.
    pub(crate) fn push_other(&mut self) {
        self.mix();
        self.rows += 1;
    }

    /// Takes a missing value.
    pub(crate) fn push_null(&mut self) {
        self.nulls.resize(self.rows, false);
        self.nulls.push(true);
        self.fill(1);
        self.rows += 1;
    }

    /// Adds missing values until there are `rows`.
    pub(crate) fn pad(&mut self, rows: usize) {
        if rows > self.rows {
            self.nulls.resize(self.rows, false);
            self.nulls.resize(rows, true);
            self.fill(rows - self.rows);
            self.rows = rows;
        }
    }

    /// The bytes that stand where `count` values are missing.
    fn fill(&mut self, count: usize) {
        let to = |size: usize| self.data.len() + size * count;
        match self.lane {
            Lane::Empty | Lane::Mixed => {}
            Lane::Int => self.data.resize(to(8), 0),
            Lane::Float => self
                .data
                .extend(std::iter::repeat_n(f64::NAN.to_le_bytes(), count).flatten()),
            Lane::Bool => self.data.resize(to(1), 0),
            Lane::Text => self.data.resize(to(4), 0),
        }
    }

    /// Goes over to the lane that holds what is there and what comes next, and returns it.
    fn enter(&mut self, next: Lane) -> Lane {
        match (self.lane, next) {
            (now, next) if now == next => {}
            (Lane::Empty, _) => {
                self.lane = next;
                self.fill(self.rows);
            }
            (Lane::Float, Lane::Int) => {}
            (Lane::Int, Lane::Float) => {
                self.lane = Lane::Float;
                self.floats_from_ints();
            }
            // hinted as floats, and nothing but nulls came so far
            (Lane::Float, _) if !self.has_whole && !self.has_points => {
                self.data.clear();
                self.lane = next;
                self.fill(self.rows);
            }
            _ => self.lane = Lane::Mixed,
        }
        self.lane
    }

    fn mix(&mut self) {
        self.lane = Lane::Mixed;
        self.data.clear();
    }

    fn floats_from_ints(&mut self) {
        let (elements, _) = self.data.as_chunks_mut::<8>();
        for (at, element) in elements.iter_mut().enumerate() {
            let is_null = self.nulls.get(at).is_some_and(|&null| null);
            let value = if is_null {
                f64::NAN
            } else {
                i64::from_le_bytes(*element) as f64
            };
            *element = value.to_le_bytes();
        }
    }

    fn has_nulls(&self) -> bool {
        !self.nulls.is_empty()
    }

    /// What the values are, for the check against a column of `wanted`.
    ///
    /// `1.0` counts as whole where whole numbers are wanted: pandas writes it for a whole number in a column of floats.
    pub(crate) fn kind(&self, wanted: &ColumnType) -> (ColumnKind, bool) {
        let kind = match self.lane {
            Lane::Float if !self.has_whole && !self.has_points => ColumnKind::Null,
            Lane::Empty => ColumnKind::Null,
            Lane::Bool => ColumnKind::Boolean,
            Lane::Text => ColumnKind::String,
            Lane::Mixed => ColumnKind::Other,
            Lane::Float if self.has_points => match wanted {
                ColumnType::Integer | ColumnType::Long => self
                    .whole_range()
                    .map_or(ColumnKind::Float, |(min, max)| ColumnKind::Integer { min, max }),
                _ => ColumnKind::Float,
            },
            Lane::Int | Lane::Float => {
                let [single, double] = self.rounded.map(|first| first.map(|value| (value, value)));
                // Whole numbers that the column holds as they are count as floats, however large.
                let range = match wanted {
                    ColumnType::Float => single,
                    ColumnType::Double => double,
                    _ => Some(self.range()),
                };
                range.map_or(ColumnKind::Float, |(min, max)| ColumnKind::Integer { min, max })
            }
        };
        (kind, self.has_nulls())
    }

    /// Least and greatest of the numbers without a point.
    fn range(&self) -> (i128, i128) {
        let (least, greatest) = (i128::from(self.least), i128::from(self.greatest));
        match self.wide {
            Some((wide_least, wide_greatest)) => (least.min(wide_least), greatest.max(wide_greatest)),
            None => (least, greatest),
        }
    }

    /// Least and greatest of floats that are all whole and exact.
    fn whole_range(&self) -> Option<(i128, i128)> {
        let mut range: Option<(i128, i128)> = None;
        let (elements, _) = self.data.as_chunks::<8>();
        for value in elements
            .iter()
            .map(|element| f64::from_le_bytes(*element))
            .filter(|value| !value.is_nan())
        {
            let whole = (value.fract() == 0.0 && value.abs() <= EXACT as f64).then_some(value as i128)?;
            range = Some(range.map_or((whole, whole), |(least, greatest)| {
                (least.min(whole), greatest.max(whole))
            }));
        }
        range
    }

    /// The values in the type that pandas infers. Errors: what pandas keeps as Python objects has to be passed on.
    pub(crate) fn infer_column(mut self, name: String) -> Read<Column> {
        let objects = |what: &str| {
            Err(Fault::needs_runtime(format!(
                "{} holds {what}, which have no type of their own",
                entry(&name)
            )))
        };
        match self.lane {
            Lane::Int if self.has_nulls() => {
                self.floats_from_ints();
                self.lane = Lane::Float;
            }
            Lane::Bool if self.has_nulls() => return objects("booleans and nulls"),
            Lane::Mixed => return objects("lists, records or mixed values"),
            Lane::Empty => return objects("no values or only nulls"),
            Lane::Float if !self.has_points && self.wide.is_some() => {
                return objects("whole numbers beyond 64 bits");
            }
            _ => {}
        }
        let datatype = self.datatype();
        let column = self.column(name, datatype)?;
        Ok(Column {
            values: column.values.inferred(),
            ..column
        })
    }

    /// The values as a tensor of the type that numpy infers. Errors: what numpy keeps as Python objects is passed on.
    pub(crate) fn infer_tensor(self, name: String, shape: Vec<i64>) -> Read<Tensor> {
        if self.has_nulls() && self.lane != Lane::Float {
            return Err(Fault::needs_runtime(format!("{} holds nulls", entry(&name))));
        }
        if self.rows == 0 {
            // numpy's type for nothing
            return Ok(Tensor::new(name, DataType::Fp64, shape, Vec::new())?.inferred());
        }
        let column = self.infer_column(name)?;
        Ok(column.values.reshaped(shape)?)
    }

    fn datatype(&self) -> DataType {
        match self.lane {
            Lane::Int => DataType::Int64,
            Lane::Bool => DataType::Bool,
            Lane::Text => DataType::Bytes,
            Lane::Float | Lane::Empty | Lane::Mixed => DataType::Fp64,
        }
    }

    /// The data as they are, in the lane's own type; flags only where the element itself does not say "missing".
    fn column(self, name: String, datatype: DataType) -> Read<Column> {
        let nulls = (datatype != DataType::Fp64 && self.has_nulls()).then(|| {
            let mut nulls = self.nulls;
            nulls.resize(self.rows, false);
            nulls
        });
        let rows = i64::try_from(self.rows).unwrap_or(i64::MAX);
        Ok(Column {
            values: Tensor::new(name, datatype, vec![rows], self.data)?,
            nulls,
        })
    }

    /// The values as a column of the signature whose check they passed.
    pub(crate) fn convert(mut self, name: String, wanted: &ColumnType) -> Read<Column> {
        let Some(datatype) = wanted.datatype() else {
            return Err(Fault::needs_runtime(format!(
                "{} is `{}`",
                entry(&name),
                wanted.as_str()
            )));
        };
        let only_nulls =
            self.lane == Lane::Empty || !self.has_whole && !self.has_points && self.lane == Lane::Float;
        if only_nulls {
            self.data.clear();
            self.lane = match datatype {
                DataType::Bool => Lane::Bool,
                DataType::Bytes => Lane::Text,
                DataType::Int32 | DataType::Int64 => Lane::Int,
                _ => Lane::Float,
            };
            self.fill(self.rows);
        }
        let unexpected =
            || Error::invalid(entry(&name), format!("does not convert to `{}`", wanted.as_str()));
        match (self.lane, datatype) {
            (Lane::Int, DataType::Fp32 | DataType::Fp64) => {
                self.floats_from_ints();
                self.lane = Lane::Float;
            }
            (Lane::Float, DataType::Int32 | DataType::Int64) => self.ints_from_floats(),
            _ => {}
        }
        let (elements, _) = self.data.as_chunks::<8>();
        match (self.lane, datatype) {
            (Lane::Int, DataType::Int32) => {
                let narrow = |element: &[u8; 8]| i32::try_from(i64::from_le_bytes(*element));
                let narrow: Result<Vec<_>, _> = elements.iter().map(narrow).collect();
                let narrow = narrow.map_err(|_| unexpected())?;
                self.data = narrow.iter().flat_map(|value| value.to_le_bytes()).collect();
            }
            (Lane::Float, DataType::Fp32) => {
                let narrow = |element: &[u8; 8]| (f64::from_le_bytes(*element) as f32).to_le_bytes();
                self.data = elements.iter().flat_map(narrow).collect();
                self.nulls.clear();
            }
            (Lane::Text, DataType::Bytes) if *wanted == ColumnType::Binary => self.decode(&name)?,
            (Lane::Int, DataType::Int64)
            | (Lane::Float, DataType::Fp64)
            | (Lane::Bool, DataType::Bool)
            | (Lane::Text, DataType::Bytes) => {}
            _ => return Err(unexpected().into()),
        }
        self.column(name, datatype)
    }

    /// Whole floats as integers; the check saw that they are exact.
    fn ints_from_floats(&mut self) {
        let (elements, _) = self.data.as_chunks_mut::<8>();
        for element in elements {
            *element = (f64::from_le_bytes(*element) as i64).to_le_bytes();
        }
        self.lane = Lane::Int;
    }

    /// Texts of base64 as the bytes they stand for.
    fn decode(&mut self, name: &str) -> Read<()> {
        let texts = Tensor::new(
            name,
            DataType::Bytes,
            vec![i64::try_from(self.rows).unwrap_or(i64::MAX)],
            std::mem::take(&mut self.data),
        )?;
        let mut packed = Packed::new(DataType::Bytes, false);
        for text in texts.texts() {
            let text = std::str::from_utf8(&text).unwrap_or_default();
            let element = decode_base64(text).map_err(|why| Fault::at(entry(name), why))?;
            packed
                .push_bytes(&element)
                .map_err(|why| Fault::at(entry(name), why))?;
        }
        self.data = packed.into_data();
        Ok(())
    }
}
