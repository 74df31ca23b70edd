//! A scheduler and executors that know the functions.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use ballista::prelude::SessionConfigExt;
use ballista_core::{config::TaskSchedulingPolicy, error::Result, utils::default_config_producer};
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_scheduler::{
    cluster::BallistaCluster,
    config::SchedulerConfig,
    scheduler_process::{create_scheduler, start_grpc_service_with_listener},
    scheduler_server::SchedulerServer,
};
use datafusion::prelude::SessionConfig;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use tokio::net::TcpListener;

use crate::{function_registry, session::MESSAGE_BYTES, session_state};

/// How a scheduler runs.
#[derive(Debug, Clone)]
pub struct SchedulerOptions {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The name or address by which executors call it back; by default the one it listens on.
    pub external_host: Option<String>,
    /// It says that it is ready, at `/readyz`, with this many executors.
    pub ready_executors: usize,
    /// An executor not heard of for so long is lost, and its tasks go to others. Whole seconds.
    pub executor_timeout: Duration,
}

/// A scheduler that listens and does not serve yet.
pub struct Scheduler {
    listener: TcpListener,
    address: SocketAddr,
    server: SchedulerServer<LogicalPlanNode, PhysicalPlanNode>,
}

impl Scheduler {
    /// Listens. Errors: the address is taken or is none of this machine's.
    pub async fn bind(options: &SchedulerOptions) -> Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let host = options.external_host.clone();
        let timeout = options.executor_timeout.as_secs();
        let config = SchedulerConfig {
            bind_host: address.ip().to_string(),
            bind_port: address.port(),
            external_host: host.unwrap_or_else(|| address.ip().to_string()),
            scheduling_policy: TaskSchedulingPolicy::PushStaged,
            executor_timeout_seconds: timeout,
            expire_dead_executor_interval_seconds: (timeout / 4).max(1),
            no_executors_grace_period_seconds: timeout,
            min_ready_executors: options.ready_executors,
            override_session_builder: Some(Arc::new(session_state)),
            override_config_producer: Some(Arc::new(config)),
            grpc_server_max_decoding_message_size: MESSAGE_BYTES as u32,
            grpc_server_max_encoding_message_size: MESSAGE_BYTES as u32,
            grpc_client_max_message_size: MESSAGE_BYTES as u32,
            ..SchedulerConfig::default()
        };
        config.validate()?;
        let cluster = BallistaCluster::new_from_config(&config).await?;
        let server = create_scheduler(cluster, Arc::new(config)).await?;
        Ok(Self {
            listener,
            address,
            server,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves for as long as the future is polled.
    pub async fn serve(self) -> Result<()> {
        start_grpc_service_with_listener(self.listener, self.server).await
    }
}

/// How an executor runs.
#[derive(Debug, Clone)]
pub struct ExecutorOptions {
    /// The scheduler's name or address.
    pub scheduler_host: String,
    /// The scheduler's port.
    pub scheduler_port: u16,
    /// The address it listens on.
    pub bind_host: String,
    /// The name or address by which scheduler and other executors reach it; by default what the scheduler sees.
    pub external_host: Option<String>,
    /// The port where other executors fetch what it wrote.
    pub port: u16,
    /// The port where the scheduler gives it tasks.
    pub grpc_port: u16,
    /// Tasks at a time; 0 for as many as there are cores.
    pub cores: usize,
    /// Where it writes what other tasks read; by default a temporary folder.
    pub work_dir: Option<PathBuf>,
    /// How often it says that it lives. Whole seconds.
    pub heartbeat: Duration,
    /// The most memory its tasks may take, in bytes; 0 for no bound, none for 70 % of the machine's.
    pub memory: Option<u64>,
}

/// Runs an executor until it is told to end.
pub async fn run_executor(options: ExecutorOptions) -> Result<()> {
    let config = ExecutorProcessConfig {
        bind_host: options.bind_host,
        external_host: options.external_host,
        port: options.port,
        grpc_port: options.grpc_port,
        scheduler_host: options.scheduler_host,
        scheduler_port: options.scheduler_port,
        scheduler_connect_timeout_seconds: 60,
        vcores: options.cores,
        task_scheduling_policy: TaskSchedulingPolicy::PushStaged,
        work_dir: options.work_dir.map(|path| path.to_string_lossy().into_owned()),
        executor_heartbeat_interval_seconds: options.heartbeat.as_secs().max(1),
        memory_pool_size: options.memory,
        override_function_registry: Some(Arc::new(function_registry())),
        override_config_producer: Some(Arc::new(config)),
        grpc_max_decoding_message_size: MESSAGE_BYTES as u32,
        grpc_max_encoding_message_size: MESSAGE_BYTES as u32,
        ..ExecutorProcessConfig::default()
    };
    start_executor_process(Arc::new(config)).await
}

/// What sessions of a cluster start from.
fn config() -> SessionConfig {
    default_config_producer().with_ballista_grpc_client_max_message_size(MESSAGE_BYTES)
}
