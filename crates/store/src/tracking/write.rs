//! Writes of a caller: once per request id, with the answer kept for a repetition.

use std::sync::Arc;

use futures::future::BoxFuture;
use lodeway_domain::{Caller, Result, id::RequestId, time::Timestamp};
use sha2::{Digest, Sha256};

use crate::{
    ledger::requests::{self, Seen},
    sql::{Db, Tx},
};

/// Who writes, when, under which request id, and how the answer is kept.
#[derive(Debug, Clone)]
pub struct Write<T> {
    /// Who.
    pub caller: Arc<Caller>,
    /// The RPC, for example `CreateRun`; request ids are per method.
    pub method: &'static str,
    /// Makes a repetition harmless.
    pub request: Option<RequestId>,
    /// A hash of the request; empty if it has no id.
    pub body_hash: Vec<u8>,
    /// When.
    pub now: Timestamp,
    /// The bytes of the answer to keep; what [`Outcome::Replay`] gives again.
    pub encode: fn(&T) -> Vec<u8>,
}

/// What came of a write.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome<T> {
    /// It was done.
    Done(T),
    /// It was done before under the same request id; its answer as it was kept.
    Replay(Vec<u8>),
}

impl<T> Write<T> {
    /// A write; `body` gives the bytes of the request and is called only if there is an id.
    pub fn new(
        caller: Arc<Caller>,
        method: &'static str,
        request: Option<RequestId>,
        body: impl FnOnce() -> Vec<u8>,
        now: Timestamp,
        encode: fn(&T) -> Vec<u8>,
    ) -> Self {
        let body_hash = if request.is_some() {
            Sha256::digest(body()).to_vec()
        } else {
            Vec::new()
        };
        Self {
            caller,
            method,
            request,
            body_hash,
            now,
            encode,
        }
    }

    /// The workspace written to.
    pub fn workspace(&self) -> &str {
        self.caller.workspace.as_str()
    }

    /// Runs `op` in one transaction with the claim of the request id and its answer; `op` may run more than once.
    pub(crate) async fn once<S, F>(self, db: &Db, state: S, op: F) -> Result<Outcome<T>>
    where
        T: Send + 'static,
        S: Send + Sync + 'static,
        F: for<'a> Fn(&'a mut Tx, &'a Self, &'a S) -> BoxFuture<'a, Result<T>> + Send + Sync + 'static,
    {
        db.write_with((self, state, op), |tx, (write, state, op)| {
            Box::pin(async move {
                if write.request.is_none() {
                    return op(tx, write, state).await.map(Outcome::Done);
                }
                let (caller, hash) = (&*write.caller, &write.body_hash);
                let seen = requests::once(tx, caller, write.method, write.request, hash, write.now).await?;
                if let Seen::Replay(answer) = seen {
                    return Ok(Outcome::Replay(answer));
                }
                let value = op(tx, write, state).await?;
                let answer = (write.encode)(&value);
                requests::record(tx, caller, write.method, write.request, &answer, write.now).await?;
                Ok(Outcome::Done(value))
            })
        })
        .await
    }
}
