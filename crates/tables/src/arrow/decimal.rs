//! Decimal numbers as floats.

use arrow_buffer::i256;

/// The float nearest to `value` · 10^−`scale`.
pub(super) fn decimal(value: i128, scale: i8) -> f64 {
    // both exact, so one division rounds once
    const EXACT: u128 = 1 << f64::MANTISSA_DIGITS;
    match scale {
        0..=22 if value.unsigned_abs() <= EXACT => value as f64 / 10_f64.powi(scale.into()),
        _ => format!("{value}e{}", -i32::from(scale))
            .parse()
            .unwrap_or(f64::NAN),
    }
}

pub(super) fn wide_decimal(value: i256, scale: i8) -> f64 {
    match value.to_i128() {
        Some(value) => decimal(value, scale),
        None => format!("{value}e{}", -i32::from(scale))
            .parse()
            .unwrap_or(f64::NAN),
    }
}
