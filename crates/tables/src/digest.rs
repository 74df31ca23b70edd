//! A fingerprint of the data of a table, whatever file holds it.
//!
//! **Version 1.** Each column is hashed on its own, cell after cell in the order of rows, by SHA-256:
//!
//! | cell | bytes |
//! |---|---|
//! | null, NaN | `00` |
//! | false, true | `01`, `02` |
//! | integer of any width up to 2^63 − 1 | `03`, then 8 |
//! | larger integer | `04`, then 8 |
//! | float of any width | `05`, then the 8 of the float of 64 bits |
//! | text, document | `06`, length in 8, UTF-8 |
//! | bytes | `07`, length in 8, the bytes |
//! | time | `08`, then the 8 of milliseconds since 1970 |
//!
//! The digest is the SHA-256 of `lodeway-table-1` and a zero byte, the number of columns and the number of rows in 8 bytes
//! each, and for each column in order the length of its name in 8 bytes, the name and its hash. Numbers are little-endian.
//!
//! So format, compression, row groups and the widths of integers do not matter; names, the order of columns and rows and
//! the kinds of values do: `1` and `1.0` are told apart. A CSV has the digest of the Parquet file it was written from if
//! it is read with the same types.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::{Batch, Column, Result, Schema, TableError, Value, Values};

/// The version of the encoding, which is part of what is hashed.
pub const DIGEST_VERSION: u8 = 1;

const MARK: &[u8] = b"lodeway-table-1\0";

/// The digest of a table's data or of one column: 32 bytes, as text 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DataDigest([u8; 32]);

/// Takes in a table batch by batch.
#[derive(Debug)]
pub struct Digester {
    schema: Schema,
    columns: Vec<Sha256>,
    rows: u64,
    /// Cells on their way to the hash.
    cells: Vec<u8>,
}

impl DataDigest {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for DataDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Digester {
    /// Begins a table of these columns.
    pub fn new(schema: &Schema) -> Self {
        Self {
            schema: schema.clone(),
            columns: vec![Sha256::new(); schema.len()],
            rows: 0,
            cells: Vec::new(),
        }
    }

    /// Takes in the next rows. Errors: other columns than the schema's.
    pub fn add(&mut self, batch: &Batch) -> Result<()> {
        let names = batch.columns().iter().map(Column::name);
        if !names.eq(self.schema.fields().iter().map(|field| &*field.name)) {
            return Err(TableError::invalid("has other columns than before"));
        }
        for (hash, column) in self.columns.iter_mut().zip(batch.columns()) {
            encode(column, &mut self.cells, hash);
        }
        self.rows += batch.rows() as u64;
        Ok(())
    }

