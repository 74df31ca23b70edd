//! RFC 3339 times in filters.

/// Milliseconds since the epoch of `2026-11-23T13:09:11.25+01:00`, or of a date alone (midnight UTC).
///
/// None for anything else, for dates that do not exist and for fractions finer than a millisecond.
pub(super) fn parse(text: &str) -> Option<i64> {
    let date = days(text.get(..10)?)?;
    let rest = &text[10..];
    if rest.is_empty() {
        return Some(date * 86_400_000);
    }
    let clock = rest.strip_prefix(['T', 't', ' '])?;
    let (h, m, s) = (
        digits(clock.get(..2)?)?,
        digits(clock.get(3..5)?)?,
        digits(clock.get(6..8)?)?,
    );
    let colons = clock.as_bytes().get(2) == Some(&b':') && clock.as_bytes().get(5) == Some(&b':');
    if !colons || h > 23 || m > 59 || s > 59 {
        return None;
    }
    let rest = clock.get(8..)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
        None => ("0", rest),
    };
    Some(date * 86_400_000 + ((h * 60 + m) * 60 + s) * 1_000 + millis(fraction)? - offset(zone)?)
}

fn digits(text: &str) -> Option<i64> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

fn millis(fraction: &str) -> Option<i64> {
    let significant = fraction.trim_end_matches('0');
    if fraction.is_empty() || significant.len() > 3 {
        return None;
    }
    digits(&format!("{significant:0<3}"))
}

fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let sign = match zone.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let (h, m) = (digits(zone.get(1..3)?)?, digits(zone.get(4..)?)?);
    let shaped = zone.len() == 6 && zone.as_bytes()[3] == b':' && h < 24 && m < 60;
    shaped.then_some(sign * (h * 60 + m) * 60_000)
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar.
fn days(date: &str) -> Option<i64> {
    let bytes = date.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let (y, m, d) = (
        digits(date.get(..4)?)?,
        digits(date.get(5..7)?)?,
        digits(date.get(8..)?)?,
    );
    let leap = y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    let length = match m {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&d) {
        return None;
    }
    // Years begin in March here, so that the leap day is the last of its year.
    let (year, month) = if m > 2 { (y, m - 3) } else { (y - 1, m + 9) };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some(year * 365 + leaps + (month * 153 + 2) / 5 + d - 1 - 719_468)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn known_times() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01", 0),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2000-02-29T12:00:00Z", 951_825_600_000),
            ("2026-11-23T13:09:11.25+01:00", 1_795_435_751_250),
            ("2026-11-23 12:09:11.250000z", 1_795_435_751_250),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000),
        ] {
            assert_eq!(parse(text), Some(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "2026",
            "2026-02-29",
            "2026-13-01",
            "2026-1-01T",
            "2026-01-01T00:00:00",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00.0001Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+1:00",
            "2026-01-01Tüber:00Z",
            "2026-01-01T00:00:00+01:0ü",
            "ü026-01-01",
            "+026-01-01",
            "2026-01-01T+0:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
