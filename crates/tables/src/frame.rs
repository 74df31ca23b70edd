//! Batches and the frames that models take.

use half::{bf16, f16};
use lodeway_domain::signature::DataType;
use lodeway_inference::{Column as FrameColumn, Frame, Tensor};

use crate::{Batch, Blobs, Column, Result, TableError, Texts, Type, Values, time};

impl Batch {
    /// The rows of a frame: FP16 and BF16 become floats of 16 and 32 bits, BYTES a text if all of it is UTF-8.
    ///
    /// Errors: a name that comes twice.
    pub fn from_frame(frame: &Frame) -> Result<Self> {
        let columns = frame.columns().iter().map(|column| {
            let (dtype, values) = values_of(&column.values);
            Column::new(column.values.name(), dtype, values, column.nulls.clone())
        });
        Self::new(columns.collect::<Result<_>>()?)
    }

    /// The rows as a frame of exactly these types, null where these are null. Texts, bytes and documents become BYTES,
    /// times texts of ISO 8601, those in UTC with a `Z`.
    ///
    /// Errors: a text of 4 GiB or more.
    pub fn to_frame(&self) -> Result<Frame> {
        let columns = self.columns().iter().map(|column| {
            let tensor = tensor_of(column.name(), column.dtype(), column.values())?;
            let nulls = column.nulls().map(<[bool]>::to_vec);
            let is_time = matches!(column.dtype(), Type::Timestamp { .. });
            let values = match &nulls {
                // there is no time where there is none
                Some(nulls) if is_time => blanked(column.name(), &tensor, nulls)?,
                _ => tensor,
            };
            Ok(FrameColumn { values, nulls })
        });
        let columns = columns.collect::<Result<_>>()?;
        Frame::new(columns).map_err(|error| TableError::invalid(error.to_string()))
    }
}

fn bits<const N: usize, T>(tensor: &Tensor, read: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (elements, _) = tensor.data().as_chunks::<N>();
    elements.iter().map(|element| read(*element)).collect()
}

fn values_of(tensor: &Tensor) -> (Type, Values) {
    let ints = Values::Int;
    let uints = Values::Uint;
    match tensor.datatype() {
        DataType::Bool => (Type::Bool, Values::Bool(bits(tensor, |[byte]| byte != 0))),
        DataType::Int8 => (
            Type::Int8,
            ints(bits(tensor, |byte| i8::from_le_bytes(byte).into())),
        ),
        DataType::Int16 => (
            Type::Int16,
            ints(bits(tensor, |bytes| i16::from_le_bytes(bytes).into())),
        ),
        DataType::Int32 => (
            Type::Int32,
            ints(bits(tensor, |bytes| i32::from_le_bytes(bytes).into())),
        ),
        DataType::Int64 => (Type::Int64, ints(bits(tensor, i64::from_le_bytes))),
        DataType::Uint8 => (Type::Uint8, uints(bits(tensor, |[byte]| byte.into()))),
        DataType::Uint16 => (
            Type::Uint16,
            uints(bits(tensor, |bytes| u16::from_le_bytes(bytes).into())),
        ),
        DataType::Uint32 => (
            Type::Uint32,
            uints(bits(tensor, |bytes| u32::from_le_bytes(bytes).into())),
        ),
        DataType::Uint64 => (Type::Uint64, uints(bits(tensor, u64::from_le_bytes))),
        DataType::Fp16 => (
            Type::Float16,
            Values::Single(bits(tensor, |bytes| f16::from_le_bytes(bytes).to_f32())),
        ),
        DataType::Bf16 => (
            Type::Float32,
            Values::Single(bits(tensor, |bytes| bf16::from_le_bytes(bytes).to_f32())),
        ),
        DataType::Fp32 => (Type::Float32, Values::Single(bits(tensor, f32::from_le_bytes))),
        DataType::Fp64 => (Type::Float64, Values::Double(bits(tensor, f64::from_le_bytes))),
        DataType::Bytes => {
            let (mut texts, mut is_text) = (Texts::default(), true);
            for text in tensor.texts() {
                match std::str::from_utf8(&text) {
                    Ok(text) => texts.push(text),
                    Err(_) => {
                        is_text = false;
                        break;
                    }
                }
            }
            if is_text {
                (Type::Text, Values::Text(texts))
            } else {
                (Type::Binary, Values::Binary(tensor.texts().collect::<Blobs>()))
            }
        }
    }
}

