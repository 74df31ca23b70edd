//! The element types of tensors: the Open Inference Protocol's words, numpy's words, and which converts to which.

use std::fmt;

use crate::{Error, Result, id::clip};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $field:literal, $what:literal,
     $($(#[$variant_doc:meta])* $variant:ident = $word:literal, $size:expr;)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Every type.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Parses the word exactly as it is written, case included; errors: `INVALID_FIELD` at the path `field`.
            pub fn parse(field: &str, text: &str) -> Result<Self> {
                let known = Self::ALL.iter().find(|known| known.as_str() == text);
                known.copied().ok_or_else(|| {
                    let all = Self::ALL.iter().map(|known| known.as_str()).collect::<Vec<_>>().join(", ");
                    let why = format!("`{}` is not {}; use one of {all}", clip(text), $what);
                    Error::invalid(field, why)
                })
            }

            /// The word as it is written.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// The size of one element in bytes; `None` if elements differ in size.
            pub const fn element_bytes(self) -> Option<usize> {
                match self {
                    $(Self::$variant => $size,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// An element type of the Open Inference Protocol, version 2.
    ///
    /// Source: "Tensor Data Types" of <https://github.com/kserve/open-inference-protocol>.
    DataType, "datatype", "a datatype of the Open Inference Protocol",
    /// True or false, one byte.
    Bool = "BOOL", Some(1);
    /// Unsigned, 8 bits.
    Uint8 = "UINT8", Some(1);
    /// Unsigned, 16 bits.
    Uint16 = "UINT16", Some(2);
    /// Unsigned, 32 bits.
    Uint32 = "UINT32", Some(4);
    /// Unsigned, 64 bits.
    Uint64 = "UINT64", Some(8);
    /// Signed, 8 bits.
    Int8 = "INT8", Some(1);
    /// Signed, 16 bits.
    Int16 = "INT16", Some(2);
    /// Signed, 32 bits.
    Int32 = "INT32", Some(4);
    /// Signed, 64 bits.
    Int64 = "INT64", Some(8);
    /// IEEE 754 half precision.
    Fp16 = "FP16", Some(2);
    /// The upper half of a single-precision float.
    Bf16 = "BF16", Some(2);
    /// IEEE 754 single precision.
    Fp32 = "FP32", Some(4);
    /// IEEE 754 double precision.
    Fp64 = "FP64", Some(8);
    /// Byte strings, each with its own length.
    Bytes = "BYTES", None;
}

words! {
    /// An element type of a tensor in a signature, by numpy's name.
    Dtype, "dtype", "a tensor dtype that can be served",
    /// True or false, one byte.
    Bool = "bool", Some(1);
    /// Unsigned, 8 bits.
    Uint8 = "uint8", Some(1);
    /// Unsigned, 16 bits.
    Uint16 = "uint16", Some(2);
    /// Unsigned, 32 bits.
    Uint32 = "uint32", Some(4);
    /// Unsigned, 64 bits.
    Uint64 = "uint64", Some(8);
    /// Signed, 8 bits.
    Int8 = "int8", Some(1);
    /// Signed, 16 bits.
    Int16 = "int16", Some(2);
    /// Signed, 32 bits.
    Int32 = "int32", Some(4);
    /// Signed, 64 bits.
    Int64 = "int64", Some(8);
    /// IEEE 754 half precision.
    Float16 = "float16", Some(2);
    /// IEEE 754 single precision.
    Float32 = "float32", Some(4);
    /// IEEE 754 double precision.
    Float64 = "float64", Some(8);
    /// Text.
    Str = "str", None;
    /// Byte strings.
    Bytes = "bytes", None;
    /// Any Python values.
    Object = "object", None;
}

impl DataType {
    /// The numpy type with the same values: `bytes` for BYTES; `None` for BF16, which numpy does not have.
    pub const fn dtype(self) -> Option<Dtype> {
        Some(match self {
            Self::Bool => Dtype::Bool,
            Self::Uint8 => Dtype::Uint8,
            Self::Uint16 => Dtype::Uint16,
            Self::Uint32 => Dtype::Uint32,
            Self::Uint64 => Dtype::Uint64,
            Self::Int8 => Dtype::Int8,
            Self::Int16 => Dtype::Int16,
            Self::Int32 => Dtype::Int32,
            Self::Int64 => Dtype::Int64,
            Self::Fp16 => Dtype::Float16,
            Self::Bf16 => return None,
            Self::Fp32 => Dtype::Float32,
            Self::Fp64 => Dtype::Float64,
            Self::Bytes => Dtype::Bytes,
        })
    }

    /// Least and greatest value of an integer type; `None` for the others.
    pub(super) const fn integer_range(self) -> Option<(i128, i128)> {
        Some(match self {
            Self::Uint8 => (0, u8::MAX as i128),
            Self::Uint16 => (0, u16::MAX as i128),
            Self::Uint32 => (0, u32::MAX as i128),
            Self::Uint64 => (0, u64::MAX as i128),
            Self::Int8 => (i8::MIN as i128, i8::MAX as i128),
            Self::Int16 => (i16::MIN as i128, i16::MAX as i128),
            Self::Int32 => (i32::MIN as i128, i32::MAX as i128),
            Self::Int64 => (i64::MIN as i128, i64::MAX as i128),
            _ => return None,
        })
    }

    /// The bits of a float's significand, the hidden one included: integers up to 2 to that power are exact.
    const fn significand_bits(self) -> Option<u32> {
        match self {
            Self::Fp16 => Some(11),
            Self::Bf16 => Some(8),
            Self::Fp32 => Some(f32::MANTISSA_DIGITS),
            Self::Fp64 => Some(f64::MANTISSA_DIGITS),
            _ => None,
        }
    }

    /// Whether every value of this type is a value of `wider` too.
    ///
    /// True for the type itself, for integers into integers that hold their whole range, for integers into floats that
    /// hold them exactly (8 bits into FP16; 16 into FP32; 32 into FP64), and for floats into wider floats. BOOL and
    /// BYTES widen to nothing.
    pub fn widens_to(self, wider: Self) -> bool {
        if self == wider {
            return true;
        }
        if let (Some((min, max)), Some((wider_min, wider_max))) =
            (self.integer_range(), wider.integer_range())
        {
            return wider_min <= min && max <= wider_max;
        }
        if let (Some((min, max)), Some(bits)) = (self.integer_range(), wider.significand_bits()) {
            let exact = 1_i128 << bits;
            return -exact <= min && max <= exact;
        }
        match self {
            Self::Fp16 | Self::Bf16 => matches!(wider, Self::Fp32 | Self::Fp64),
            Self::Fp32 => wider == Self::Fp64,
            _ => false,
        }
    }
}

impl Dtype {
    /// The datatype that carries such elements; BYTES for text, byte strings and objects.
    pub const fn datatype(self) -> DataType {
        match self {
            Self::Bool => DataType::Bool,
            Self::Uint8 => DataType::Uint8,
            Self::Uint16 => DataType::Uint16,
            Self::Uint32 => DataType::Uint32,
            Self::Uint64 => DataType::Uint64,
            Self::Int8 => DataType::Int8,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Float16 => DataType::Fp16,
            Self::Float32 => DataType::Fp32,
            Self::Float64 => DataType::Fp64,
            Self::Str | Self::Bytes | Self::Object => DataType::Bytes,
        }
    }

    /// Whether a tensor of `datatype` can become one of this dtype without loss; an `object` tensor holds anything.
    pub fn accepts(self, datatype: DataType) -> bool {
        self == Self::Object || datatype.widens_to(self.datatype())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back_and_others_are_refused() {
        for &datatype in DataType::ALL {
            assert_eq!(DataType::parse("t", datatype.as_str()).unwrap(), datatype);
            assert_eq!(datatype.dtype().is_none(), datatype == DataType::Bf16);
            assert!(datatype.dtype().is_none_or(|dtype| dtype.datatype() == datatype));
        }
        for &dtype in Dtype::ALL {
            assert_eq!(Dtype::parse("t", dtype.as_str()).unwrap(), dtype);
            assert_eq!(dtype.element_bytes(), dtype.datatype().element_bytes());
        }
        assert_eq!(
            (DataType::Bf16.element_bytes(), DataType::Bytes.element_bytes()),
            (Some(2), None)
        );
        let error = DataType::parse("inputs[0].datatype", "fp32")
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("`inputs[0].datatype`: `fp32` is not a datatype of the Open"),
            "{error}"
        );
        let error = Dtype::parse("dtype", "complex64").unwrap_err().to_string();
        assert!(error.contains("use one of bool, uint8"), "{error}");
    }

    #[test]
    fn widening_loses_nothing() {
        use DataType::*;
        let widens = [
            (Uint8, Int16),
            (Uint8, Fp16),
            (Int8, Fp16),
            (Uint8, Bf16),
            (Int16, Fp32),
            (Int32, Int64),
            (Uint32, Fp64),
            (Fp16, Fp32),
            (Bf16, Fp64),
            (Fp32, Fp64),
        ];
        for (from, to) in widens {
            assert!(from.widens_to(to), "{from} to {to}");
            assert!(!to.widens_to(from), "{to} to {from}");
        }
        let losing = [
            (Uint8, Int8),
            (Int8, Uint64),
            (Int32, Fp32),
            (Int64, Fp64),
            (Uint64, Int64),
            (Bf16, Fp16),
            (Bool, Uint8),
            (Bool, Bytes),
        ];
        for (from, to) in losing {
            assert!(!from.widens_to(to) && !to.widens_to(from), "{from} and {to}");
        }
        assert!(Dtype::Object.accepts(Fp64) && !Dtype::Str.accepts(Fp64) && Dtype::Str.accepts(Bytes));
    }
}
