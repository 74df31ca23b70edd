//! Elements of a known datatype, packed as they are read.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lodeway_domain::signature::DataType;

use crate::{half, json::Scalar};

/// The elements of one tensor so far.
#[derive(Debug)]
pub(crate) struct Packed {
    datatype: DataType,
    is_base64: bool,
    data: Vec<u8>,
}

impl Packed {
    /// No elements yet; with `is_base64` the texts of BYTES are the base64 of their elements.
    pub(crate) fn new(datatype: DataType, is_base64: bool) -> Self {
        Self {
            datatype,
            is_base64,
            data: Vec::new(),
        }
    }

    /// The type of the elements.
    pub(crate) fn datatype(&self) -> DataType {
        self.datatype
    }

    /// Packs an element of fixed size that is packed already.
    pub(crate) fn push_raw(&mut self, element: &[u8]) {
        self.data.extend_from_slice(element);
    }

    /// What was packed.
    pub(crate) fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// Packs one element.
    ///
    /// Whole numbers fit every float type (rounded to the nearest) and integer types in whose range they are; numbers with
    /// a point fit integers if they are whole, and floats if they do not round to an infinity. Null fits floats, as NaN.
    /// BOOL takes true, false, 1 and 0. `Err` says what is wrong.
    pub(crate) fn push(&mut self, scalar: &Scalar<'_>) -> Result<(), String> {
        match (self.datatype, scalar) {
            (DataType::Bytes, Scalar::Text(text)) if self.is_base64 => {
                let element = decode_base64(text)?;
                return self.push_bytes(&element);
            }
            (DataType::Bytes, Scalar::Text(text)) => return self.push_bytes(text.as_bytes()),
            (DataType::Bool, Scalar::Bool(value)) => {
                self.data.push((*value).into());
                return Ok(());
            }
            (DataType::Bool, Scalar::Int(value @ (0 | 1))) => {
                self.data.push(u8::from(*value == 1));
                return Ok(());
            }
            (DataType::Bool | DataType::Bytes, _) => {}
            (datatype, Scalar::Int(value)) => return self.push_whole(datatype, (*value).into()),
            (datatype, Scalar::Wide(value)) => return self.push_whole(datatype, *value),
            (datatype, Scalar::Float(value)) => return self.push_float(datatype, *value),
            (DataType::Fp16 | DataType::Fp32 | DataType::Fp64, Scalar::Null) => {
                return self.push_float(self.datatype, f64::NAN);
            }
            _ => {}
        }
        Err(format!("holds {}, which is no {}", scalar.kind(), self.datatype))
    }

    /// Packs one element of BYTES.
    pub(crate) fn push_bytes(&mut self, element: &[u8]) -> Result<(), String> {
        let length = u32::try_from(element.len()).map_err(|_| "holds a text of 4 GiB or more".to_owned())?;
        self.data.extend_from_slice(&length.to_le_bytes());
        self.data.extend_from_slice(element);
        Ok(())
    }

    fn push_whole(&mut self, datatype: DataType, value: i128) -> Result<(), String> {
        let beyond = |_| format!("holds {value}, which is beyond {datatype}");
        let data = &mut self.data;
        match datatype {
            DataType::Uint8 => data.push(u8::try_from(value).map_err(beyond)?),
            DataType::Int8 => data.extend(i8::try_from(value).map_err(beyond)?.to_le_bytes()),
            DataType::Uint16 => data.extend(u16::try_from(value).map_err(beyond)?.to_le_bytes()),
            DataType::Int16 => data.extend(i16::try_from(value).map_err(beyond)?.to_le_bytes()),
            DataType::Uint32 => data.extend(u32::try_from(value).map_err(beyond)?.to_le_bytes()),
            DataType::Int32 => data.extend(i32::try_from(value).map_err(beyond)?.to_le_bytes()),
            DataType::Uint64 => data.extend(u64::try_from(value).map_err(beyond)?.to_le_bytes()),
            DataType::Int64 => data.extend(i64::try_from(value).map_err(beyond)?.to_le_bytes()),
            // rounded to the nearest, as for any decimal digits
            _ => return self.push_float(datatype, value as f64),
        }
        Ok(())
    }

    fn push_float(&mut self, datatype: DataType, value: f64) -> Result<(), String> {
        let data = &mut self.data;
        let fits = match datatype {
            DataType::Fp64 => {
                data.extend(value.to_le_bytes());
                true
            }
            DataType::Fp32 => {
                let single = value as f32;
                data.extend(single.to_le_bytes());
                single.is_infinite() == value.is_infinite()
            }
            DataType::Fp16 => {
                let half = half::to_fp16(value);
                data.extend(half.to_le_bytes());
                (half & 0x7fff == 0x7c00) == value.is_infinite()
            }
            DataType::Bf16 => {
                return Err("is BF16, which has no form in JSON; send it as binary data".to_owned());
            }
            // the bounds are exact floats, so the conversion is too
            _ if value.fract() == 0.0 && value.abs() < 2_f64.powi(64) => {
                return self.push_whole(datatype, value as i128);
            }
            _ => return Err(format!("holds {value}, which is no {datatype}")),
        };
        fits.then_some(())
            .ok_or_else(|| format!("holds {value}, which is beyond {datatype}"))
    }
}

/// The bytes of a base64 text, which may be broken into lines as Python's `encodebytes` breaks it.
pub(crate) fn decode_base64(text: &str) -> Result<Vec<u8>, String> {
    let wrong = |error| format!("holds a text that is not base64: {error}");
    if text.bytes().any(|byte| byte.is_ascii_whitespace()) {
        let joined: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        return STANDARD.decode(joined).map_err(wrong);
    }
    STANDARD.decode(text).map_err(wrong)
}

/// The standard base64 of an element, in one line.
pub(crate) fn encode_base64(element: &[u8]) -> String {
    STANDARD.encode(element)
}