/// The values of a type as a tensor `[rows]` of that type.
fn tensor_of(name: &str, dtype: Type, values: &Values) -> Result<Tensor> {
    fn pack<const N: usize, T: Copy>(values: &[T], write: impl Fn(T) -> [u8; N]) -> Vec<u8> {
        values.iter().flat_map(|&value| write(value)).collect()
    }
    let shape = vec![i64::try_from(values.len()).unwrap_or(i64::MAX)];
    // numbers are within the width of their type
    let (datatype, data) = match (values, dtype) {
        (Values::Bool(flags), _) => (DataType::Bool, pack(flags, |flag| [u8::from(flag)])),
        (Values::Int(ints), Type::Timestamp { is_utc }) => {
            let texts: Texts = ints.iter().map(|&ms| text_of(ms, is_utc)).collect();
            return Tensor::of_texts(name, shape, texts.iter()).map_err(too_long(name));
        }
        (Values::Int(ints), Type::Int8) => (DataType::Int8, pack(ints, |int| (int as i8).to_le_bytes())),
        (Values::Int(ints), Type::Int16) => (DataType::Int16, pack(ints, |int| (int as i16).to_le_bytes())),
        (Values::Int(ints), Type::Int32) => (DataType::Int32, pack(ints, |int| (int as i32).to_le_bytes())),
        (Values::Int(ints), _) => (DataType::Int64, pack(ints, i64::to_le_bytes)),
        (Values::Uint(ints), Type::Uint8) => (DataType::Uint8, pack(ints, |int| (int as u8).to_le_bytes())),
        (Values::Uint(ints), Type::Uint16) => {
            (DataType::Uint16, pack(ints, |int| (int as u16).to_le_bytes()))
        }
        (Values::Uint(ints), Type::Uint32) => {
            (DataType::Uint32, pack(ints, |int| (int as u32).to_le_bytes()))
        }
        (Values::Uint(ints), _) => (DataType::Uint64, pack(ints, u64::to_le_bytes)),
        (Values::Single(floats), Type::Float16) => (
            DataType::Fp16,
            pack(floats, |float| f16::from_f32(float).to_le_bytes()),
        ),
        (Values::Single(floats), _) => (DataType::Fp32, pack(floats, f32::to_le_bytes)),
        (Values::Double(floats), _) => (DataType::Fp64, pack(floats, f64::to_le_bytes)),
        (Values::Text(texts), _) => {
            return Tensor::of_texts(name, shape, texts.iter()).map_err(too_long(name));
        }
        (Values::Binary(blobs), _) => {
            return Tensor::of_texts(name, shape, blobs.iter()).map_err(too_long(name));
        }
    };
    Tensor::new(name, datatype, shape, data).map_err(too_long(name))
}

fn too_long(name: &str) -> impl Fn(lodeway_domain::Error) -> TableError + '_ {
    move |error| TableError::in_column(name, error.to_string())
}

fn text_of(ms: i64, is_utc: bool) -> String {
    let mut text = String::new();
    time::write(&mut text, ms, is_utc);
    text
}

/// The same texts, empty where they are null.
fn blanked(name: &str, texts: &Tensor, nulls: &[bool]) -> Result<Tensor> {
    let kept = texts
        .texts()
        .zip(nulls)
        .map(|(text, null)| if *null { bytes::Bytes::new() } else { text });
    Tensor::of_texts(name, texts.shape().to_vec(), kept).map_err(too_long(name))
}
