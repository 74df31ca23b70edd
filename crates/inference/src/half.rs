//! Floats of 16 bits, which Rust has no type for.

/// The value of an IEEE 754 half-precision float.
pub fn from_fp16(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = (bits >> 10) & 0x1f;
    let fraction = f64::from(bits & 0x3ff);
    sign * match exponent {
        // subnormal: units of 2^-24
        0 => fraction * 2_f64.powi(-24),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        _ => (1024.0 + fraction) * 2_f64.powi(i32::from(exponent) - 25),
    }
}

/// The nearest half-precision float, to even between two; beyond 65,520 it is infinite.
pub fn to_fp16(value: f64) -> u16 {
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let size = value.abs();
    if size.is_nan() {
        return sign | 0x7e00;
    }
    if size >= 65_520.0 {
        return sign | 0x7c00;
    }
    // The unit in the last place, at least that of the subnormals. Scaling by powers of two is exact.
    let exponent = if size < 2_f64.powi(-14) {
        -14
    } else {
        // the exponent field of a float of 64 bits, at most 15 here
        i32::try_from(size.to_bits() >> 52).unwrap_or_default() - 1023
    };
    let units = (size * 2_f64.powi(10 - exponent)).round_ties_even();
    // 1024 units are one step of the exponent, so a carry lands where it belongs; at most 31 × 1024 fits
    let bits = f64::from(exponent + 14) * 1024.0 + units;
    sign | bits as u16
}

/// The value of a bfloat16, the upper half of a single-precision float.
pub fn from_bf16(bits: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(bits) << 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_comes_back_and_between_two_the_nearer_wins() {
        for bits in 0..=u16::MAX {
            let value = from_fp16(bits);
            if value.is_nan() {
                assert!(from_fp16(to_fp16(value)).is_nan());
                continue;
            }
            assert_eq!(to_fp16(value), bits, "{value}");
            let above = from_fp16(bits.wrapping_add(1));
            if bits & 0x7fff < 0x7bff {
                let middle = f64::midpoint(value, above);
                let even = bits + (bits & 1);
                assert_eq!(to_fp16(middle), even, "{value} to {above}");
                assert_eq!(to_fp16(f64::midpoint(value, middle)), bits);
                assert_eq!(to_fp16(f64::midpoint(middle, above)), bits + 1);
            }
        }
        assert_eq!(
            (to_fp16(65_519.9), to_fp16(65_520.0), to_fp16(1e300)),
            (0x7bff, 0x7c00, 0x7c00)
        );
        assert_eq!(
            (from_fp16(0x3c00), from_fp16(0xc000), from_bf16(0x3f80)),
            (1.0, -2.0, 1.0)
        );
    }
}
