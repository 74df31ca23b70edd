//! Records that people add one by one, and the versions made of them.

use std::io::Write as _;

use lodeway_domain::{Error, Result, evaluation::DatasetFormat, evaluation::DatasetVersion};
use lodeway_rpc::CallContext;
use lodeway_store::{evaluation::DatasetStore as _, ledger::Write};
use sha2::{Digest as _, Sha256};

use super::{
    Datasets,
    spool::{self, Spooled},
    versions::{Header, Making, Place},
};
use crate::evaluations::files;

/// Records read from the database at a time.
const AT_ONCE: usize = 1_000;

impl Datasets {
    /// Makes a version of all records, in the order of adding. Errors: `NO_RECORDS_PENDING`; records of which a column
    /// cannot be made.
    pub(super) async fn publish(
        &self,
        cx: &CallContext,
        header: Header,
        write: Write,
    ) -> Result<DatasetVersion> {
        let site = &self.site;
        files::artifacts(site)?;
        if let Some(made) = site.store.version_made_before(&write).await? {
            return Ok(made);
        }
        let (dataset, last) = site
            .store
            .newest_record(&cx.caller.workspace, &header.name)
            .await?;
        let file = spool::new_file(site)?;
        let mut out = std::io::BufWriter::new(file.reopen().map_err(spool::broken)?);
        let (mut hash, mut size_bytes, mut at) = (Sha256::new(), 0_u64, 0);
        while at < last {
            let records = site.store.records(&dataset.uid, at, AT_ONCE).await?;
            let Some((newest, _)) = records.last() else {
                return Err(Error::internal("records of a dataset are missing"));
            };
            at = *newest;
            for (_, record) in records.into_iter().filter(|(number, _)| *number <= last) {
                let line = record + "\n";
                hash.update(&line);
                size_bytes += line.len() as u64;
                out.write_all(line.as_bytes()).map_err(spool::broken)?;
            }
        }
        out.flush().map_err(spool::broken)?;
        let spooled = Spooled {
            file,
            sha256: hex::encode(hash.finalize()),
            size_bytes,
        };
        let making = Making {
            header: Header {
                format: Some(DatasetFormat::JsonLines),
                ..header
            },
            spooled,
            place: Place::Own,
            source: "records".to_owned(),
            last_record: Some(last),
            traffic: None,
        };
        self.make(cx, making, write).await
    }
}
