//! Outcomes that become known later, and live metrics of them.
//!
//! A tour: `api` is the generated trait, `convert` is wire and domain; `report` asks the gateway what each prediction id
//! means and keeps outcomes, `live` measures them. Calls about schedules are passed on to [`crate::schedules`].

mod api;
mod convert;
mod live;
mod report;

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

/// The service. Clones share it.
#[derive(Clone)]
pub(crate) struct Outcomes {
    site: Arc<Site>,
    schedules: Schedules,
}

impl Outcomes {
    /// Opens the service.
    pub(crate) fn new(site: Arc<Site>, schedules: Schedules) -> Self {
        Self { site, schedules }
    }

    /// The service, to be mounted.
    pub(crate) fn service(&self) -> OutcomeServiceServer<Self> {
        OutcomeServiceServer::new(self.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The gateway, which knows what predictions were. Errors: `NOT_IMPLEMENTED` where there is none.
    fn monitor(&self) -> Result<MonitorServiceClient<Transport>> {
        let peer = self.site.peers.gateway.clone();
        let peer = peer.ok_or_else(|| Error::Unimplemented {
            reason: Reason::NotImplemented,
            message: "evaluation works without a gateway here; set `peers.gateway`".to_owned(),
        })?;
        Ok(MonitorServiceClient::new(peer))
    }
}
