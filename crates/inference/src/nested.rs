//! Nested lists of scalars, which are tensors if they are regular.

use crate::{
    cells::Cells,
    fault::{Fault, Read},
    json::{Reader, Scalar},
    packed::Packed,
};

/// How many dimensions a tensor may have; numpy's bound.
pub(crate) const MAX_DIMENSIONS: usize = 64;

/// What takes the scalars in their order.
pub(crate) trait Sink {
    /// Takes one; `Err` says what is wrong with it.
    fn push(&mut self, scalar: Scalar<'_>) -> Result<(), String>;
}

impl Sink for Packed {
    fn push(&mut self, scalar: Scalar<'_>) -> Result<(), String> {
        Self::push(self, &scalar)
    }
}

impl Sink for Cells {
    fn push(&mut self, scalar: Scalar<'_>) -> Result<(), String> {
        Self::push(self, scalar);
        Ok(())
    }
}

/// A tensor while it is read.
#[derive(Debug)]
pub(crate) struct Nested<S> {
    sink: S,
    /// The length of the lists at each depth, as far as one was closed there.
    dimensions: Vec<Option<usize>>,
    /// The depth at which scalars stand.
    leaves: Option<usize>,
}

impl<S: Sink> Nested<S> {
    /// Nothing read yet.
    pub(crate) fn new(sink: S) -> Self {
        Self {
            sink,
            dimensions: Vec::new(),
            leaves: None,
        }
    }

    /// Takes one value that stands within `depth` lists which the caller walks over. `field` is the path of the tensor.
    /// Errors: lists that are not all of one length or depth, objects, and what the sink refuses.
    pub(crate) fn read(&mut self, reader: &mut Reader<'_>, depth: usize, field: &str) -> Read<()> {
        match reader.peek()? {
            b'[' => {
                if depth == MAX_DIMENSIONS {
                    return Err(Fault::at(
                        field,
                        format!("has more than {MAX_DIMENSIONS} dimensions"),
                    ));
                }
                if self.dimensions.len() <= depth {
                    self.dimensions.resize(depth + 1, None);
                }
                if self.leaves.is_some_and(|leaves| leaves <= depth) {
                    return Err(ragged(field));
                }
                let mut length = 0;
                reader.list(|reader| {
                    length += 1;
                    self.read(reader, depth + 1, field)
                })?;
                self.close(depth, length, field)
            }
            b'{' => Err(Fault::needs_runtime(format!(
                "`{field}` holds objects within lists"
            ))),
            _ => {
                let scalar = reader.scalar()?;
                self.leaf(scalar, depth, field)
            }
        }
    }

    fn leaf(&mut self, scalar: Scalar<'_>, depth: usize, field: &str) -> Read<()> {
        if *self.leaves.get_or_insert(depth) != depth || self.dimensions.len() > depth {
            return Err(ragged(field));
        }
        self.sink.push(scalar).map_err(|why| Fault::at(field, why))
    }

    fn close(&mut self, depth: usize, length: usize, field: &str) -> Read<()> {
        let known = self
            .dimensions
            .get_mut(depth)
            .map(|known| *known.get_or_insert(length));
        if known == Some(length) {
            Ok(())
        } else {
            Err(ragged(field))
        }
    }

    /// Says how long the list at `depth` was that the caller walked over.
    pub(crate) fn close_outer(&mut self, depth: usize, length: usize, field: &str) -> Read<()> {
        if self.dimensions.len() <= depth {
            self.dimensions.resize(depth + 1, None);
        }
        self.close(depth, length, field)
    }

    /// The shape and what took the scalars.
    pub(crate) fn finish(self) -> (Vec<i64>, S) {
        let shape = self
            .dimensions
            .iter()
            .map(|&length| i64::try_from(length.unwrap_or_default()).unwrap_or(i64::MAX));
        (shape.collect(), self.sink)
    }
}

fn ragged(field: &str) -> Fault {
    Fault::at(
        field,
        "is ragged: its lists differ in length or depth; a tensor needs all of one length",
    )
}
