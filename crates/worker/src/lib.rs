//! Python models in processes of their own.
//!
//! Its job: to start, fence, supervise and call the processes in which models of MLflow's `python_function` run. Not
//! its job: queues and batches before a model, versions, anything of gRPC.
//!
//! The tour: [`Zygotes`] starts an interpreter that has imported MLflow (`zygote`, `python`), through our own program,
//! which fences itself first ([`worker_exec`], `fence`). [`Zygotes::pool`] has it fork a child for each `slot` of a
//! [`Pool`]; `supervise` starts each child again when it ends. A call is given a free worker (`shared`), written and read
//! (`busy`, `conn`, `wire`); the other end is Python, embedded from `python/`. What children print goes through `output`,
//! what they hold is watched by `memory`, and `environment` builds the environments that models ask for.
//!
//! Decisions (2026-11-25): a child answers one call at a time, because a model may kill its process and should then
//! take one call with it; children do not share a layer of Landlock, so that one model cannot read another.

mod busy;
mod config;
mod conn;
mod control;
mod environment;
mod fault;
mod fence;
mod memory;
mod output;
mod pool;
mod process;
mod python;
mod requirements;
mod run;
mod shared;
mod slot;
mod stream;
mod supervise;
mod wire;
mod worker;
mod zygote;
mod zygotes;

use std::sync::Arc;

use futures::future::BoxFuture;

pub use self::{
    config::{EnvManager, PoolSpec, Unfenced, WorkerConfig},
    fault::ModelFault,
    fence::{Fence, worker_exec},
    pool::{Pool, PoolStatus},
    slot::WorkerStatus,
    stream::PredictStream,
    wire::ModelFacts,
    zygotes::Zygotes,
};

/// Runs work in the background; the embedder's tracked spawner, so that its shutdown waits for the work.
pub type Spawn = Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>;
