//! Content types.

use super::Refused;

/// The media types of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Json,
    Csv,
    Parquet,
}

/// The type that a `Content-Type` names. Errors: another type, a parameter other than `charset=utf-8`.
pub(super) fn of(content_type: &str) -> Result<Type, Refused> {
    let mut parts = content_type.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    for parameter in parts.filter(|parameter| !parameter.is_empty()) {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if !key.eq_ignore_ascii_case("charset") {
            return Err(Refused::MediaType(format!(
                "content type parameter `{key}` is not known; leave it out"
            )));
        }
        if !value.trim_matches('"').eq_ignore_ascii_case("utf-8") {
            return Err(Refused::MediaType(format!(
                "charset `{value}` is not read; send UTF-8"
            )));
        }
    }
    match name.to_ascii_lowercase().as_str() {
        "application/json" => Ok(Type::Json),
        "text/csv" => Ok(Type::Csv),
        "application/vnd.apache.parquet" => Ok(Type::Parquet),
        _ => Err(Refused::MediaType(format!(
            "content type `{name}` is not read; send application/json, text/csv or application/vnd.apache.parquet"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_utf_8_of_three_types_is_read() {
        for (text, wanted) in [
            ("application/json", Type::Json),
            ("Application/JSON; charset=UTF-8", Type::Json),
            ("text/csv;charset=\"utf-8\" ; ", Type::Csv),
            ("application/vnd.apache.parquet", Type::Parquet),
        ] {
            assert_eq!(of(text).unwrap(), wanted, "{text}");
        }
        for (text, why) in [
            ("", "content type `` is not read"),
            ("application/xml", "is not read; send application/json"),
            ("application/json; charset=latin-1", "charset `latin-1`"),
            ("text/csv; header=present", "parameter `header` is not known"),
            ("application/json; format=pandas-split", "parameter `format`"),
        ] {
            assert!(
                matches!(of(text), Err(Refused::MediaType(message)) if message.contains(why)),
                "{text}"
            );
        }
    }
}
