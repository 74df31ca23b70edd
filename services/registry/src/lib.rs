//! The registry service: models under names, numbered versions, stages, aliases, and the ledger of what happened.
//!
//! Its job: the use cases of `lodeway.registry.v1` over [`lodeway_store::registry`], where the files of a new version
//! are, telling tracking what is referred to, and recording content digests. Not its job: runs and files themselves;
//! it asks the tracking and artifact services, or does without them.
//!
//! A tour: `api.rs` is the generated trait, `convert.rs` and `peers.rs` know both wire and domain, `models.rs`,
//! `versions.rs`, `transitions.rs` and `resolve.rs` are the use cases, `watch.rs` pushes changes, `outbox.rs` delivers
//! references to tracking, `elsewhere.rs` knows of which files nobody need be asked, `promotion/` says what may have a stage or an alias, `digests.rs` computes and checks content digests.
//!
//! 2026-11: background work lives in tables, never only in memory. The outbox and the pending digests are found again by
//! whoever starts next, and doing either twice changes nothing.

mod api;
mod config;
mod convert;
mod digests;
mod elsewhere;
mod holds;
mod models;
mod outbox;
mod peers;
mod promotion;
mod resolve;
mod transitions;
mod versions;
mod watch;

use std::sync::Arc;

use lodeway_domain::time::Clock;
use lodeway_proto::registry::v1::{
    promotion_service_server::PromotionServiceServer, registry_service_server::RegistryServiceServer,
};
use lodeway_rpc::{CallContext, Repeat, Tasks};
use lodeway_store::{ledger::Write, registry::RegistryStore};

pub use self::{config::RegistryConfig, peers::Peers};
use self::{digests::Digests, elsewhere::Elsewhere, holds::Holds, outbox::Outbox};

/// A request holds at most a thousand tags of 100,000 characters; what is larger is refused before it is read.
const MAX_REQUEST_BYTES: usize = 16 << 20;

/// The service, ready to be mounted. Clones share it.
#[derive(Clone)]
pub struct Registry {
    store: Arc<dyn RegistryStore>,
    peers: Peers,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    config: RegistryConfig,
    outbox: Outbox,
    elsewhere: Elsewhere,
    digests: Digests,
    holds: Holds,
}

impl Registry {
    /// A service over this store, with the default settings. Needs a tokio runtime: background work starts at once.
    pub fn new(store: Arc<dyn RegistryStore>, peers: Peers, clock: Arc<dyn Clock>, tasks: Tasks) -> Self {
        Self::with_config(store, peers, clock, tasks, RegistryConfig::default())
    }

    /// As [`Registry::new`], with other settings.
    pub fn with_config(
        store: Arc<dyn RegistryStore>,
        peers: Peers,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
        config: RegistryConfig,
    ) -> Self {
        let peers = peers.with_limits();
        let outbox = Outbox::start(store.clone(), &peers, clock.clone(), &tasks, &config);
        let holds = Holds::start(store.clone(), &peers, tasks.clone());
        let digests = Digests::start(store.clone(), &peers, clock.clone(), holds.clone(), &tasks);
        let elsewhere = Elsewhere::start(&peers, digests.clone(), &tasks, config.bucket_poll);
        watch::keep_log_short(store.clone(), clock.clone(), &tasks, config.change_retention);
        Self {
            store,
            peers,
            clock,
            tasks,
            config,
            outbox,
            elsewhere,
            digests,
            holds,
        }
    }

    /// The service with its message limits.
    pub fn into_service(self) -> RegistryServiceServer<Self> {
        lodeway_rpc::unpacking!(RegistryServiceServer::new(self)).max_decoding_message_size(MAX_REQUEST_BYTES)
    }

    /// The promotion service with its message limits.
    pub fn into_promotion_service(self) -> PromotionServiceServer<Self> {
        lodeway_rpc::unpacking!(PromotionServiceServer::new(self))
            .max_decoding_message_size(MAX_REQUEST_BYTES)
    }

    fn write(&self, cx: &CallContext, repeat: Repeat) -> Write {
        Write {
            caller: (*cx.caller).clone(),
            now: self.clock.now(),
            request: repeat.id,
            body_hash: repeat.body_hash,
        }
    }
}
