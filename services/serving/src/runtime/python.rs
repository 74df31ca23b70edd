//! Models of `python_function`, in processes of their own.

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use lodeway_domain::{
    Result,
    serving::{DeploymentSettings, EnvManager},
};
use lodeway_inference::Payload;
use lodeway_worker::{Pool, PoolSpec, Zygotes};

use super::{Answers, Call, Runtime, TensorSpec};

/// How long calls at work may take when a model is taken away.
const GRACE: Duration = Duration::from_secs(10);
/// About what a process holds before it has told: an interpreter with pandas and MLflow, most of it shared.
const WORKER_BYTES: u64 = 64 << 20;

/// A model in Python processes.
pub(super) struct PythonModel {
    pool: Pool,
    workers: usize,
}

impl PythonModel {
    /// Loads the model in `folder` into its processes. Errors: those of [`Zygotes::pool`].
    pub(super) async fn load(
        zygotes: &Arc<Zygotes>,
        folder: &Path,
        settings: &DeploymentSettings,
    ) -> Result<Self> {
        let spec = PoolSpec {
            env_manager: match settings.env_manager {
                EnvManager::Local => lodeway_worker::EnvManager::Local,
                EnvManager::Uv => lodeway_worker::EnvManager::Uv,
                EnvManager::Virtualenv => lodeway_worker::EnvManager::Virtualenv,
            },
            workers: settings.workers,
            memory_limit_bytes: settings.memory_limit_bytes,
            call_timeout: settings.call_timeout,
            allow_network: settings.allow_network,
            max_waiting: settings.max_queued_calls,
            ..PoolSpec::new(folder)
        };
        Ok(Self {
            pool: zygotes.pool(spec).await?,
            workers: settings.workers,
        })
    }
}

#[async_trait]
impl Runtime for PythonModel {
    fn platform(&self) -> &'static str {
        "mlflow_python_function"
    }

    fn inputs(&self) -> &[TensorSpec] {
        &[]
    }

    fn outputs(&self) -> &[TensorSpec] {
        &[]
    }

    fn memory_bytes(&self) -> u64 {
        let held: u64 = self
            .pool
            .status()
            .workers
            .iter()
            .map(|worker| worker.resident_bytes)
            .sum();
        held.max(WORKER_BYTES.saturating_mul(self.workers.try_into().unwrap_or(1)))
    }

    fn parallel(&self) -> usize {
        self.workers
    }

    fn reads_frames(&self) -> bool {
        true
    }

    async fn infer(&self, call: Call) -> Result<Payload> {
        let pool = &self.pool;
        pool.predict_traced(call.payload, &call.params, call.deadline, &call.trace)
            .await
    }

    fn streams(&self) -> bool {
        self.pool.model().is_some_and(|facts| facts.streams)
    }

    async fn stream(&self, call: Call) -> Result<Answers> {
        let answers = self
            .pool
            .predict_stream_traced(call.payload, &call.params, call.deadline, &call.trace)
            .await?;
        Ok(Box::pin(futures::stream::unfold(
            answers,
            |mut answers| async move { answers.next().await.map(|answer| (answer, answers)) },
        )))
    }

    async fn stop(&self) {
        self.pool.stop(GRACE).await;
    }
}
