//! Writes Parquet.

use std::{io::Write, sync::Arc};

use arrow_array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, PrimitiveArray, RecordBatch, RecordBatchOptions,
    StringArray,
    types::{
        Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
        TimestampMillisecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field, Schema as ArrowSchema, TimeUnit};
use half::f16;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression as Codec, ZstdLevel},
    errors::ParquetError,
    file::{metadata::KeyValue, properties::WriterProperties},
};

use super::{Compression, Counted, WriteOptions};
use crate::{Column, Result, Schema, TableError, Type, Values};

const UTC: &str = "UTC";
/// The offsets of a column have 31 bits.
const LONGEST: usize = i32::MAX as usize;
/// Rows are handed on in pieces, so that a row group ends close to its bound.
const PIECE_ROWS: usize = 8192;

pub(super) struct Parquet<W: Write + Send> {
    writer: ArrowWriter<W>,
    schema: Arc<ArrowSchema>,
}

impl<W: Write + Send> Parquet<W> {
    pub(super) fn new(out: W, schema: &Schema, options: &WriteOptions) -> Result<Self> {
        let fields = schema.fields().iter();
        let fields = fields.map(|field| Field::new(&*field.name, dtype_of(field.dtype), field.is_nullable));
        let schema = Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()));
        let notes = options
            .notes
            .iter()
            .map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        let codec = match options.compression {
            Compression::None => Codec::UNCOMPRESSED,
            Compression::Snappy => Codec::SNAPPY,
            Compression::Zstd => Codec::ZSTD(ZstdLevel::default()),
        };
        let properties = WriterProperties::builder()
            .set_created_by("lodeway".to_owned())
            .set_compression(codec)
            .set_max_row_group_row_count(Some(options.group_rows.max(1)))
            .set_max_row_group_bytes(Some(options.group_bytes.max(1)))
            .set_key_value_metadata(Some(notes.collect()))
            .build();
        let writer = ArrowWriter::try_new(out, schema.clone(), Some(properties)).map_err(failed)?;
        Ok(Self { writer, schema })
    }

    pub(super) fn write(&mut self, columns: &[&Column], rows: usize) -> Result<()> {
        let arrays = columns
            .iter()
            .map(|column| array(column))
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options);
        let batch = batch.map_err(|error| TableError::invalid(error.to_string()))?;
        for from in (0..rows).step_by(PIECE_ROWS) {
            let piece = batch.slice(from, PIECE_ROWS.min(rows - from));
            self.writer.write(&piece).map_err(failed)?;
        }
        Ok(())
    }
}

impl<W: Write + Send> Parquet<Counted<W>> {
    /// The number of row groups and the length of the file.
    pub(super) fn finish(mut self) -> Result<(u64, u64)> {
        let metadata = self.writer.finish().map_err(failed)?;
        let out = self.writer.inner_mut();
        out.flush()?;
        Ok((metadata.num_row_groups() as u64, out.bytes))
    }
}

fn failed(error: ParquetError) -> TableError {
    match error {
        ParquetError::External(cause) => match cause.downcast::<std::io::Error>() {
            Ok(error) => TableError::Io(*error),
            Err(other) => TableError::Io(std::io::Error::other(other)),
        },
        other => TableError::Io(std::io::Error::other(other)),
    }
}

fn dtype_of(dtype: Type) -> DataType {
    match dtype {
        Type::Bool => DataType::Boolean,
        Type::Int8 => DataType::Int8,
        Type::Int16 => DataType::Int16,
        Type::Int32 => DataType::Int32,
        Type::Int64 => DataType::Int64,
        Type::Uint8 => DataType::UInt8,
        Type::Uint16 => DataType::UInt16,
        Type::Uint32 => DataType::UInt32,
        Type::Uint64 => DataType::UInt64,
        Type::Float16 => DataType::Float16,
        Type::Float32 => DataType::Float32,
        Type::Float64 => DataType::Float64,
        Type::Text | Type::Json => DataType::Utf8,
        Type::Binary => DataType::Binary,
        Type::Timestamp { is_utc } => DataType::Timestamp(TimeUnit::Millisecond, is_utc.then(|| UTC.into())),
    }
}

