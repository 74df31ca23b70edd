//! Arrow's arrays: what they are read as, and its own file format.

mod convert;
mod decimal;
mod ipc;
mod json;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Fields};

pub(crate) use self::ipc::Arrow;
use crate::{Batch, Field, Result, Schema, TableError, Type, options::TARGET_BYTES};

/// Which columns of a file are read, and as what.
#[derive(Debug)]
pub(crate) struct Plan {
    schema: Schema,
    /// For each column its place among those of the file, and among those that are decoded.
    places: Vec<(usize, usize)>,
}

/// A decoded record batch that is given out piece by piece.
pub(crate) struct Part {
    rows: RecordBatch,
    from: usize,
}

impl Plan {
    /// The columns of these names in their order, or all. Errors: a name that does not exist or comes twice, a type that
    /// is not read.
    pub(crate) fn of(fields: &Fields, names: Option<&[String]>) -> Result<Self> {
        let roots = match names {
            None => (0..fields.len()).collect(),
            Some(names) => {
                let find = |name: &String| {
                    let root = fields.iter().position(|field| field.name() == name);
                    root.ok_or_else(|| TableError::in_column(name, "does not exist"))
                };
                names.iter().map(find).collect::<Result<Vec<_>>>()?
            }
        };
        let mut read = Vec::with_capacity(roots.len());
        for field in roots.iter().filter_map(|&root| fields.get(root)) {
            let name = field.name().as_str();
            read.push(Field {
                name: name.into(),
                dtype: type_of(field.data_type()).map_err(|what| Self::refused(name, what))?,
                is_nullable: field.is_nullable(),
            });
        }
        let schema = Schema::new(read)?;
        // libraries decode columns in the order of the file
        let mut sorted = roots.clone();
        sorted.sort_unstable();
        let rank = |root: usize| sorted.partition_point(|&other| other < root);
        let places = roots.iter().map(|&root| (root, rank(root))).collect();
        Ok(Self { schema, places })
    }

    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The places among the columns of the file, ascending.
    pub(crate) fn roots(&self) -> Vec<usize> {
        let mut roots: Vec<_> = self.places.iter().map(|&(root, _)| root).collect();
        roots.sort_unstable();
        roots
    }

    /// Place in the file and name of each column.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (usize, &str)> {
        let fields = self.schema.fields().iter();
        self.places
            .iter()
            .zip(fields)
            .map(|(&(root, _), field)| (root, &*field.name))
    }

    pub(crate) fn refused(name: &str, what: &str) -> TableError {
        TableError::in_column(
            name,
            format!("holds {what}, which are not read; leave it out or convert it"),
        )
    }
}

impl Part {
    pub(crate) fn new(rows: RecordBatch) -> Self {
        Self { rows, from: 0 }
    }

    /// The same from a row on.
    pub(crate) fn from(rows: RecordBatch, from: usize) -> Self {
        Self { rows, from }
    }

    /// The next rows, at most `most` and about [`TARGET_BYTES`], but at least one; `None` at the end.
    pub(crate) fn next(&mut self, plan: &Plan, most: usize) -> Result<Option<Batch>> {
        let left = self.rows.num_rows().saturating_sub(self.from);
        if left == 0 {
            return Ok(None);
        }
        let mut rows = left.min(most.max(1));
        let arrays = self.rows.slice(self.from, rows);
        let fields = || plan.places.iter().zip(plan.schema.fields());
        let array = |at: usize| arrays.columns().get(at).map(|array| array.as_ref() as &dyn Array);
        let columns: Vec<_> = fields()
            .filter_map(|((_, at), field)| Some((field, array(*at)?)))
            .collect();
        let target = usize::try_from(TARGET_BYTES).unwrap_or(usize::MAX);
        rows = convert::rows_within(columns.iter().map(|(_, array)| *array), rows, target);
        let mut converted = Vec::with_capacity(columns.len());
        for (field, array) in columns {
            let column = convert::column(&field.name, field.dtype, &array.slice(0, rows), target)?;
            // of documents it shows only now how many fit
            rows = rows.min(column.len());
            converted.push(column);
        }
        if converted.len() != plan.places.len() {
            return Err(TableError::invalid("has not all columns"));
        }
        let columns = converted
            .into_iter()
            .map(|column| column.truncated(rows))
            .collect();
        self.from += rows;
        Ok(Some(Batch::unchecked(columns, rows)))
    }
}

/// What a type of Arrow is read as; the error says what it is.
fn type_of(dtype: &DataType) -> Result<Type, &'static str> {
    Ok(match dtype {
        DataType::Boolean => Type::Bool,
        DataType::Int8 => Type::Int8,
        DataType::Int16 => Type::Int16,
        DataType::Int32 => Type::Int32,
        DataType::Int64 => Type::Int64,
        DataType::UInt8 => Type::Uint8,
        DataType::UInt16 => Type::Uint16,
        DataType::UInt32 => Type::Uint32,
        DataType::UInt64 => Type::Uint64,
        DataType::Float16 => Type::Float16,
        DataType::Float32 => Type::Float32,
        DataType::Float64
        | DataType::Null
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => Type::Float64,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Type::Text,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            Type::Binary
        }
        DataType::Timestamp(_, zone) => Type::Timestamp {
            is_utc: zone.is_some(),
        },
        DataType::Date32 | DataType::Date64 => Type::Timestamp { is_utc: false },
        DataType::Dictionary(_, values) => match values.as_ref() {
            DataType::Dictionary(..) => return Err("categories of categories"),
            values => type_of(values)?,
        },
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            nested(std::iter::once(item))?
        }
        DataType::Struct(fields) => nested(fields.iter())?,
        DataType::Map(entries, _) => nested(std::iter::once(entries))?,
        DataType::Time32(_) | DataType::Time64(_) => return Err("times of day"),
        DataType::Duration(_) => return Err("durations"),
        DataType::Interval(_) => return Err("intervals"),
        DataType::Union(..) => return Err("unions"),
        _ => return Err("values of a rare encoding"),
    })
}

fn nested<'a>(mut fields: impl Iterator<Item = &'a Arc<arrow_schema::Field>>) -> Result<Type, &'static str> {
    fields.try_for_each(|field| type_of(field.data_type()).map(drop))?;
    Ok(Type::Json)
}
