//! The columns of a Parquet file and what they are read as.

use std::{collections::HashMap, sync::Arc};

use arrow_schema::{DataType, Field, Fields, TimeUnit};
use parquet::{
    arrow::{FieldLevels, parquet_to_arrow_schema},
    basic::Type as Physical,
    file::metadata::ParquetMetaData,
};

use super::levels_of;
use crate::{MAX_COLUMNS, Result, TableError, arrow::Plan, guard::guarded};

/// The longest byte string of a fixed length.
const LONGEST_FIXED: i32 = 1 << 20;

/// The top-level columns of a file.
pub(super) struct File {
    /// As they are decoded.
    fields: Fields,
    /// As whoever wrote the file thought of them, where that can be read.
    written: HashMap<String, DataType>,
}

impl File {
    pub(super) fn of(metadata: &ParquetMetaData) -> Result<Self> {
        let file = metadata.file_metadata();
        let schema = file.schema_descr();
        if schema.num_columns() > MAX_COLUMNS {
            let why = format!(
                "has {} columns; at most {MAX_COLUMNS} are read",
                schema.num_columns()
            );
            return Err(TableError::too_large(why));
        }
        // the types that the file itself states: what it says about its writer's types is not to be trusted
        let stated = guarded("has columns that cannot be read", || {
            parquet_to_arrow_schema(schema, None)
        })?;
        let written = guarded("", || parquet_to_arrow_schema(schema, file.key_value_metadata()));
        let written: HashMap<_, _> = written
            .map(|written| {
                let fields = written.fields.iter();
                fields
                    .map(|field| (field.name().clone(), field.data_type().clone()))
                    .collect()
            })
            .unwrap_or_default();
        let mut physical = HashMap::new();
        for leaf in 0..schema.num_columns() {
            let column = schema.column(leaf);
            if column.type_length() > LONGEST_FIXED {
                let why = format!("has byte strings of {} bytes", column.type_length());
                return Err(TableError::in_column(column.name(), why));
            }
            if column.path().parts().len() == 1 {
                physical.insert(schema.get_column_root_idx(leaf), column.physical_type());
            }
        }
        let fields = stated.fields.iter().enumerate().map(|(root, field)| {
            let dtype = match (field.data_type(), written.get(field.name()), physical.get(&root)) {
                // types that Parquet has no word for
                (DataType::Int64, Some(hint @ (DataType::Timestamp(..) | DataType::Date64)), _) => {
                    hint.clone()
                }
                // nanoseconds would end in the year 2262
                (DataType::Timestamp(..), _, Some(Physical::INT96)) => {
                    DataType::Timestamp(TimeUnit::Millisecond, None)
                }
                (dtype, _, _) => as_views(dtype),
            };
            Arc::new(field.as_ref().clone().with_data_type(dtype))
        });
        Ok(Self {
            fields: fields.collect(),
            written,
        })
    }

    /// What to read of the columns of these names, all if none are given. Errors: a name that does not exist, a type that
    /// is not read.
    pub(super) fn plan(&self, names: Option<&[String]>) -> Result<Plan> {
        let plan = Plan::of(&self.fields, names)?;
        for (_, name) in plan.columns() {
            if let Some(DataType::Duration(_)) = self.written.get(name) {
                return Err(Plan::refused(name, "durations"));
            }
        }
        Ok(plan)
    }

    pub(super) fn levels(&self, metadata: &ParquetMetaData, roots: &[usize]) -> Result<FieldLevels> {
        levels_of(metadata, roots, &self.fields)
    }
}

/// Texts and bytes as views: values that repeat are then not copied while rows are decoded.
fn as_views(dtype: &DataType) -> DataType {
    let field = |field: &Arc<Field>| {
        let dtype = as_views(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(dtype))
    };
    match dtype {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::List(item) => DataType::List(field(item)),
        DataType::LargeList(item) => DataType::LargeList(field(item)),
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(field(item), *length),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(field(entries), *sorted),
        other => other.clone(),
    }
}
