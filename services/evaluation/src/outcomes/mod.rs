//! Outcomes that become known later, and live metrics of them.
//!
//! A tour: `api` is the generated trait, `convert` is wire and domain; `report` asks the gateway what prediction ids mean
//! and keeps outcomes, `join` puts them beside what the gateway recorded of the calls (`answer` reads that), `live`
//! measures them, `tell` tells the gateway for the guards of rollouts, and `keeper` does in the background what cannot be
//! done at once. Calls about schedules are passed on to
//! [`crate::schedules`].

mod answer;
mod api;
mod convert;
pub(crate) mod join;
mod keeper;
mod live;
mod report;
mod tell;

use std::sync::Arc;

use lodeway_domain::{Error, Reason, Result};
use lodeway_proto::{
    evaluation::v1::outcome_service_server::OutcomeServiceServer,
    gateway::v1::monitor_service_client::MonitorServiceClient,
};
use lodeway_rpc::Transport;

use crate::{Site, schedules::Schedules};

/// The largest request: a thousand outcomes, some of many rows.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// The largest answer of the gateway: what is known of a thousand predictions.
const MAX_FOUND_BYTES: usize = 64 << 20;

/// The service. Clones share it.
#[derive(Clone)]
pub(crate) struct Outcomes {
    site: Arc<Site>,
    schedules: Schedules,
}

impl Outcomes {
    /// Opens the service, and goes on with what is left to be done.
    pub(crate) fn start(site: Arc<Site>, schedules: Schedules) -> Self {
        let this = Self { site, schedules };
        this.begin_keeping();
        this
    }

    /// The service, to be mounted.
    pub(crate) fn service(&self) -> OutcomeServiceServer<Self> {
        lodeway_rpc::unpacking!(OutcomeServiceServer::new(self.clone()))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The gateway, which knows what predictions were. Errors: `NOT_IMPLEMENTED` where there is none.
    fn monitor(&self) -> Result<MonitorServiceClient<Transport>> {
        let peer = self.site.peers.gateway.clone();
        let peer = peer.ok_or_else(|| Error::Unimplemented {
            reason: Reason::NotImplemented,
            message: "evaluation works without a gateway here; set `peers.gateway`".to_owned(),
        })?;
        Ok(MonitorServiceClient::new(peer).max_decoding_message_size(MAX_FOUND_BYTES))
    }
}
