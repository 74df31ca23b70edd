//! Lists longer than a page.

use std::future::Future;

use serde_json::Value;
use tonic::Status;

use super::Failure;

/// The size of a page when `limit` entries are wanted and the platform gives at most `most` at a time.
pub fn page_size(limit: usize, most: usize) -> i32 {
    i32::try_from(limit.min(most)).unwrap_or(i32::MAX)
}

/// The first `limit` entries: asks page by page, giving `page` the token of the one before, until there are enough.
pub async fn collect<F, P>(limit: usize, mut page: F) -> Result<Vec<Value>, Failure>
where
    F: FnMut(String) -> P,
    P: Future<Output = Result<(Vec<Value>, String), Status>>,
{
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let (entries, next) = page(token).await?;
        found.extend(entries);
        if next.is_empty() || found.len() >= limit {
            if !next.is_empty() || found.len() > limit {
                crate::complain(&format!(
                    "lodeway: these are the first {limit}; `--limit` gives more"
                ));
            }
            found.truncate(limit);
            return Ok(found);
        }
        token = next;
    }
}
