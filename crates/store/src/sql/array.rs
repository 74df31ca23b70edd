//! Arrays as PostgreSQL sends them.
//!
//! Big-endian throughout: dimensions, a flag for NULLs, the type; for each dimension its length and first index; then each
//! element's length (-1 for NULL) and bytes. Read here and not by the driver because that looks at each element's type and
//! copies each text.
//! Source: `array_send` of PostgreSQL, src/backend/utils/adt/arrayfuncs.c.

/// The numbers of a BIGINT[] without NULLs; no bytes at all are no numbers. None if it is something else.
pub(super) fn ints(array: &[u8]) -> Option<Vec<i64>> {
    let read = |element: &[u8]| element.try_into().ok().map(i64::from_be_bytes);
    elements(array)?.map(|element| read(element?)).collect()
}

/// The texts of a TEXT[] without NULLs, as [`ints`].
pub(super) fn texts(array: &[u8]) -> Option<Vec<&str>> {
    elements(array)?
        .map(|element| std::str::from_utf8(element?).ok())
        .collect()
}

fn elements(mut rest: &[u8]) -> Option<impl Iterator<Item = Option<&[u8]>>> {
    let count = if rest.is_empty() {
        0
    } else {
        let [dimensions, _, _] = [int(&mut rest)?, int(&mut rest)?, int(&mut rest)?];
        match dimensions {
            0 => 0,
            1 => {
                let count = int(&mut rest)?;
                int(&mut rest)?;
                count
            }
            _ => return None,
        }
    };
    Some((0..count).map(move |_| {
        let length = usize::try_from(int(&mut rest)?).ok()?;
        let (element, behind) = rest.split_at_checked(length)?;
        rest = behind;
        Some(element)
    }))
}

fn int(rest: &mut &[u8]) -> Option<i32> {
    let (bytes, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(i32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(elements: &[Option<&[u8]>]) -> Vec<u8> {
        let mut out = Vec::new();
        for head in [1, 0, 20, i32::try_from(elements.len()).unwrap(), 1] {
            out.extend(head.to_be_bytes());
        }
        for element in elements {
            let length = element.map_or(-1, |e| i32::try_from(e.len()).unwrap());
            out.extend(length.to_be_bytes());
            out.extend(element.unwrap_or_default());
        }
        out
    }

    #[test]
    fn elements_come_back() {
        let (one, two) = (7_i64.to_be_bytes(), (-8_i64).to_be_bytes());
        assert_eq!(ints(&array(&[Some(&one), Some(&two)])), Some(vec![7, -8]));
        assert_eq!(
            texts(&array(&[Some(b""), Some("ä".as_bytes())])),
            Some(vec!["", "ä"])
        );
        assert_eq!(ints(&[]), Some(Vec::new()));
        assert_eq!(texts(&[0; 12]), Some(Vec::new()));
    }

    #[test]
    fn what_is_no_such_array_is_refused() {
        let right = array(&[Some(&[0; 8])]);
        assert_eq!(ints(&right[..right.len() - 1]), None);
        assert_eq!(ints(&right[..10]), None);
        assert_eq!(ints(&array(&[None])), None);
        assert_eq!(texts(&array(&[Some(&[0xff])])), None);
        let mut two_dimensions = right;
        two_dimensions[3] = 2;
        assert_eq!(ints(&two_dimensions), None);
    }
}
