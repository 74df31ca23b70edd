//! Datasets: files in versions, read to their end before a version exists.
//!
//! A tour: `api` is the generated trait, `convert` is wire and domain. `spool` takes a file in, `inspect` reads it to its
//! end, `versions` makes the version; `records` are cases that people write one by one, `capture` the traffic of an
//! endpoint. `cache` keeps files on this
//! machine, [`open`] gives them to evaluations and `rows` reads them out. `leftovers` removes what nobody needs.
//!
//! What is durable when: the file is in the artifact service before its version is in the database. Its folder is noted
//! as a leftover before the first byte is sent, and the version takes that note away as it is committed: whatever breaks
//! in between, nothing stays behind for long.

mod api;
mod cache;
pub(crate) mod capture;
mod convert;
mod inspect;
mod leftovers;
mod open;
mod records;
mod rows;
mod spool;
mod versions;

use std::sync::Arc;

use lodeway_domain::Result;
use lodeway_proto::evaluation::v1::dataset_service_server::DatasetServiceServer;

pub(crate) use self::cache::Cache;
pub(crate) use self::open::{OpenDataset, locate, open};
use crate::Site;

/// The largest request: a thousand records, or a part of a file.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// The service. Clones share it.
#[derive(Clone)]
pub(crate) struct Datasets {
    site: Arc<Site>,
}

impl Datasets {
    /// Opens the service. Errors: a folder to work in that cannot be used.
    pub(crate) fn start(site: Arc<Site>) -> Result<Self> {
        spool::prepare(&site)?;
        leftovers::start(site.clone());
        Ok(Self { site })
    }

    /// Removes files that nobody needs any more, at once instead of in a minute.
    pub(crate) async fn sweep(&self) {
        leftovers::sweep(&self.site).await;
    }

    /// The service, to be mounted.
    pub(crate) fn service(&self) -> DatasetServiceServer<Self> {
        lodeway_rpc::unpacking!(DatasetServiceServer::new(self.clone()))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
    }
}
