//! The formats of tables, and telling them apart.

use std::fmt;

/// A file format of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// Text with a separator, RFC 4180 as pandas reads it.
    Csv,
    /// One JSON object a line, <https://jsonlines.org>.
    JsonLines,
    /// Arrow's IPC format, file or stream; Feather version 2 is the same.
    Arrow,
}

impl Format {
    /// Every format.
    pub const ALL: &[Self] = &[Self::Parquet, Self::Csv, Self::JsonLines, Self::Arrow];

    /// The format by the end of a file's name, case aside; `None` for an end that is not known.
    pub fn of_name(name: &str) -> Option<Self> {
        let (_, end) = name.rsplit_once('.')?;
        Some(match end.to_ascii_lowercase().as_str() {
            "parquet" | "pq" | "parq" => Self::Parquet,
            "csv" | "tsv" => Self::Csv,
            "jsonl" | "ndjson" => Self::JsonLines,
            "arrow" | "arrows" | "feather" | "ipc" => Self::Arrow,
            _ => return None,
        })
    }

    /// The format by its first bytes, 8 of which are enough.
    ///
    /// A text beginning with `{` is taken for JSON Lines. CSV has no mark and is never the answer.
    pub fn of_bytes(head: &[u8]) -> Option<Self> {
        let text = head
            .strip_prefix(b"\xef\xbb\xbf")
            .unwrap_or(head)
            .trim_ascii_start();
        match head {
            [b'P', b'A', b'R', b'1' | b'E', ..] => Some(Self::Parquet),
            [b'A', b'R', b'R', b'O', b'W', b'1', ..] | [0xff, 0xff, 0xff, 0xff, ..] => Some(Self::Arrow),
            _ if text.first() == Some(&b'{') => Some(Self::JsonLines),
            _ => None,
        }
    }

    /// The format by its first bytes if they say one, else by its name, else CSV if the bytes may be text.
    pub fn detect(name: &str, head: &[u8]) -> Option<Self> {
        let by_name = Self::of_name(name);
        match Self::of_bytes(head) {
            // a CSV may begin with a brace
            Some(Self::JsonLines) if by_name == Some(Self::Csv) => by_name,
            Some(format) => Some(format),
            None => by_name.or_else(|| (!head.contains(&0)).then_some(Self::Csv)),
        }
    }

    /// Its name, lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::JsonLines => "jsonl",
            Self::Arrow => "arrow",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_name_and_bytes() {
        assert_eq!(Format::of_name("a.b/DATA.Parquet"), Some(Format::Parquet));
        assert_eq!(Format::of_name("data.txt"), None);
        for (name, head, wanted) in [
            ("x.csv", &b"PAR1\x15\x04"[..], Some(Format::Parquet)),
            ("x", b"ARROW1\0\0", Some(Format::Arrow)),
            ("x.txt", b"\xef\xbb\xbf {\"a\"", Some(Format::JsonLines)),
            ("x.csv", b"{a},b\n", Some(Format::Csv)),
            ("x.jsonl", b"", Some(Format::JsonLines)),
            ("x", b"a,b\n1,2", Some(Format::Csv)),
            ("x", b"\0\x01\x02", None),
        ] {
            assert_eq!(Format::detect(name, head), wanted, "{name} {head:?}");
        }
        assert!(
            Format::ALL
                .iter()
                .all(|format| Format::of_name(&format!("x.{format}")) == Some(*format))
        );
    }
}
