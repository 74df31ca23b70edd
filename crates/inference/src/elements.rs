//! The elements of a tensor one after the other.

use lodeway_domain::signature::DataType;

use crate::{Tensor, half};

/// One element, in the widest type of its family.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Element<'a> {
    /// BOOL.
    Bool(bool),
    /// INT8 to INT64.
    Int(i64),
    /// UINT8 to UINT64.
    Uint(u64),
    /// FP32; its fewest digits differ from those of the same number in 64 bits.
    Single(f32),
    /// FP64, and FP16 and BF16, which it holds exactly.
    Double(f64),
    /// BYTES.
    Text(&'a [u8]),
}

/// Walks over packed elements.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    datatype: DataType,
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    /// All elements of a tensor, row-major.
    pub fn of(tensor: &'a Tensor) -> Self {
        Self {
            datatype: tensor.datatype(),
            rest: tensor.data(),
        }
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (element, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*element)
    }

    fn take_text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(u32::from_le_bytes(self.take()?)).ok()?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(text)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        Some(match self.datatype {
            DataType::Bool => Element::Bool(self.take::<1>()? != [0]),
            DataType::Uint8 => Element::Uint(u8::from_le_bytes(self.take()?).into()),
            DataType::Uint16 => Element::Uint(u16::from_le_bytes(self.take()?).into()),
            DataType::Uint32 => Element::Uint(u32::from_le_bytes(self.take()?).into()),
            DataType::Uint64 => Element::Uint(u64::from_le_bytes(self.take()?)),
            DataType::Int8 => Element::Int(i8::from_le_bytes(self.take()?).into()),
            DataType::Int16 => Element::Int(i16::from_le_bytes(self.take()?).into()),
            DataType::Int32 => Element::Int(i32::from_le_bytes(self.take()?).into()),
            DataType::Int64 => Element::Int(i64::from_le_bytes(self.take()?)),
            DataType::Fp16 => Element::Double(half::from_fp16(u16::from_le_bytes(self.take()?))),
            DataType::Bf16 => Element::Double(half::from_bf16(u16::from_le_bytes(self.take()?))),
            DataType::Fp32 => Element::Single(f32::from_le_bytes(self.take()?)),
            DataType::Fp64 => Element::Double(f64::from_le_bytes(self.take()?)),
            DataType::Bytes => Element::Text(self.take_text()?),
        })
    }
}

impl Element<'_> {
    /// The number nearest to it, 0 and 1 for false and true; `None` for BYTES.
    pub fn number(self) -> Option<f64> {
        Some(match self {
            Self::Bool(value) => value.into(),
            // rounded beyond 2^53
            Self::Int(value) => value as f64,
            Self::Uint(value) => value as f64,
            Self::Single(value) => value.into(),
            Self::Double(value) => value,
            Self::Text(_) => return None,
        })
    }
}
