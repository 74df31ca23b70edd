//! One write operation that a request id makes harmless to repeat, with its answer kept as JSON.

use futures::future::BoxFuture;
use lodeway_domain::{Error, Result, caller::Caller, id::RequestId, time::Timestamp};
use serde::{Serialize, de::DeserializeOwned};

use super::requests::{self, Seen};
use crate::sql::{Db, Tx};

/// Who writes, when, and under which request id.
#[derive(Debug, Clone)]
pub struct Write {
    /// Who; the ledger keeps principal and `verified`.
    pub caller: Caller,
    /// When.
    pub now: Timestamp,
    /// Makes a repetition harmless.
    pub request: Option<RequestId>,
    /// A hash of the request without its id; empty if it has none.
    pub body_hash: Vec<u8>,
}

impl Write {
    /// The workspace written to.
    pub fn workspace(&self) -> &str {
        self.caller.workspace.as_str()
    }
}

/// One write operation; may run more than once.
pub type Operation<S, T> = for<'a> fn(&'a mut Tx, &'a Write, &'a S) -> BoxFuture<'a, Result<T>>;

/// Runs `operation` once for its request id, and keeps its answer.
///
/// Errors: `REQUEST_ID_REUSED`, and those of the operation.
pub async fn once<S, T>(
    db: &Db,
    write: Write,
    method: &'static str,
    input: S,
    operation: Operation<S, T>,
) -> Result<T>
where
    S: Send + Sync + 'static,
    T: Serialize + DeserializeOwned + Send + 'static,
{
    db.write_with((write, input), move |tx, (write, input)| {
        Box::pin(async move {
            let Write {
                caller,
                now,
                request,
                body_hash,
            } = write;
            if let Seen::Replay(answer) =
                requests::once(tx, caller, method, *request, body_hash, *now).await?
            {
                return serde_json::from_slice(&answer).map_err(Error::internal);
            }
            let answer = operation(tx, write, input).await?;
            if request.is_some() {
                let bytes = serde_json::to_vec(&answer).map_err(Error::internal)?;
                requests::record(tx, caller, method, *request, &bytes, *now).await?;
            }
            Ok(answer)
        })
    })
    .await
}

/// The answer that the request of `write` got before, if it did, without claiming it. Errors: `REQUEST_ID_REUSED`.
pub async fn made_before<T: DeserializeOwned>(
    db: &Db,
    write: &Write,
    method: &'static str,
) -> Result<Option<T>> {
    let Write {
        caller,
        now,
        request,
        body_hash,
    } = write;
    let mut conn = db.read().await?;
    let answer = requests::seen(&mut conn, caller, method, *request, body_hash, *now).await?;
    answer
        .map(|answer| serde_json::from_slice(&answer).map_err(Error::internal))
        .transpose()
}