    /// The digest of the table, and those of its columns in order.
    pub fn finish(self) -> (DataDigest, Vec<DataDigest>) {
        let columns: Vec<_> = self
            .columns
            .into_iter()
            .map(|hash| DataDigest(hash.finalize().into()))
            .collect();
        let mut hash = Sha256::new();
        hash.update(MARK);
        hash.update((columns.len() as u64).to_le_bytes());
        hash.update(self.rows.to_le_bytes());
        for (field, digest) in self.schema.fields().iter().zip(&columns) {
            hash.update((field.name.len() as u64).to_le_bytes());
            hash.update(field.name.as_bytes());
            hash.update(digest.0);
        }
        (DataDigest(hash.finalize().into()), columns)
    }
}

/// Hashes the cells of a column.
fn encode(column: &Column, cells: &mut Vec<u8>, hash: &mut Sha256) {
    const FULL: usize = 32 << 10;
    let is_time = matches!(column.values(), Values::Int(_)) && column.dtype().int_range().is_none();
    let put = |cells: &mut Vec<u8>, tag: u8, bytes: [u8; 8]| {
        cells.push(tag);
        cells.extend_from_slice(&bytes);
    };
    if column.nulls().is_none() {
        // The columns that are long and plain, without a look at each value's kind.
        match column.values() {
            Values::Int(ints) => {
                let tag = if is_time { 8 } else { 3 };
                return hash_numbers(hash, ints, |int| (tag, int.to_le_bytes()));
            }
            Values::Double(floats) if !floats.iter().any(|float| float.is_nan()) => {
                return hash_numbers(hash, floats, |float| (5, float.to_le_bytes()));
            }
            _ => {}
        }
    }
    for row in 0..column.len() {
        match column.value(row) {
            Value::Null => cells.push(0),
            Value::Bool(flag) => cells.push(1 + u8::from(flag)),
            Value::Int(ms) if is_time => put(cells, 8, ms.to_le_bytes()),
            Value::Int(int) => put(cells, 3, int.to_le_bytes()),
            Value::Uint(int) => put(
                cells,
                if i64::try_from(int).is_ok() { 3 } else { 4 },
                int.to_le_bytes(),
            ),
            Value::Single(float) if float.is_nan() => cells.push(0),
            Value::Double(float) if float.is_nan() => cells.push(0),
            Value::Single(float) => put(cells, 5, f64::from(float).to_le_bytes()),
            Value::Double(float) => put(cells, 5, float.to_le_bytes()),
            Value::Text(text) => {
                put(cells, 6, (text.len() as u64).to_le_bytes());
                cells.extend_from_slice(text.as_bytes());
            }
            Value::Binary(bytes) => {
                put(cells, 7, (bytes.len() as u64).to_le_bytes());
                cells.extend_from_slice(bytes);
            }
        }
        if cells.len() >= FULL {
            hash.update(&*cells);
            cells.clear();
        }
    }
    hash.update(&*cells);
    cells.clear();
}

/// Hashes cells of one kind: a tag and eight bytes each.
fn hash_numbers<T: Copy>(hash: &mut Sha256, values: &[T], cell: impl Fn(T) -> (u8, [u8; 8])) {
    const CELL: usize = 9;
    let mut cells = [0; 512 * CELL];
    for values in values.chunks(512) {
        let (filled, _) = cells.as_chunks_mut::<CELL>();
        for (slot, value) in filled.iter_mut().zip(values) {
            let (tag, bytes) = cell(*value);
            slot[0] = tag;
            slot[1..].copy_from_slice(&bytes);
        }
        hash.update(&cells[..values.len() * CELL]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Field, Texts, Type};

    fn digest(columns: Vec<Column>, cuts: &[usize]) -> String {
        let whole = Batch::new(columns).unwrap();
        let mut digester = Digester::new(&whole.schema());
        for range in cuts.windows(2) {
            let cut = |column: &Column| column.clone().truncated(range[1]).without(range[0]);
            digester
                .add(&Batch::new(whole.columns().iter().map(cut).collect()).unwrap())
                .unwrap();
        }
        digester.finish().0.to_string()
    }

    fn column(dtype: Type, values: Values) -> Column {
        Column::new("x", dtype, values, None).unwrap()
    }

    #[test]
    fn version_1_stays_as_it_is() {
        let texts: Texts = ["a", "", "ü"].into_iter().collect();
        let columns = || {
            vec![
                Column::new(
                    "x",
                    Type::Int8,
                    Values::Int(vec![1, -1, 5]),
                    Some(vec![false, false, true]),
                )
                .unwrap(),
                Column::new("y", Type::Text, Values::Text(texts.clone()), None).unwrap(),
            ]
        };
        let wanted = digest(columns(), &[0, 3]);
        assert_eq!(wanted, VERSION_1);
        assert_eq!(digest(columns(), &[0, 1, 3]), wanted);
    }

    /// Computed by hand from the table above, in Python.
    const VERSION_1: &str = "3456f8382b49e4ac71e76227d19ca773c89d01e33b52b8b97e241bf8e9300900";

    #[test]
    fn what_matters_and_what_does_not() {
        let one = |values, dtype| digest(vec![column(dtype, values)], &[0, 1]);
        let same = [
            one(Values::Int(vec![1]), Type::Int8),
            one(Values::Int(vec![1]), Type::Int64),
            one(Values::Uint(vec![1]), Type::Uint32),
        ];
        assert!(same.iter().all(|digest| *digest == same[0]));
        let different = [
            same[0].clone(),
            one(Values::Double(vec![1.0]), Type::Float64),
            one(Values::Uint(vec![u64::MAX]), Type::Uint64),
            one(Values::Int(vec![-1]), Type::Int64),
            one(Values::Int(vec![1]), Type::Timestamp { is_utc: true }),
            one(Values::Bool(vec![true]), Type::Bool),
            one(Values::Double(vec![f64::NAN]), Type::Float64),
            one(Values::Double(vec![-0.0]), Type::Float64),
            one(Values::Double(vec![0.0]), Type::Float64),
        ];
        let unique: std::collections::HashSet<_> = different.iter().collect();
        assert_eq!(unique.len(), different.len());
        assert_eq!(
            one(Values::Single(vec![0.5]), Type::Float32),
            one(Values::Double(vec![0.5]), Type::Float64)
        );
    }

    #[test]
    fn other_columns_are_refused() {
        let field = Field {
            name: "y".into(),
            dtype: Type::Bool,
            is_nullable: false,
        };
        let mut digester = Digester::new(&Schema::new(vec![field]).unwrap());
        let batch = Batch::new(vec![column(Type::Bool, Values::Bool(vec![true]))]).unwrap();
        assert!(digester.add(&batch).is_err());
    }
}
