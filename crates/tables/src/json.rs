//! Writes pieces of JSON.

use std::fmt::Write;

/// A number that JSON may not have: NaN and the infinities are written as null.
pub(crate) trait Number: std::fmt::Debug {
    fn is_finite(&self) -> bool {
        true
    }
}

impl Number for i8 {}
impl Number for i16 {}
impl Number for i32 {}
impl Number for i64 {}
impl Number for u8 {}
impl Number for u16 {}
impl Number for u32 {}
impl Number for u64 {}
impl Number for f32 {
    fn is_finite(&self) -> bool {
        Self::is_finite(*self)
    }
}
impl Number for f64 {
    fn is_finite(&self) -> bool {
        Self::is_finite(*self)
    }
}

/// Appends the fewest digits from which the same number is read; floats keep a point or an exponent.
pub(crate) fn write_number<N: Number>(out: &mut String, number: N) {
    if number.is_finite() {
        // the debug form keeps `1.0` apart from `1`; a text takes everything
        let _ = write!(out, "{number:?}");
    } else {
        out.push_str("null");
    }
}

/// Appends a text with quotes.
pub(crate) fn write_text(out: &mut String, text: &str) {
    out.push('"');
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(text.get(from..at).unwrap_or_default());
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            byte => {
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
        from = at + 1;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out.push('"');
}

/// Appends bytes in base 64, with quotes.
pub(crate) fn write_base64(out: &mut String, bytes: &[u8]) {
    use base64::Engine;
    out.push('"');
    base64::engine::general_purpose::STANDARD.encode_string(bytes, out);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let text = "a\"b\\c\n\r\t\u{1}é😀";
        let mut out = String::new();
        write_text(&mut out, text);
        assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        for number in [0.0, -0.0, 1.0, 0.1, 1e300, 5e-324, f64::MAX, 123_456_789.125] {
            let mut out = String::new();
            write_number(&mut out, number);
            assert_eq!(
                serde_json::from_str::<f64>(&out).unwrap().to_bits(),
                number.to_bits(),
                "{out}"
            );
        }
        let mut out = String::new();
        write_number(&mut out, f32::NAN);
        write_base64(&mut out, b"\xff\x00");
        assert_eq!(out, "null\"/wA=\"");
    }
}
