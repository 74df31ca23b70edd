//! Times as texts of ISO 8601, in the proleptic Gregorian calendar.

use std::fmt::Write;

const DAY_MS: i64 = 86_400_000;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;
/// Days of 400 years.
const CYCLE_DAYS: i64 = 146_097;

/// Appends `2024-02-29T12:30:00.250`, with `Z` at the end if it is UTC; years beyond four digits have a sign.
pub(crate) fn write(out: &mut String, ms: i64, is_utc: bool) {
    let (year, month, day) = civil(ms.div_euclid(DAY_MS));
    let ms = ms.rem_euclid(DAY_MS);
    let (hour, minute, second, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    // a text takes everything
    let _ = match year {
        0..=9999 => write!(out, "{year:04}"),
        _ => write!(out, "{year:+07}"),
    };
    let _ = write!(
        out,
        "-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}"
    );
    if is_utc {
        out.push('Z');
    }
}

/// Reads a date, or a date and a time after `T` or a space, with any part of a second and an offset or none.
///
/// Returns milliseconds since 1970 in UTC, finer parts rounded down, and whether there was an offset.
pub(crate) fn parse(text: &str) -> Option<(i64, bool)> {
    let text = text.trim();
    let (date, rest) = text.split_at_checked(10)?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *date.as_bytes() else {
        return None;
    };
    let year = digits(&[y1, y2, y3, y4])?;
    let (month, day) = (digits(&[m1, m2])?, digits(&[d1, d2])?);
    let days = days(year, month, day)?;
    let Some(rest) = rest.strip_prefix(['T', 't', ' ']) else {
        return rest.is_empty().then_some((days * DAY_MS, false));
    };
    let (clock, offset) = match rest.find(['Z', 'z', '+', '-']) {
        Some(at) => rest
            .split_at_checked(at)
            .map(|(clock, offset)| (clock, Some(offset)))?,
        None => (rest, None),
    };
    let ms = days * DAY_MS + parse_clock(clock.trim_end())?;
    match offset {
        None => Some((ms, false)),
        Some("Z" | "z") => Some((ms, true)),
        Some(offset) => {
            let (sign, offset) = offset.split_at_checked(1)?;
            let minutes = match *offset.as_bytes() {
                [h1, h2] => digits(&[h1, h2])? * 60,
                [h1, h2, m1, m2] | [h1, h2, b':', m1, m2] => digits(&[h1, h2])? * 60 + digits(&[m1, m2])?,
                _ => return None,
            };
            let minutes = if sign == "-" { -minutes } else { minutes };
            Some((ms - minutes * 60_000, true))
        }
    }
}

fn parse_clock(clock: &str) -> Option<i64> {
    let (whole, part) = clock.split_once(['.', ',']).unwrap_or((clock, ""));
    let (hour, minute, second) = match *whole.as_bytes() {
        [h1, h2, b':', m1, m2] => (digits(&[h1, h2])?, digits(&[m1, m2])?, 0),
        [h1, h2, b':', m1, m2, b':', s1, s2] => (digits(&[h1, h2])?, digits(&[m1, m2])?, digits(&[s1, s2])?),
        _ => return None,
    };
    if hour > 23 || minute > 59 || second > 59 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = part.bytes().chain([b'0'; 3]).take(3);
    let ms = thousandths.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    Some(((hour * 60 + minute) * 60 + second) * 1000 + ms)
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0, |sum, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        Some(sum * 10 + i64::from(digit))
    })
}

/// Year, month and day of a number of days since 1970. Years are counted from March, so that a leap day is the last one.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAYS;
    let (cycle, day) = (days.div_euclid(CYCLE_DAYS), days.rem_euclid(CYCLE_DAYS));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (cycle * 400 + year + carry, month, day)
}

fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let counted = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let (cycle, year_of_cycle) = (counted.0.div_euclid(400), counted.0.rem_euclid(400));
    let day_of_year = (153 * counted.1 + 2) / 5 + day - 1;
    let days = year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100 + day_of_year;
    let days = cycle * CYCLE_DAYS + days - EPOCH_DAYS;
    // 30 February and month 13 come back as something else
    (civil(days) == (year, month, day)).then_some(days)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(ms: i64, is_utc: bool) -> String {
        let mut out = String::new();
        write(&mut out, ms, is_utc);
        out
    }

    #[test]
    fn times_have_the_usual_form() {
        assert_eq!(text(0, true), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(1_709_210_096_789, false), "2024-02-29T12:34:56.789");
        assert_eq!(text(-1, false), "1969-12-31T23:59:59.999");
        assert_eq!(text(253_402_300_800_000, false), "+010000-01-01T00:00:00.000");
        assert!(text(i64::MIN, true).starts_with("-292275055-05-16"));
        for (given, wanted) in [
            ("2024-02-29", Some((1_709_164_800_000, false))),
            ("2024-02-29 12:34", Some((1_709_210_040_000, false))),
            ("2024-02-29T12:34:56.789123Z", Some((1_709_210_096_789, true))),
            ("2024-02-29T12:34:56+01:00", Some((1_709_206_496_000, true))),
            ("2024-02-29T12:34:56,5-0130", Some((1_709_215_496_500, true))),
            ("2023-02-29", None),
            ("2024-13-01", None),
            ("2024-02-29T24:00", None),
            ("2024-02-29T12:34:56+1", None),
            ("2024-02-29é", None),
            ("12:00", None),
        ] {
            assert_eq!(parse(given), wanted, "{given}");
        }
    }

    proptest! {
        #[test]
        fn times_come_back(ms in -62_167_219_200_000_i64..253_402_300_800_000, is_utc: bool) {
            prop_assert_eq!(parse(&text(ms, is_utc)), Some((ms, is_utc)));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            parse(&text);
        }
    }
}
