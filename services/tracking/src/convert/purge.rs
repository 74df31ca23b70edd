//! Purging on the wire.

use lodeway_domain::{
    Result,
    error::Violations,
    id::{ModelId, RunId},
};
use lodeway_proto::tracking::v1 as pb;
use lodeway_rpc::time::bound_from_wire;
use lodeway_store::tracking::PurgeFilter;
use prost::Message as _;

use super::experiment_ids;
use crate::purge::Purged;

/// The most ids of one kind.
const MAX_IDS: usize = 10_000;

pub fn filter(message: &pb::PurgeRequest) -> Result<PurgeFilter> {
    let mut violations = Violations::new();
    let ids = experiment_ids("experiment_ids", &message.experiment_ids, MAX_IDS);
    let experiments = violations.take("experiment_ids", ids).unwrap_or_default();
    for (field, ids) in [("run_ids", &message.run_ids), ("model_ids", &message.model_ids)] {
        if ids.len() > MAX_IDS {
            violations.add(
                field,
                format!("has {} entries; at most {MAX_IDS} fit one call", ids.len()),
            );
        }
    }
    let mut runs = Vec::new();
    for (i, id) in message.run_ids.iter().enumerate() {
        runs.extend(violations.take(&format!("run_ids[{i}]"), RunId::parse(id)));
    }
    let mut models = Vec::new();
    for (i, id) in message.model_ids.iter().enumerate() {
        models.extend(violations.take(&format!("model_ids[{i}]"), ModelId::parse(id)));
    }
    let before = message.deleted_before.as_ref();
    let before = before
        .map(|time| bound_from_wire("deleted_before", time))
        .transpose();
    let before = violations.take("deleted_before", before);
    violations.finish()?;
    // Ids that can name no experiment must not turn a list of some into a list of none, which means everything.
    let experiments = match experiments.is_empty() && !message.experiment_ids.is_empty() {
        true => vec![lodeway_domain::id::ExperimentId::new(-1)],
        false => experiments,
    };
    Ok(PurgeFilter {
        experiments,
        runs,
        models,
        deleted_before: before.flatten(),
        kept: Vec::new(),
    })
}

pub fn purged(purged: &Purged) -> pb::PurgeResponse {
    let entities = purged.entities.iter().map(|(item, files)| pb::PurgedEntity {
        kind: item.kind.as_str().to_owned(),
        id: item.id.clone(),
        artifact_count: files.count,
        artifact_bytes: files.bytes,
        held_back_by: item.held_back_by.clone().unwrap_or_default(),
    });
    pb::PurgeResponse {
        entities: entities.collect(),
        more: purged.more,
    }
}

pub fn encode(answer: &Purged) -> Vec<u8> {
    purged(answer).encode_to_vec()
}
