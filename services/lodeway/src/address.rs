//! Where a platform is, as every command takes it.

use std::{fmt, str::FromStr};

use clap::builder::ValueParserFactory;
use url::Url;

use crate::{credential::Discreet, said};

/// An address of the platform: `http://HOST:PORT`, `https://HOST:PORT` or `unix:///PATH`; `HOST:PORT` is meant as the
/// first. It has no `/` at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(String);

/// How an address is to be written.
const SHAPE: &str = "write an address such as `http://127.0.0.1:5000`";

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            let shown = without_secrets(text);
            format!("`{}` {why}; {SHAPE}", said::plain(&shown))
        };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path.starts_with('/') {
                true => Ok(Self(format!("unix://{path}"))),
                false => Err(wrong("names no socket by a path from the root")),
            };
        }
        let whole = match text.contains("://") {
            true => text.to_owned(),
            false => format!("http://{text}"),
        };
        let url = Url::parse(&whole).map_err(|error| wrong(&format!("is no address: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            let why = format!(
                "has the scheme `{}`, which is not `http`, `https` or `unix`",
                url.scheme()
            );
            return Err(wrong(&why));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("has a user in it, who is told by `--user` or `--token`"));
        }
        if !matches!(url.path(), "" | "/") {
            return Err(wrong("has a path, and gRPC is at the root of an address"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong(
                "has a query or a fragment, which no address of a platform has",
            ));
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }
}

impl Address {
    /// The address with its scheme.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether calls are encrypted.
    pub fn is_tls(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// The address for a peer of a server. Errors: it is a socket of this machine, which peers cannot be at.
    pub fn url(&self) -> Result<Url, String> {
        if self.0.starts_with("unix:") {
            return Err(format!(
                "`{}` is a socket, and this takes http:// or https://",
                self.0
            ));
        }
        Url::parse(&self.0).map_err(|error| format!("`{}`: {error}", self.0))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ValueParserFactory for Address {
    type Parser = Discreet<Self>;

    fn value_parser() -> Discreet<Self> {
        Discreet::new()
    }
}

/// A refused address without its user and what follows its place: no address of a platform has either, so both may be
/// anything.
fn without_secrets(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    let (user, rest) = match rest.rsplit_once('@') {
        Some((_, place)) => ("***@", place),
        None => ("", rest),
    };
    let (place, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    let query = query
        .get(..1)
        .map(|sign| format!("{sign}***"))
        .unwrap_or_default();
    format!("{scheme}{user}{place}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_no_scheme() {
        for (text, whole) in [
            ("127.0.0.1:5000", "http://127.0.0.1:5000"),
            ("localhost:5000", "http://localhost:5000"),
            ("[::1]:5000", "http://[::1]:5000"),
            ("http://h:1/", "http://h:1"),
            ("https://lodeway.example", "https://lodeway.example"),
            ("unix:///run/lodeway.sock", "unix:///run/lodeway.sock"),
            ("unix:/run/lodeway.sock", "unix:///run/lodeway.sock"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().as_str(), whole, "{text}");
        }
        assert!("https://h".parse::<Address>().unwrap().is_tls());
        assert_eq!("h:1".parse::<Address>().unwrap().url().unwrap().port(), Some(1));
        assert!("unix:///x".parse::<Address>().unwrap().url().is_err());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, why) in [
            ("", "no address"),
            ("ftp://h:1", "scheme `ftp`"),
            ("grpc://h:1", "scheme `grpc`"),
            ("http://h:1/lodeway", "path"),
            ("h:1/x", "path"),
            ("http://h:1?x=1", "query"),
            ("http://h:1/#x", "fragment"),
            ("http://h:99999", "port"),
            ("unix:run.sock", "path from the root"),
        ] {
            let said = text.parse::<Address>().unwrap_err();
            assert!(
                said.contains(why) && said.contains("127.0.0.1:5000"),
                "{text}: {said}"
            );
        }
        let said = "http://u:secret@h".parse::<Address>().unwrap_err();
        assert!(said.contains("--token"), "{said}");
    }

    #[test]
    fn a_refusal_holds_no_secret() {
        for (text, shown) in [
            ("http://u:secret@h", "`http://***@h`"),
            ("u:secret@h:1", "`***@h:1`"),
            ("http://u:secret@h:99999", "`http://***@h:99999`"),
            ("http://u:secret/x?y#z@h:1", "`http://***@h:1`"),
            ("http://secret@h", "`http://***@h`"),
            ("ftp://h?sslpassword=secret", "`ftp://h?***`"),
            ("h:1#secret", "`h:1#***`"),
            ("unix:u:secret@h", "`***@h`"),
        ] {
            let said = text.parse::<Address>().unwrap_err();
            assert!(said.contains(shown) && !said.contains("secret"), "{said}");
        }
    }
}
