//! Texts and bytes one after the other in one piece of memory.

/// Texts, one a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts {
    /// Where each text ends.
    ends: Vec<usize>,
    data: String,
}

/// Byte strings, one a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blobs {
    ends: Vec<usize>,
    data: Vec<u8>,
}

macro_rules! packed {
    ($name:ident, $item:ty, $push:ident) => {
        impl $name {
            /// Adds one.
            pub fn push(&mut self, item: &$item) {
                self.data.$push(item);
                self.ends.push(self.data.len());
            }

            /// The one of a row.
            pub fn get(&self, row: usize) -> Option<&$item> {
                let end = *self.ends.get(row)?;
                self.data.get(self.start(row)..end)
            }

            /// How many there are.
            pub fn len(&self) -> usize {
                self.ends.len()
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.ends.is_empty()
            }

            /// All of them, in order.
            pub fn iter(&self) -> impl Iterator<Item = &$item> {
                (0..self.len()).filter_map(|row| self.get(row))
            }

            /// What these take in memory.
            pub fn size_bytes(&self) -> usize {
                self.data.len() + self.ends.len() * size_of::<usize>()
            }

            /// Keeps the first `rows`.
            pub(crate) fn truncate(&mut self, rows: usize) {
                self.ends.truncate(rows);
                self.data
                    .truncate(self.ends.last().copied().unwrap_or_default());
            }

            /// Empties those that are null.
            pub(crate) fn blank(&mut self, nulls: &[bool]) {
                let is_blank = |row: usize| self.ends.get(row) == Some(&self.start(row));
                if (0..self.len()).all(|row| nulls.get(row) != Some(&true) || is_blank(row)) {
                    return;
                }
                let mut blanked = Self::default();
                for (row, item) in self.iter().enumerate() {
                    blanked.push(if nulls.get(row) == Some(&true) {
                        Default::default()
                    } else {
                        item
                    });
                }
                *self = blanked;
            }

            fn start(&self, row: usize) -> usize {
                row.checked_sub(1)
                    .and_then(|before| self.ends.get(before))
                    .copied()
                    .unwrap_or_default()
            }
        }

        impl<T: AsRef<$item>> FromIterator<T> for $name {
            fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
                let mut packed = Self::default();
                items
                    .into_iter()
                    .for_each(|item| packed.push(item.as_ref()));
                packed
            }
        }
    };
}

packed!(Texts, str, push_str);
packed!(Blobs, [u8], extend_from_slice);

impl Texts {
    /// Adds a text that `write` appends.
    pub(crate) fn push_with(&mut self, write: impl FnOnce(&mut String)) {
        write(&mut self.data);
        self.ends.push(self.data.len());
    }

    /// How many bytes the texts have together.
    pub(crate) fn bytes(&self) -> usize {
        self.data.len()
    }
}
