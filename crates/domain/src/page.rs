//! Pages of a list, by keyset: a token holds the sort values of the last row, never an offset.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Error, FieldViolation, Reason, Result};

/// One value of a keyset position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum KeyValue {
    /// The value is missing; missing ranks last.
    Null,
    /// A whole number: ids, times, steps, the order-preserving bits of a float.
    Int(i64),
    /// A text.
    Text(String),
}

/// The position after which a page begins: the sort values of the last row of the page before.
#[derive(Debug, Clone, PartialEq)]
pub struct Position(pub Vec<KeyValue>);

/// Names the query a token belongs to; a token sent with another query is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryHash([u8; 8]);

impl QueryHash {
    /// Hashes the parts that decide which rows a query gives and in which order (not its page size).
    pub fn of(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize();
        let mut head = [0; 8];
        head.copy_from_slice(&digest[..8]);
        Self(head)
    }
}

#[derive(Serialize, Deserialize)]
struct Token {
    #[serde(rename = "q")]
    query: String,
    #[serde(rename = "k")]
    keys: Vec<KeyValue>,
}

/// How many rows to give and from where.
#[derive(Debug, Clone, PartialEq)]
pub struct PageRequest {
    /// At most this many rows, at least 1.
    pub size: usize,
    /// After this position; none is the beginning.
    pub after: Option<Position>,
    /// What tokens made for this list are bound to.
    pub query: QueryHash,
}

/// The default and the largest page size of one list.
#[derive(Debug, Clone, Copy)]
pub struct PageLimits {
    /// Used when the caller gives 0.
    pub default: usize,
    /// A larger wish is lowered to this.
    pub max: usize,
}

impl PageRequest {
    /// Parses the paging fields of a request: 0 means the default, too big is lowered, negative is refused.
    pub fn parse(page_size: i32, page_token: &str, limits: PageLimits, query: QueryHash) -> Result<Self> {
        let size = match usize::try_from(page_size) {
            Ok(0) => limits.default,
            Ok(n) => n.min(limits.max),
            Err(_) => return Err(Error::invalid("page_size", format!("{page_size} is negative"))),
        };
        let after = if page_token.is_empty() {
            None
        } else {
            Some(Position::decode(page_token, query)?)
        };
        Ok(Self { size, after, query })
    }

    /// The first `size` rows of a query.
    pub fn first(size: usize, query: QueryHash) -> Self {
        Self {
            size: size.max(1),
            after: None,
            query,
        }
    }
}

impl Position {
    /// The opaque token for this position.
    pub fn encode(&self, query: QueryHash) -> String {
        let token = Token {
            query: hex::encode(query.0),
            keys: self.0.clone(),
        };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
    }

    fn decode(token: &str, query: QueryHash) -> Result<Self> {
        let refuse = |why: &str| {
            let violation = FieldViolation::new("page_token", why).because(Reason::InvalidPageToken);
            Error::Invalid(vec![violation])
        };
        let bytes = URL_SAFE_NO_PAD
            .decode(token)
            .map_err(|_| refuse("is not a token that this server made"))?;
        let token: Token =
            serde_json::from_slice(&bytes).map_err(|_| refuse("is not a token that this server made"))?;
        if token.query != hex::encode(query.0) {
            return Err(refuse(
                "belongs to another query; repeat the query it came from or start without a token",
            ));
        }
        Ok(Self(token.keys))
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins; none means that nothing follows.
    pub next: Option<Position>,
}

impl<T> Page<T> {
    /// A page from rows fetched with one row of look-ahead: `rows` holds up to `size + 1` rows.
    pub fn from_lookahead(mut rows: Vec<(T, Position)>, size: usize) -> Self {
        let more = rows.len() > size;
        rows.truncate(size);
        let next = if more {
            rows.last().map(|(_, position)| position.clone())
        } else {
            None
        };
        Self {
            items: rows.into_iter().map(|(item, _)| item).collect(),
            next,
        }
    }

    /// The token of the next page; empty at the end.
    pub fn token(&self, query: QueryHash) -> String {
        self.next.as_ref().map(|p| p.encode(query)).unwrap_or_default()
    }

    /// The same page with other items.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(f).collect(),
            next: self.next,
        }
    }
}
