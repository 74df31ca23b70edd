//! Where a database is.

use std::{fmt, path::PathBuf, str::FromStr};

use sqlx::postgres::PgConnectOptions;

use super::OpenError;

/// The address of a database; prints without its password.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// The path of an SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL address, `postgres://user:password@host:port/database?options`.
    Postgres(String),
}

impl StoreUrl {
    /// Reads `sqlite://PATH` (relative, or absolute with three slashes) or `postgres://…`.
    pub fn parse(text: &str) -> Result<Self, OpenError> {
        if let Some(path) = text.strip_prefix("sqlite://").filter(|path| !path.is_empty()) {
            return Ok(Self::Sqlite(PathBuf::from(path)));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            let (text, unknown) = without_unknown_options(text);
            if !unknown.is_empty() {
                tracing::warn!(options = %unknown.join(", "), "options of a PostgreSQL address are ignored");
            }
            // What the driver says of an address has values of its options in it, and never the password.
            return match PgConnectOptions::from_str(&text) {
                Ok(_) => Ok(Self::Postgres(text)),
                Err(sqlx::Error::Configuration(e)) => Err(OpenError::Url {
                    reason: format!("is not a PostgreSQL address: {e}"),
                }),
                Err(_) => Err(OpenError::Url {
                    reason: "is not a PostgreSQL address".to_owned(),
                }),
            };
        }
        Err(OpenError::Url {
            reason: "must begin with `sqlite://` or `postgres://`".to_owned(),
        })
    }
}

/// Whether the driver knows an option of an address.
fn is_known_option(name: &str) -> bool {
    let known = [
        "sslmode",
        "ssl-mode",
        "sslrootcert",
        "ssl-root-cert",
        "ssl-ca",
        "sslcert",
        "ssl-cert",
        "sslkey",
        "ssl-key",
        "statement-cache-capacity",
        "host",
        "hostaddr",
        "port",
        "dbname",
        "user",
        "password",
        "application_name",
        "options",
    ];
    known.contains(&name) || name.starts_with("options[")
}

/// An address without the options that the driver does not know, and their names: the driver would log each with its value,
/// which may be a secret (`sslpassword`).
fn without_unknown_options(text: &str) -> (String, Vec<String>) {
    let Ok(mut url) = url::Url::parse(text) else {
        return (text.to_owned(), Vec::new());
    };
    let pairs = url.query_pairs().into_owned();
    let (known, unknown): (Vec<_>, Vec<_>) = pairs.partition(|(name, _)| is_known_option(name));
    if unknown.is_empty() {
        return (text.to_owned(), Vec::new());
    }
    url.set_query(None);
    if !known.is_empty() {
        url.query_pairs_mut().extend_pairs(known);
    }
    (url.into(), unknown.into_iter().map(|(name, _)| name).collect())
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(text) => match url::Url::parse(text) {
                Ok(mut url) => {
                    if url.password().is_some() && url.set_password(Some("***")).is_err() {
                        return f.write_str("postgres://***");
                    }
                    url.set_query(None);
                    url.set_fragment(None);
                    write!(f, "{url}")
                }
                Err(_) => f.write_str("postgres://***"),
            },
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_passwords_hidden() {
        assert_eq!(
            StoreUrl::parse("sqlite:///a/b.db").unwrap(),
            StoreUrl::Sqlite("/a/b.db".into())
        );
        assert_eq!(
            StoreUrl::parse("sqlite://b.db").unwrap(),
            StoreUrl::Sqlite("b.db".into())
        );
        let url = StoreUrl::parse("postgres://me:secret@db:5432/lodeway?sslpassword=secret").unwrap();
        assert_eq!(url.to_string(), "postgres://me:***@db:5432/lodeway");
        assert_eq!(format!("{url:?}"), url.to_string());
        assert_eq!(
            url,
            StoreUrl::Postgres("postgres://me:secret@db:5432/lodeway".into())
        );
        let url = StoreUrl::parse(
            "postgres://u@h/d?channel_binding=require&sslmode=require&options[search_path]=a",
        )
        .unwrap();
        assert_eq!(
            url,
            StoreUrl::Postgres("postgres://u@h/d?sslmode=require&options%5Bsearch_path%5D=a".into())
        );
        let url = StoreUrl::parse("postgres://me@db/lodeway?password=a#secret").unwrap();
        assert_eq!(url.to_string(), "postgres://me@db/lodeway");
        for bad in ["", "sqlite://", "mysql://x/y", "postgres://a b c"] {
            assert!(StoreUrl::parse(bad).is_err(), "{bad}");
        }
        let error = StoreUrl::parse("postgres://me:secret@db/lodeway?sslmode=bogus").unwrap_err();
        let error = error.to_string();
        assert!(error.contains("bogus") && !error.contains("secret"), "{error}");
    }
}
