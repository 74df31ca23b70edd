//! Floats as whole numbers for the stores: exact bits, and keys whose integer order is the order of the numbers.
//!
//! A database engine may turn a bound NaN into NULL and −0.0 into 0.0, so a metric value is kept as three integers:
//! [`to_bits`] brings every payload back, [`rank`] and [`sort_key`] are what searches compare and sort by.

/// The IEEE 754 bits as a signed integer; [`from_bits`] gives the same float back, NaN payloads and −0.0 included.
pub const fn to_bits(value: f64) -> i64 {
    value.to_bits().cast_signed()
}

/// The float that [`to_bits`] was given.
pub const fn from_bits(bits: i64) -> f64 {
    f64::from_bits(bits.cast_unsigned())
}

/// 0 for numbers (infinities included) and 1 for NaN, which sorts after every number in both directions.
pub const fn rank(value: f64) -> i64 {
    if value.is_nan() { 1 } else { 0 }
}

/// A key with `sort_key(a) < sort_key(b)` exactly when `a < b`, and equal keys exactly when `a == b`.
///
/// Hence −0.0 and 0.0 share the key 0. Every NaN has the key 0 too: it is told apart by [`rank`].
pub const fn sort_key(value: f64) -> i64 {
    if value.is_nan() || value == 0.0 {
        return 0;
    }
    let bits = to_bits(value);
    if bits < 0 {
        i64::MIN.wrapping_sub(bits)
    } else {
        bits
    }
}

/// The number with this [`sort_key`]; 0.0 for the key 0.
pub const fn from_sort_key(key: i64) -> f64 {
    from_bits(if key < 0 { i64::MIN.wrapping_sub(key) } else { key })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zeros_share_a_key_and_infinities_are_the_ends() {
        assert_eq!((sort_key(0.0), sort_key(-0.0)), (0, 0));
        assert!(sort_key(f64::NEG_INFINITY) < sort_key(f64::MIN));
        assert!(sort_key(f64::MAX) < sort_key(f64::INFINITY));
        assert!(sort_key(-f64::from_bits(1)) < 0 && 0 < sort_key(f64::from_bits(1)));
        assert_eq!((rank(f64::NAN), rank(f64::INFINITY)), (1, 0));
    }

    proptest! {
        #[test]
        fn bits_come_back(bits: i64) {
            prop_assert_eq!(to_bits(from_bits(bits)), bits);
        }

        #[test]
        fn keys_keep_the_order(a: i64, b: i64) {
            let (a, b) = (from_bits(a), from_bits(b));
            prop_assume!(!a.is_nan() && !b.is_nan());
            prop_assert_eq!(Some(sort_key(a).cmp(&sort_key(b))), a.partial_cmp(&b));
            prop_assert_eq!(from_sort_key(sort_key(a)), a);
        }
    }
}
