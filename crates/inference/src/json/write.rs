//! Scalars written as JSON.

use std::io::Write as _;

use serde::Serialize;

/// Writes a number or a text as `serde_json` prints it: floats with the fewest digits that bring them back, and null for
/// NaN and the infinities, which JSON has no words for.
pub(crate) fn plain<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // numbers and texts always serialise, and a vector always takes them
    let _ = serde_json::to_writer(out, value);
}

/// Writes a float as Python prints it, such as `1.0`, `1e-05` and `1e+16`; NaN and the infinities as null.
///
/// The digits are those of `serde_json`, which of two equally near ends takes the even one, as Python does and `std` does
/// not; only their layout differs, below 1e-4 and from 1e16 on.
pub(crate) fn python_float(out: &mut Vec<u8>, value: f64) {
    let start = out.len();
    plain(out, &value);
    let size = value.abs();
    if (1e-4..1e16).contains(&size) || size == 0.0 || !size.is_finite() {
        return;
    }
    let printed = out.split_off(start);
    let printed = std::str::from_utf8(&printed).unwrap_or_default();
    let (sign, size) = printed
        .strip_prefix('-')
        .map_or(("", printed), |size| ("-", size));
    let _ = match (size.split_once('e'), size.strip_prefix("0.0000")) {
        (Some((digits, exponent)), _) => {
            let (below, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent.trim_start_matches('+')),
            };
            write!(out, "{sign}{digits}e{below}{exponent:0>2}")
        }
        // from 1e-5 on it prints no exponent yet
        (None, Some(digits)) => {
            let (first, rest) = digits.split_at_checked(1).unwrap_or((digits, ""));
            let point = if rest.is_empty() { "" } else { "." };
            write!(out, "{sign}{first}{point}{rest}e-05")
        }
        (None, None) => write!(out, "{printed}"),
    };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(value: f64) -> String {
        let mut out = Vec::new();
        python_float(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_look_as_in_python() {
        // the right side is what Python 3.11 prints for the left
        for (value, wanted) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e-4, "0.0001"),
            (9.999e-5, "9.999e-05"),
            (1e-5, "1e-05"),
            (123_456_789_012_345.6, "123456789012345.6"),
            (1e15, "1000000000000000.0"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (-2.5e-300, "-2.5e-300"),
            (5e-324, "5e-324"),
            (-1.25e-5, "-1.25e-05"),
            (0.625 / 1_048_576.0, "5.960464477539062e-07"),
            (f64::from(0.1_f32), "0.10000000149011612"),
            (f64::NAN, "null"),
            (f64::NEG_INFINITY, "null"),
        ] {
            assert_eq!(printed(value), wanted);
        }
    }

    proptest! {
        #[test]
        fn floats_come_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(printed(value).parse::<f64>().unwrap().to_bits(), bits);
        }
    }
}
