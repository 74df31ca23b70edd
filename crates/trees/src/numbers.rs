//! Numbers as they lie in the file, decoded on demand.

/// One number or an array of them; an array of one is not told from a number.
#[derive(Debug, Clone)]
pub(crate) enum Numbers<'a> {
    /// The inside of a JSON array: numbers and flags with commas between, at least one.
    Text(&'a str),
    /// The payload of a UBJSON array with a type marker: whole big-endian values of that type.
    Packed(Packed, &'a [u8]),
    /// Integers of a UBJSON array that has a type marker for each.
    Integers(Vec<i64>),
    /// Floating-point numbers of such an array.
    Reals(Vec<f64>),
}

/// The types that XGBoost packs into UBJSON arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packed {
    I8,
    U8,
    I16,
    I32,
    I64,
    F32,
    F64,
}

impl Packed {
    /// The type that a UBJSON marker stands for.
    pub(crate) fn of(marker: u8) -> Option<Self> {
        Some(match marker {
            b'i' => Self::I8,
            b'U' => Self::U8,
            b'I' => Self::I16,
            b'l' => Self::I32,
            b'L' => Self::I64,
            b'd' => Self::F32,
            b'D' => Self::F64,
            _ => return None,
        })
    }

    /// Bytes of one value.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }

    /// Whether values are floating-point.
    pub(crate) fn is_real(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }
}

type Decoded<T> = std::result::Result<Vec<T>, String>;

/// No numbers.
pub(crate) static EMPTY: Numbers<'static> = Numbers::Integers(Vec::new());

impl Numbers<'_> {
    /// All of them as integers; an error says which is none.
    pub(crate) fn integers(&self) -> Decoded<i64> {
        match *self {
            Self::Integers(ref values) => Ok(values.clone()),
            Self::Text(text) => each(text, |token| match token {
                "true" => Some(1),
                "false" => Some(0),
                _ => token.parse().ok(),
            }),
            Self::Packed(kind, bytes) => match kind {
                Packed::I8 => Ok(words(bytes, |[byte]| i64::from(i8::from_be_bytes([byte])))),
                Packed::U8 => Ok(words(bytes, |[byte]| i64::from(byte))),
                Packed::I16 => Ok(words(bytes, |word| i64::from(i16::from_be_bytes(word)))),
                Packed::I32 => Ok(words(bytes, |word| i64::from(i32::from_be_bytes(word)))),
                Packed::I64 => Ok(words(bytes, i64::from_be_bytes)),
                Packed::F32 | Packed::F64 => Err("holds fractions where integers belong".to_owned()),
            },
            Self::Reals(_) => Err("holds fractions where integers belong".to_owned()),
        }
    }

    /// All of them, rounded once to 32 bits.
    pub(crate) fn reals(&self) -> Decoded<f32> {
        match *self {
            // Parsed as 32 bits at once: going through 64 bits would round twice.
            Self::Text(text) => each(text, |token| token.parse().ok()),
            Self::Packed(Packed::F32, bytes) => Ok(words(bytes, f32::from_be_bytes)),
            _ => Ok(self.doubles()?.into_iter().map(|value| value as f32).collect()),
        }
    }

    /// All of them in 64 bits.
    pub(crate) fn doubles(&self) -> Decoded<f64> {
        match *self {
            Self::Text(text) => each(text, |token| token.parse().ok()),
            Self::Packed(Packed::F32, bytes) => Ok(words(bytes, |word| f64::from(f32::from_be_bytes(word)))),
            Self::Packed(Packed::F64, bytes) => Ok(words(bytes, f64::from_be_bytes)),
            Self::Reals(ref values) => Ok(values.clone()),
            _ => Ok(self.integers()?.into_iter().map(|value| value as f64).collect()),
        }
    }
}

fn each<'a, T>(text: &'a str, parse: impl Fn(&'a str) -> Option<T>) -> Decoded<T> {
    text.split(',')
        .map(|token| {
            let token = token.trim_ascii();
            parse(token).ok_or_else(|| format!("`{token}` is not a number of the right kind"))
        })
        .collect()
}

fn words<const N: usize, T>(bytes: &[u8], decode: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (words, _) = bytes.as_chunks::<N>();
    words.iter().map(|word| decode(*word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_packed_decode_alike() {
        let text = Numbers::Text("1, -2,\n3");
        let packed = Numbers::Packed(Packed::I16, &[0, 1, 255, 254, 0, 3]);
        assert_eq!(text.integers().unwrap(), [1, -2, 3]);
        assert_eq!(packed.integers().unwrap(), [1, -2, 3]);
        assert_eq!(text.reals().unwrap(), packed.reals().unwrap());
        assert_eq!(text.doubles().unwrap(), packed.doubles().unwrap());
    }

    #[test]
    fn fractions_infinities_and_flags_are_numbers() {
        let reals = Numbers::Text("1E-45,-Infinity,NaN,0.5").reals().unwrap();
        assert_eq!(reals[..2], [f32::from_bits(1), f32::NEG_INFINITY]);
        assert!(reals[2].is_nan());
        assert_eq!(Numbers::Text("true,false").integers().unwrap(), [1, 0]);
        assert!(Numbers::Text("1.5").integers().is_err());
        assert!(Numbers::Text("1,,2").integers().is_err());
        assert!(Numbers::Packed(Packed::F32, &[0; 4]).integers().is_err());
    }
}
