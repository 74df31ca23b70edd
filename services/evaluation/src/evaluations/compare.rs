//! Whether one of two evaluations of the same rows is better.

use lodeway_domain::{
    Error, Reason, Result,
    evaluation::{PartOf, more_is_better},
};
use lodeway_proto::evaluation::v1 as wire;
use lodeway_rpc::CallContext;
use tokio_util::sync::CancellationToken;

use super::{
    Evaluations, data,
    kept::{Kept, ended},
    measure, render,
    results::Folder,
};

impl Evaluations {
    /// Every metric of both on the rows that both answered, with tests of their difference.
    ///
    /// Errors: `EVALUATION_STATE` before the end of either; `INVALID_FIELD` if they are of other data or targets.
    pub(super) async fn compare(
        &self,
        cx: &CallContext,
        message: wire::CompareEvaluationsRequest,
    ) -> Result<wire::CompareEvaluationsResponse> {
        let site = &self.site;
        let one = ended(site, cx, &message.evaluation_id).await?;
        let other = ended(site, cx, &message.baseline_evaluation_id).await?;
        for record in [&one, &other] {
            if record.data_digest.is_empty() {
                let (id, state) = (&record.evaluation_id, record.state.as_str());
                let message = format!("evaluation `{id}` is {state} and has read no data");
                let named = vec![("resource_name", id.clone())];
                return Err(Error::precondition(Reason::EvaluationState, message, named));
            }
        }
        if one.data_digest != other.data_digest {
            let why = "was made on other data than `evaluation_id`, so their rows cannot be paired";
            return Err(Error::invalid("baseline_evaluation_id", why));
        }
        let folder = site
            .config
            .work_dir
            .join("read")
            .join(lodeway_domain::id::new_hex());
        let _guard = Folder(folder.clone());
        let mut data = data::open(site, cx, &one.spec, one.dataset_version).await?;
        let other_data = data::open(site, cx, &other.spec, other.dataset_version).await?;
        if data.roles.target != other_data.roles.target {
            return Err(Error::invalid(
                "baseline_evaluation_id",
                "has another target column",
            ));
        }
        data.rows = data.rows.min(other_data.rows);
        let kept = Kept::fetch(site, cx, &one.evaluation_id, &folder.join("one")).await?;
        let other_kept = Kept::fetch(site, cx, &other.evaluation_id, &folder.join("other")).await?;
        let alone = lodeway_domain::evaluation::EvaluationSpec {
            baseline: None,
            ..one.spec.clone()
        };
        let (mut replay, mut wanted) = kept.replay(&alone, &data)?;
        wanted.baseline = match other_kept.open(PartOf::Target)? {
            Some(parts) => {
                let names = replay.with(&data, &parts, "baseline_");
                wanted.failures.push(names.failure);
                Some((Some(names.prediction), names.probabilities))
            }
            None => {
                let roles = &other_data.roles;
                let all = roles
                    .probabilities
                    .iter()
                    .map(|role| (role.class.clone(), role.column.clone()));
                Some((roles.prediction.clone(), all.collect()))
            }
        };
        wanted.slices.clear();
        let spill = folder.clone();
        let compute = move || measure::measure(replay, &wanted, &alone, &spill, &CancellationToken::new());
        let measured = tokio::task::spawn_blocking(compute)
            .await
            .map_err(Error::internal)??;
        let wanted = |name: &String| message.metrics.is_empty() || message.metrics.contains(name);
        if let Some(unknown) = message
            .metrics
            .iter()
            .find(|name| !measured.comparisons.contains_key(*name))
        {
            return Err(Error::invalid(
                "metrics",
                format!("`{unknown}` was not measured on both"),
            ));
        }
        let comparisons = measured.comparisons.iter().filter(|(name, _)| wanted(name));
        let comparisons = comparisons.map(|(name, found)| {
            let sign = if more_is_better(name) { 1.0 } else { -1.0 };
            let (low, high) = (found.low, found.high);
            // NaN compares with nothing: without an interval nothing is decided.
            let conclusion = match (low * sign, high * sign) {
                (a, b) if a > 0.0 && b > 0.0 => "better",
                (a, b) if a < 0.0 && b < 0.0 => "worse",
                _ => "undecided",
            };
            wire::MetricComparison {
                metric: name.clone(),
                value: found.first,
                baseline: found.second,
                difference: found.difference,
                low,
                high,
                p_value: found.p_value,
                test: found.test.clone(),
                conclusion: conclusion.to_owned(),
            }
        });
        Ok(wire::CompareEvaluationsResponse {
            comparisons: comparisons.collect(),
            samples: render::count(measured.rows),
        })
    }
}
