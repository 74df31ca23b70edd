//! The processes that serve one model, and calls to them.

use std::{
    sync::Arc,
    time::{Duration, Instant as StdInstant},
};

use lodeway_domain::Error;
use lodeway_inference::{Params, Payload};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Fence, PoolSpec, PredictStream,
    busy::Busy,
    shared::Shared,
    slot::{Slot, WorkerStatus},
    supervise::{supervise, watch_memory},
    wire::{self, Call, ModelFacts},
    worker::Doom,
    zygotes::{Inner, Key},
};

/// One model in its processes; clones share them. They end with [`Pool::stop`] or the last clone.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
    _stop_on_drop: Arc<StopOnDrop>,
}

struct StopOnDrop(CancellationToken);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// How a pool is, at one moment.
#[derive(Debug, Clone)]
pub struct PoolStatus {
    /// Its processes.
    pub workers: Vec<WorkerStatus>,
    /// Calls that wait for a free process.
    pub waiting: usize,
    /// What keeps the model's code away from the machine.
    pub fence: Fence,
    /// The version of the interpreter.
    pub python: String,
    /// What is known of the model.
    pub model: Option<ModelFacts>,
}

impl Pool {
    pub(crate) async fn start(zygotes: Arc<Inner>, key: Key, spec: PoolSpec) -> Result<Self, Error> {
        let shared = Arc::new(Shared::new(zygotes, key, spec));
        let pool = Self {
            _stop_on_drop: Arc::new(StopOnDrop(shared.stop.clone())),
            shared,
        };
        let shared = &pool.shared;
        let starts: Vec<_> = (0..shared.spec.workers)
            .map(|number| {
                let (first, started) = oneshot::channel();
                shared.spawn(supervise(shared.clone(), number, first));
                started
            })
            .collect();
        for started in starts {
            let started = started.await.map_err(Error::internal).flatten();
            if let Err(error) = started {
                pool.stop(Duration::ZERO).await;
                return Err(error);
            }
        }
        if let Some(limit) = shared.spec.memory_limit_bytes {
            shared.spawn(watch_memory(shared.clone(), limit));
        }
        Ok(pool)
    }

    /// One answer of the model; the same as `load_model(folder).predict(…)` gives, to the last bit.
    ///
    /// | input | what the model is given |
    /// |---|---|
    /// | document | what MLflow's scoring server makes of it; its params stand in it, `params` must be empty |
    /// | frame | a `DataFrame` of the same types, nulls as pandas has them |
    /// | tensors, signature of columns | a `DataFrame` of `[rows]` or `[rows, 1]` columns, or of one matrix |
    /// | tensors, otherwise | an array for one without a name in the signature, else a dict of arrays |
    ///
    /// Arrays, lists of one kind, scalars and sparse matrices are answered as tensors (`predictions`, or the one name
    /// in the signature), frames and series as frames; a document input and everything else as MLflow's JSON document.
    ///
    /// Errors: `INVALID_FIELD` for what MLflow finds wrong with the input; `MODEL_RAISED` if the model raises, see
    /// [`crate::ModelFault`]; `BACKEND_UNAVAILABLE` if its process ended during the call or none is to be had by the
    /// deadline; `DEADLINE_PASSED` at `deadline`, or at the pool's `call_timeout`, whose process is killed, as is one
    /// whose call goes on long after its deadline while others wait; `LIMIT_EXCEEDED` if too many calls wait, or input or answer is too large.
    pub async fn predict(
        &self,
        input: Payload,
        params: &Params,
        deadline: StdInstant,
    ) -> Result<Payload, Error> {
        self.predict_traced(input, params, deadline, "").await
    }

    /// As [`Pool::predict`]; `trace` stands in the worker's log before what went wrong in this call.
    pub async fn predict_traced(
        &self,
        input: Payload,
        params: &Params,
        deadline: StdInstant,
        trace: &str,
    ) -> Result<Payload, Error> {
        let shared = &self.shared;
        let id = shared.next_call();
        check_params(&input, params)?;
        let frame = wire::encode(Call::Predict(input, params, trace), id, shared.max_body_bytes())?;
        let mut busy = Busy::checkout(shared, Instant::from_std(deadline)).await?;
        let (reply, body) = busy.call(id, frame).await?;
        let answer = busy.answer(reply, &body);
        busy.finish();
        answer?.ok_or_else(|| Error::internal("the model answered a call with the end of a stream"))
    }

    /// The answers of the model's `predict_stream`, as it makes them. Errors: as [`Pool::predict`]; a model without
    /// streams raises.
    pub async fn predict_stream(
        &self,
        input: Payload,
        params: &Params,
        deadline: StdInstant,
    ) -> Result<PredictStream, Error> {
        self.predict_stream_traced(input, params, deadline, "").await
    }

    /// As [`Pool::predict_stream`]; `trace` stands in the worker's log before what went wrong in this call.
    pub async fn predict_stream_traced(
        &self,
        input: Payload,
        params: &Params,
        deadline: StdInstant,
        trace: &str,
    ) -> Result<PredictStream, Error> {
        let shared = &self.shared;
        let id = shared.next_call();
        check_params(&input, params)?;
        let frame = wire::encode(Call::Stream(input, params, trace), id, shared.max_body_bytes())?;
        let mut busy = Busy::checkout(shared, Instant::from_std(deadline)).await?;
        busy.put(id, frame);
        Ok(PredictStream::new(shared, busy))
    }

    /// Asks a free worker whether it is there; nothing of the model runs. Errors: as [`Pool::predict`].
    pub async fn ping(&self, deadline: StdInstant) -> Result<(), Error> {
        let id = self.shared.next_call();
        let frame = wire::encode(Call::Ping, id, self.shared.max_body_bytes())?;
        let mut busy = Busy::checkout(&self.shared, Instant::from_std(deadline)).await?;
        busy.call(id, frame).await?;
        busy.finish();
        Ok(())
    }

    /// How it is now.
    pub fn status(&self) -> PoolStatus {
        let shared = &self.shared;
        PoolStatus {
            workers: shared.slots.iter().map(Slot::status).collect(),
            waiting: shared.waiting(),
            fence: shared.fence.get().copied().unwrap_or_default(),
            python: shared.python.get().cloned().unwrap_or_default(),
            model: shared.facts.get().cloned(),
        }
    }

    /// What is known of the model.
    pub fn model(&self) -> Option<&ModelFacts> {
        self.shared.facts.get()
    }

    /// Takes no more calls, waits up to `grace` for those at work, ends the processes.
    pub async fn stop(&self, grace: Duration) {
        let shared = &self.shared;
        shared.close();
        let deadline = Instant::now() + grace;
        // each slot dismisses its worker as soon as it has no call
        shared.stop.cancel();
        shared.tasks.close();
        if timeout_at(deadline, shared.tasks.wait()).await.is_ok() {
            return;
        }
        for slot in &shared.slots {
            slot.kill(&Doom::Stopped);
        }
        let _ = timeout(Duration::from_secs(5), shared.tasks.wait()).await;
    }
}

/// The params of a document stand in it, as in a body for MLflow's scoring server.
fn check_params(input: &Payload, params: &Params) -> Result<(), Error> {
    match input {
        Payload::Document(_) if !params.is_empty() => Err(Error::invalid(
            "params",
            "must be empty: a document holds its own",
        )),
        _ => Ok(()),
    }
}
