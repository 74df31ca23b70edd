//! Lists longer than a page.

use std::future::Future;

use serde_json::Value;
use tonic::Status;

use super::Failure;

/// The size of a page when `limit` entries are wanted (0: all) and the platform gives at most `most` at a time.
pub fn page_size(limit: usize, most: usize) -> i32 {
    let size = if limit == 0 { most } else { limit.min(most) };
    i32::try_from(size).unwrap_or(i32::MAX)
}

/// The first `limit` entries, with 0 all: asks page by page, giving `page` the token of the one before, until there are
/// enough.
pub async fn collect<F, P>(limit: usize, mut page: F) -> Result<Vec<Value>, Failure>
where
    F: FnMut(String) -> P,
    P: Future<Output = Result<(Vec<Value>, String), Status>>,
{
    let most = if limit == 0 { usize::MAX } else { limit };
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let (entries, next) = page(token).await?;
        found.extend(entries);
        if next.is_empty() || found.len() >= most {
            if !next.is_empty() || found.len() > most {
                crate::complain(&format!(
                    "lodeway: these are the first {limit}; `--limit` gives more"
                ));
            }
            found.truncate(most);
            return Ok(found);
        }
        token = next;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Five entries in pages of two.
    async fn found(limit: usize) -> usize {
        let pages = |token: String| async move {
            let first: usize = token.parse().unwrap_or(0);
            let entries = (first..5.min(first + 2)).map(|n| json!(n)).collect();
            let next = if first + 2 < 5 {
                (first + 2).to_string()
            } else {
                String::new()
            };
            Ok((entries, next))
        };
        collect(limit, pages).await.unwrap().len()
    }

    #[tokio::test]
    async fn a_limit_of_zero_is_none() {
        assert_eq!((page_size(0, 1_000), page_size(7, 1_000)), (1_000, 7));
        assert_eq!((found(0).await, found(3).await, found(9).await), (5, 3, 5));
    }
}
