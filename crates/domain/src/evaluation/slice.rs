//! How slices are named: `column=value`, numbers in their shortest form, or `column is missing`.

/// Behind the column in the name of the slice of rows that have no value.
const MISSING: &str = " is missing";

/// The name of the slice of a value; none: of the rows that have no value, which are others than those of the empty text.
pub fn slice_name(column: &str, value: Option<&str>) -> String {
    match value {
        Some(value) => format!("{column}={value}"),
        None => format!("{column}{MISSING}"),
    }
}

/// Whether a text can be the name of a slice.
pub fn is_slice_name(text: &str) -> bool {
    text.contains('=')
        || text
            .strip_suffix(MISSING)
            .is_some_and(|column| !column.is_empty())
}

/// A value of a slice, a whole number without the fraction that some writers add: `25` for `25.0`. Other texts stay as they are,
/// for `1.10` may be the name of a version and not a number.
pub fn slice_value(value: &str) -> &str {
    let Some((whole, fraction)) = value.split_once('.') else {
        return value;
    };
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    let is_whole = !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'))
        && !fraction.is_empty()
        && fraction.bytes().all(|b| b == b'0');
    if is_whole { whole } else { value }
}

/// Whether two names are those of one slice: a threshold may say `age=25.0` where `age=25` is measured.
pub fn is_same_slice(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    match (one.split_once('='), other.split_once('=')) {
        (Some((column, value)), Some((of, with))) => column == of && slice_value(value) == slice_value(with),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_have_one_spelling() {
        for (written, wanted) in [
            ("25.0", "25"),
            ("25", "25"),
            ("-3.00", "-3"),
            ("0.0", "0"),
            ("2.5", "2.5"),
            ("1.10", "1.10"),
            ("007.0", "007.0"),
            ("1.0.0", "1.0.0"),
            (".0", ".0"),
            ("5.", "5."),
            ("basic", "basic"),
        ] {
            assert_eq!(slice_value(written), wanted, "{written}");
        }
    }

    #[test]
    fn names_of_slices_are_known_as_such() {
        for value in [Some("a"), Some(""), None] {
            assert!(is_slice_name(&slice_name("plan", value)), "{value:?}");
        }
        for text in ["", "plan", " is missing", "plan is"] {
            assert!(!is_slice_name(text), "{text}");
        }
    }

    #[test]
    fn slices_are_the_same_by_either_spelling() {
        assert!(is_same_slice("age=25.0", "age=25") && is_same_slice("age=25", "age=25.0"));
        assert!(is_same_slice("", ""));
        assert!(!is_same_slice("age=25", "years=25.0"));
        assert!(!is_same_slice("age=25.5", "age=25"));
        assert!(!is_same_slice("", "age=25"));
    }
}
