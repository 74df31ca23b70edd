//! Many small values in one text, as statements have the database pack them: a row costs far more on its way than the few
//! bytes in it.

use lodeway_domain::{Error, Result};

fn damaged() -> Error {
    Error::internal("a packed row does not parse")
}

/// `LENGTH:TEXT` one after the other, the length in characters.
pub(crate) fn texts(packed: &str) -> impl Iterator<Item = Result<&str>> {
    entries(packed, text)
}

/// `KEY:LENGTH:TEXT` one after the other, the key a number.
pub(crate) fn keyed(packed: &str) -> impl Iterator<Item = Result<(i64, &str)>> {
    entries(packed, |rest| {
        let (key, rest) = rest.split_once(':')?;
        let (value, behind) = text(rest)?;
        Some(((key.parse().ok()?, value), behind))
    })
}

/// `KEY:BITS:STEP:MS` with `;` between.
pub(crate) fn points(packed: &str) -> impl Iterator<Item = Result<[i64; 4]>> {
    packed.split_terminator(';').map(|entry| {
        let mut numbers = entry.split(':').map(str::parse);
        let mut next = || numbers.next().and_then(Result::ok).ok_or_else(damaged);
        Ok([next()?, next()?, next()?, next()?])
    })
}

/// What `first` takes from the front, until nothing is left or an entry does not parse.
fn entries<'p, T>(
    packed: &'p str,
    first: impl Fn(&'p str) -> Option<(T, &'p str)>,
) -> impl Iterator<Item = Result<T>> {
    let mut rest = packed;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let found = first(rest);
        rest = found.as_ref().map_or("", |(_, behind)| behind);
        Some(found.map(|(entry, _)| entry).ok_or_else(damaged))
    })
}

/// The text at the front, and what is behind it.
fn text(packed: &str) -> Option<(&str, &str)> {
    let (chars, text) = packed.split_once(':')?;
    let chars: usize = chars.parse().ok()?;
    // Plain ASCII, which nearly all values are, has as many bytes as characters.
    let end = match text.as_bytes().get(..chars) {
        Some(bytes) if bytes.is_ascii() => chars,
        _ => text
            .char_indices()
            .map(|(at, _)| at)
            .chain([text.len()])
            .nth(chars)?,
    };
    text.split_at_checked(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_whatever_is_in_them() {
        let long = "x".repeat(300);
        let values = ["", "a", "1:2:3", "ä:ö", ";", "日本", long.as_str()];
        let length = |value: &str| value.chars().count();
        let plain: String = values.iter().map(|v| format!("{}:{v}", length(v))).collect();
        let found: Vec<_> = texts(&plain).map(Result::unwrap).collect();
        assert_eq!(found, values);
        let numbered = values.iter().zip(7_i64..);
        let packed: String = numbered.map(|(v, k)| format!("{k}:{}:{v}", length(v))).collect();
        let found: Vec<_> = keyed(&packed).map(Result::unwrap).collect();
        assert_eq!(found, (7_i64..).zip(values).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        for broken in ["x", "3:ab", "1", "2:ä"] {
            assert!(texts(broken).next().unwrap().is_err(), "{broken}");
        }
        assert!(keyed("7:9:short").next().unwrap().is_err());
        assert!(keyed("x").next().unwrap().is_err());
    }

    #[test]
    fn points_come_back_with_their_signs() {
        let found: Vec<_> = points("1:-2:3:4;5:6:-7:-8").map(Result::unwrap).collect();
        assert_eq!(found, [[1, -2, 3, 4], [5, 6, -7, -8]]);
        assert!(points("1:2:3").next().unwrap().is_err());
        assert_eq!(points("").count(), 0);
    }
}
