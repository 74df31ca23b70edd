//! Between the wire and the domain, a file a noun.

pub mod datasets;
pub mod experiments;
pub mod logged_models;
pub mod metrics;
pub mod purge;
pub mod runs;

use lodeway_domain::{
    Error, Result,
    id::{ExperimentId, RunId},
    tracking::{Lifecycle, Point, View},
};
use lodeway_proto::tracking::v1 as pb;
use lodeway_rpc::time::to_either;
use lodeway_store::tracking::Outcome;
use prost::Message;

/// The answer to a write: made of what was done, or the one that was kept.
pub fn answer<T, M: Message + Default>(outcome: Outcome<T>, make: fn(T) -> M) -> Result<M> {
    match outcome {
        Outcome::Done(value) => Ok(make(value)),
        Outcome::Replay(bytes) => M::decode(bytes.as_slice()).map_err(Error::internal),
    }
}

/// The empty answer to a write.
pub fn done<M: Default>(_: Outcome<()>) -> M {
    M::default()
}

pub fn experiment_id(text: &str) -> Result<ExperimentId> {
    ExperimentId::parse(text)?.ok_or_else(|| {
        Error::not_found(
            lodeway_domain::ResourceKind::Experiment,
            lodeway_domain::id::clip(text),
        )
    })
}

pub fn run_id(text: &str) -> Result<RunId> {
    RunId::parse(text)
}

/// Experiments to look in; a text that can name none is left out, as an unknown one would be.
pub fn experiment_ids(field: &str, texts: &[String], max: usize) -> Result<Vec<ExperimentId>> {
    if texts.len() > max {
        return Err(Error::invalid(
            field,
            format!("has {} entries; at most {max} fit one search", texts.len()),
        ));
    }
    let mut ids = Vec::with_capacity(texts.len());
    for text in texts {
        ids.extend(ExperimentId::parse(text)?);
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// The revision that an etag stands for; an empty etag is none, one that is not ours matches no revision.
pub fn revision(etag: &str) -> Option<i64> {
    (!etag.is_empty()).then(|| etag.parse().unwrap_or(-1))
}

pub fn view(stage: i32) -> Result<View> {
    match pb::LifecycleStage::try_from(stage) {
        Ok(pb::LifecycleStage::Unspecified) => Ok(View::All),
        Ok(pb::LifecycleStage::Active) => Ok(View::Active),
        Ok(pb::LifecycleStage::Deleted) => Ok(View::Deleted),
        Err(_) => Err(Error::invalid(
            "lifecycle_stage",
            format!("{stage} is not a stage"),
        )),
    }
}

pub fn lifecycle(lifecycle: Lifecycle) -> i32 {
    let stage = if lifecycle.is_active() {
        pb::LifecycleStage::Active
    } else {
        pb::LifecycleStage::Deleted
    };
    stage.into()
}

/// The fields that an update changes: those of the mask, or without one those that `populated` lists.
///
/// Errors: `Invalid` for a path that is not one of `known`.
pub fn mask<'a>(
    mask: Option<&'a prost_types::FieldMask>,
    known: &[&str],
    populated: Vec<&'a str>,
) -> Result<Vec<&'a str>> {
    let Some(mask) = mask.filter(|mask| !mask.paths.is_empty()) else {
        return Ok(populated);
    };
    let mut violations = lodeway_domain::error::Violations::new();
    for (i, path) in mask.paths.iter().enumerate() {
        if !known.contains(&path.as_str()) {
            let text = format!(
                "`{}` cannot be updated; allowed: `{}`",
                lodeway_domain::id::clip(path),
                known.join("`, `")
            );
            violations.add(format!("update_mask.paths[{i}]"), text);
        }
    }
    violations.finish()?;
    Ok(mask.paths.iter().map(String::as_str).collect())
}

/// One point; where it was measured is not told.
fn wire_point(key: String, point: Point) -> pb::Metric {
    let (time, time_ms) = to_either(point.time);
    pb::Metric {
        key,
        value: point.value,
        time,
        time_ms,
        step: point.step,
        ..pb::Metric::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_names_known_fields_only() {
        let paths = |paths: &[&str]| prost_types::FieldMask {
            paths: paths.iter().map(|p| (*p).to_owned()).collect(),
        };
        assert_eq!(mask(Some(&paths(&["a"])), &["a", "b"], vec!["b"]).unwrap(), ["a"]);
        assert_eq!(mask(None, &["a", "b"], vec!["b"]).unwrap(), ["b"]);
        assert!(mask(Some(&paths(&["a", "x"])), &["a", "b"], vec![]).is_err());
    }
}
