//! The services that evaluation asks.

use lodeway_rpc::Transport;

/// Each is absent where nobody said where it is; what needs it says so.
#[derive(Debug, Clone, Default)]
pub struct Peers {
    /// Files of datasets and reports.
    pub artifacts: Option<Transport>,
    /// Runs that hold results.
    pub tracking: Option<Transport>,
    /// Versions, and the verdicts on them.
    pub registry: Option<Transport>,
    /// The model host.
    pub serving: Option<Transport>,
    /// Endpoints, their traffic, and LLM routes.
    pub gateway: Option<Transport>,
}
