//! Times of messages.
//!
//! A `google.protobuf.Timestamp` tells the years 1 to 9999; beyond them it has no JSON form, and one such value spoils
//! a whole answer for clients that speak JSON. Times that clients choose freely can lie there (nanoseconds sent for
//! milliseconds), so messages with such times have a second field, `…_ms`, which is set in place of the first.

use lodeway_domain::{Error, Result, time::Timestamp};
use prost_types::Timestamp as Wire;

/// 0001-01-01T00:00:00Z in milliseconds since 1970.
const FIRST: i64 = -62_135_596_800_000;
/// 9999-12-31T23:59:59.999Z in milliseconds since 1970.
const LAST: i64 = 253_402_300_799_999;

/// A time of an answer; none if it lies outside the years 1 to 9999.
pub fn to_wire(time: Timestamp) -> Option<Wire> {
    let ms = time.millis();
    let nanos = i32::try_from(ms.rem_euclid(1_000)).unwrap_or_default() * 1_000_000;
    (FIRST..=LAST).contains(&ms).then(|| Wire {
        seconds: ms.div_euclid(1_000),
        nanos,
    })
}

/// A time of a request. Errors: `Invalid`, naming `field`, if it is finer than a millisecond or not a valid Timestamp.
pub fn from_wire(field: &str, time: &Wire) -> Result<Timestamp> {
    if !(0..1_000_000_000).contains(&time.nanos) {
        return Err(Error::invalid(field, "has nanoseconds outside a second"));
    }
    if time.nanos % 1_000_000 != 0 {
        return Err(Error::invalid(field, "is finer than a millisecond; round it"));
    }
    let ms = time
        .seconds
        .saturating_mul(1_000)
        .saturating_add(i64::from(time.nanos / 1_000_000));
    if (FIRST..=LAST).contains(&ms) {
        Ok(Timestamp::from_millis(ms))
    } else {
        Err(Error::invalid(
            field,
            "is out of range: it lies outside the years 1 to 9999",
        ))
    }
}

/// A time of a request that recorded ones are compared with, which are whole milliseconds: the last of them until then.
/// Errors: `Invalid`, naming `field`, if it is not a valid Timestamp.
pub fn bound_from_wire(field: &str, time: &Wire) -> Result<Timestamp> {
    let nanos = time.nanos.saturating_sub(time.nanos.rem_euclid(1_000_000));
    from_wire(field, &Wire { nanos, ..*time })
}

/// A time that clients choose freely, for the two fields of a message: the second is 0 where the first is set.
pub fn to_either(time: Timestamp) -> (Option<Wire>, i64) {
    match to_wire(time) {
        None => (None, time.millis()),
        told => (told, 0),
    }
}

/// The time that one of the two fields of a message tells; none if neither is set.
///
/// Errors: `Invalid`, naming `field`, as for [`from_wire`], and if both are set.
pub fn from_either(field: &str, time: Option<&Wire>, ms: i64) -> Result<Option<Timestamp>> {
    match (time, ms) {
        (None, 0) => Ok(None),
        (None, ms) => Ok(Some(Timestamp::from_millis(ms))),
        (Some(time), 0) => from_wire(field, time).map(Some),
        (Some(_), _) => Err(Error::invalid(
            field,
            format!("is given twice, here and in `{field}_ms`"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_both_ways() {
        for ms in [
            0,
            1,
            -1,
            1_700_000_000_123,
            -1_001,
            FIRST,
            LAST,
            FIRST - 1,
            LAST + 1,
            i64::MIN,
            i64::MAX,
        ] {
            let time = Timestamp::from_millis(ms);
            let (wire, beyond) = to_either(time);
            assert_eq!(wire.is_some(), (FIRST..=LAST).contains(&ms), "{ms}");
            assert_eq!(
                from_either("t", wire.as_ref(), beyond).unwrap(),
                Some(time),
                "{ms}"
            );
            if let Some(wire) = wire {
                assert_eq!(from_wire("t", &wire).unwrap(), time);
                assert_eq!(to_wire(time), Some(wire));
            }
        }
        assert_eq!(from_either("t", None, 0).unwrap(), None);
    }

    #[test]
    fn a_bound_may_be_finer_than_what_it_is_compared_with() {
        let bound = |seconds, nanos| bound_from_wire("t", &Wire { seconds, nanos });
        assert_eq!(bound(7, 1_999_999).unwrap(), Timestamp::from_millis(7_001));
        assert_eq!(bound(-1, 999_999_999).unwrap(), Timestamp::from_millis(-1));
        for nanos in [-1, i32::MIN, 1_000_000_000, i32::MAX] {
            assert!(bound(0, nanos).is_err(), "{nanos}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_its_field() {
        for (seconds, nanos) in [
            (0, 1),
            (0, -1_000_000),
            (0, 1_000_000_000),
            (i64::MAX, 0),
            (i64::MIN, 0),
            (253_402_300_800, 0),
        ] {
            let refused = from_wire("end_time", &Wire { seconds, nanos }).unwrap_err();
            assert!(
                matches!(&refused, Error::Invalid(faults) if faults[0].field == "end_time"),
                "{refused:?}"
            );
        }
        let twice = from_either("time", Some(&Wire::default()), 5).unwrap_err();
        assert!(twice.to_string().contains("time_ms"), "{twice}");
    }
}