fn array(column: &Column) -> Result<ArrayRef> {
    let nulls = column
        .nulls()
        .map(|nulls| nulls.iter().map(|null| !null).collect::<NullBuffer>());
    // numbers are within the width of their type
    Ok(match (column.values(), column.dtype()) {
        (Values::Bool(flags), _) => Arc::new(BooleanArray::new(BooleanBuffer::from(flags.as_slice()), nulls)),
        (Values::Int(ints), Type::Int8) => numbers::<Int8Type, _>(ints, nulls, |int| int as i8),
        (Values::Int(ints), Type::Int16) => numbers::<Int16Type, _>(ints, nulls, |int| int as i16),
        (Values::Int(ints), Type::Int32) => numbers::<Int32Type, _>(ints, nulls, |int| int as i32),
        (Values::Int(ints), Type::Timestamp { is_utc }) => {
            let values = ScalarBuffer::from(ints.clone());
            let times = PrimitiveArray::<TimestampMillisecondType>::new(values, nulls);
            Arc::new(times.with_timezone_opt(is_utc.then_some(UTC)))
        }
        (Values::Int(ints), _) => numbers::<Int64Type, _>(ints, nulls, |int| int),
        (Values::Uint(ints), Type::Uint8) => numbers::<UInt8Type, _>(ints, nulls, |int| int as u8),
        (Values::Uint(ints), Type::Uint16) => numbers::<UInt16Type, _>(ints, nulls, |int| int as u16),
        (Values::Uint(ints), Type::Uint32) => numbers::<UInt32Type, _>(ints, nulls, |int| int as u32),
        (Values::Uint(ints), _) => numbers::<UInt64Type, _>(ints, nulls, |int| int),
        (Values::Single(floats), Type::Float16) => numbers::<Float16Type, _>(floats, nulls, f16::from_f32),
        (Values::Single(floats), _) => numbers::<Float32Type, _>(floats, nulls, |float| float),
        (Values::Double(floats), _) => numbers::<Float64Type, _>(floats, nulls, |float| float),
        (Values::Text(texts), _) => {
            let (offsets, data) = packed(column, texts.iter().map(str::as_bytes))?;
            let array = StringArray::try_new(offsets, data, nulls);
            Arc::new(array.map_err(|error| TableError::in_column(column.name(), error.to_string()))?)
        }
        (Values::Binary(blobs), _) => {
            let (offsets, data) = packed(column, blobs.iter())?;
            let array = BinaryArray::try_new(offsets, data, nulls);
            Arc::new(array.map_err(|error| TableError::in_column(column.name(), error.to_string()))?)
        }
    })
}

fn numbers<A: ArrowPrimitiveType, N: Copy>(
    values: &[N],
    nulls: Option<NullBuffer>,
    convert: impl Fn(N) -> A::Native,
) -> ArrayRef {
    let values: Vec<A::Native> = values.iter().map(|&value| convert(value)).collect();
    Arc::new(PrimitiveArray::<A>::new(values.into(), nulls))
}

fn packed<'a>(column: &Column, items: impl Iterator<Item = &'a [u8]>) -> Result<(OffsetBuffer<i32>, Buffer)> {
    let (mut offsets, mut data) = (vec![0_i32], Vec::new());
    for item in items {
        data.extend_from_slice(item);
        match i32::try_from(data.len()) {
            Ok(end) => offsets.push(end),
            Err(_) => {
                let why = format!("has more than {LONGEST} bytes in one batch; write smaller ones");
                return Err(TableError::TooLarge(crate::Fault::new(why).column(column.name())));
            }
        }
    }
    Ok((OffsetBuffer::new(offsets.into()), data.into()))
}
