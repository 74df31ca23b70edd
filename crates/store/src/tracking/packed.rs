//! Many small values of a run in one text, as `load` has the database pack them.

use lodeway_domain::{Error, Result};

fn damaged() -> Error {
    Error::internal("a packed row does not parse")
}

/// `KEY:LENGTH:VALUE` one after the other, the length in characters.
pub(super) fn texts(text: &str) -> impl Iterator<Item = Result<(i64, &str)>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let entry = entry(rest);
        rest = match &entry {
            Some((_, _, behind)) => behind,
            None => "",
        };
        Some(entry.map(|(key, value, _)| (key, value)).ok_or_else(damaged))
    })
}

fn entry(text: &str) -> Option<(i64, &str, &str)> {
    let (key, text) = text.split_once(':')?;
    let (chars, text) = text.split_once(':')?;
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
    let (value, behind) = text.split_at(end);
    Some((key.parse().ok()?, value, behind))
}

/// `KEY:BITS:STEP:MS` with `;` between.
pub(super) fn points(text: &str) -> impl Iterator<Item = Result<[i64; 4]>> {
    text.split_terminator(';').map(|entry| {
        let mut numbers = entry.split(':').map(str::parse);
        let mut next = || numbers.next().and_then(Result::ok).ok_or_else(damaged);
        Ok([next()?, next()?, next()?, next()?])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_whatever_is_in_them() {
        let values = ["", "a", "1:2:3", "ä:ö", ";", "日本", "x".repeat(300).as_str()].map(str::to_owned);
        let packed: String = values
            .iter()
            .zip(7_i64..)
            .map(|(v, k)| format!("{k}:{}:{v}", v.chars().count()))
            .collect();
        let found: Vec<_> = texts(&packed).map(Result::unwrap).collect();
        let right: Vec<_> = (7_i64..).zip(values.iter().map(String::as_str)).collect();
        assert_eq!(found, right);
        assert!(texts("7:9:short").next().unwrap().is_err());
        assert!(texts("x").next().unwrap().is_err());
    }

    #[test]
    fn points_come_back_with_their_signs() {
        let found: Vec<_> = points("1:-2:3:4;5:6:-7:-8").map(Result::unwrap).collect();
        assert_eq!(found, [[1, -2, 3, 4], [5, 6, -7, -8]]);
        assert!(points("1:2:3").next().unwrap().is_err());
        assert_eq!(points("").count(), 0);
    }
}
