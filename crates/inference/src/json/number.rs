//! Numbers in decimal digits.

use super::scalar::Scalar;

/// The powers of ten that a float of 64 bits holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];
/// Mantissas up to here are exact, so that one multiplication or division rounds once, as it should.
const EXACT_MANTISSA: u64 = 1 << f64::MANTISSA_DIGITS;
/// So many digits never overflow a `u64`.
const SAFE_DIGITS: usize = 19;

/// The number at the start of `text` and its length in bytes, by JSON's grammar; `Err` says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<(Scalar<'static>, usize), &'static str> {
    let bytes = text.as_bytes();
    let negative = bytes.first() == Some(&b'-');
    let start = usize::from(negative);
    let mut mantissa = 0_u64;
    let whole_end = digits(bytes, start, &mut mantissa);
    let whole = whole_end - start;
    if whole == 0 {
        return Err("a value was expected");
    }
    if whole > 1 && bytes.get(start) == Some(&b'0') {
        return Err("a number begins with 0");
    }
    let mut end = whole_end;
    let mut exponent = 0_i32;
    let mut count = whole;
    let mut is_whole = true;
    if bytes.get(end) == Some(&b'.') {
        let from = end + 1;
        end = digits(bytes, from, &mut mantissa);
        if end == from {
            return Err("digits were expected after the point");
        }
        count += end - from;
        exponent = i32::try_from(end - from).map_or(i32::MIN, |places| -places);
        is_whole = false;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign_at = end + 1;
        let below = bytes.get(sign_at) == Some(&b'-');
        let from = sign_at + usize::from(matches!(bytes.get(sign_at), Some(b'-' | b'+')));
        let mut power = 0_u64;
        end = digits(bytes, from, &mut power);
        match end - from {
            0 => return Err("digits were expected in the exponent"),
            1..=3 => {
                let power = i32::try_from(power).unwrap_or(i32::MAX);
                exponent = exponent.saturating_add(if below { -power } else { power });
            }
            // left to the exact parser
            _ => exponent = i32::MIN,
        }
        is_whole = false;
    }
    let token = text.get(..end).unwrap_or_default();
    if is_whole {
        return Ok((integer(token, negative, mantissa, count), end)).and_then(finite);
    }
    let power = usize::try_from(exponent.unsigned_abs())
        .ok()
        .and_then(|power| EXACT_POWERS.get(power));
    let value = match power {
        Some(power) if count <= SAFE_DIGITS && mantissa <= EXACT_MANTISSA => {
            // exact: at most 2^53
            let mantissa = mantissa as f64;
            let size = if exponent < 0 {
                mantissa / power
            } else {
                mantissa * power
            };
            if negative { -size } else { size }
        }
        _ => token.parse().map_err(|_| "a number was expected")?,
    };
    finite((Scalar::Float(value), end))
}

fn integer(token: &str, negative: bool, mantissa: u64, count: usize) -> Scalar<'static> {
    if count < SAFE_DIGITS {
        // fewer than 19 digits fit an `i64` with either sign
        let size = mantissa.cast_signed();
        return Scalar::Int(if negative { -size } else { size });
    }
    match token.parse::<i128>() {
        Ok(value) => i64::try_from(value).map_or(Scalar::Wide(value), Scalar::Int),
        Err(_) => Scalar::Float(token.parse().unwrap_or(f64::INFINITY)),
    }
}

/// Refuses digits beyond what 64 bits hold: a caller who means infinity can write it.
fn finite(parsed: (Scalar<'static>, usize)) -> Result<(Scalar<'static>, usize), &'static str> {
    match parsed.0 {
        Scalar::Float(value) if value.is_infinite() => Err("a number is beyond the floats of 64 bits"),
        _ => Ok(parsed),
    }
}

/// Reads digits from `at` on into `value`, which wraps around beyond 19 of them; returns where they end.
fn digits(bytes: &[u8], mut at: usize, value: &mut u64) -> usize {
    while let Some(digit) = bytes
        .get(at)
        .map(|byte| byte.wrapping_sub(b'0'))
        .filter(|&digit| digit <= 9)
    {
        *value = value.wrapping_mul(10).wrapping_add(digit.into());
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whole_numbers_keep_every_digit() {
        for (text, wanted) in [
            ("0", Scalar::Int(0)),
            ("-0", Scalar::Int(0)),
            ("9223372036854775807", Scalar::Int(i64::MAX)),
            ("-9223372036854775808", Scalar::Int(i64::MIN)),
            ("9223372036854775808", Scalar::Wide(1 << 63)),
            ("18446744073709551615]", Scalar::Wide(u64::MAX.into())),
        ] {
            assert_eq!(parse(text).unwrap().0, wanted, "{text}");
        }
        let (beyond, _) = parse(&"9".repeat(60)).unwrap();
        assert_eq!(beyond, Scalar::Float(1e60));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "", "-", "01", "-01", "1.", "1.e3", ".5", "1e", "1e+", "+1", "1e999", "-1e400",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"9".repeat(400)).is_err());
    }

    proptest! {
        #[test]
        fn floats_are_read_as_the_nearest(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            for text in [format!("{value:e}"), format!("{value:?}")] {
                let (read, length) = parse(&text).unwrap();
                let read = match read { Scalar::Float(read) => read, Scalar::Int(read) => read as f64, _ => f64::NAN };
                prop_assert_eq!((read, length), (value, text.len()), "{}", text);
            }
        }

        #[test]
        fn any_decimals_are_read_as_std_reads_them(text in "-?(0|[1-9][0-9]{0,24})\\.[0-9]{1,25}([eE][+-]?[0-9]{1,3})?") {
            let wanted: f64 = text.parse().unwrap();
            match parse(&text) {
                Ok((Scalar::Float(read), _)) => prop_assert_eq!(read.to_bits(), wanted.to_bits()),
                other => prop_assert!(wanted.is_infinite(), "{:?}", other),
            }
        }
    }
}
