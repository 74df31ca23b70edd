//! What an evaluation keeps of its answers and judgements, on this machine: beside the rows again, and measured.

use std::{collections::BTreeMap, path::PathBuf};

use lodeway_domain::{
    Error, Reason, ResourceKind, Result,
    evaluation::{Baseline, EvaluationRecord, EvaluationSpec, Part, PartOf, Target},
};
use lodeway_rpc::CallContext;
use lodeway_store::evaluation::EvaluationStore as _;
use tokio_util::sync::CancellationToken;

use super::{
    answers::{ANSWER, PREDICTION},
    data::Data,
    files, judge,
    measure::{self, Measured},
    replay::{Parts, Replay},
    wanted::Wanted,
};
use crate::Site;

/// The evaluation if it can be read again. Errors: `NOT_FOUND`; `EVALUATION_STATE` while it waits or runs.
pub(super) async fn ended(site: &Site, cx: &CallContext, id: &str) -> Result<EvaluationRecord> {
    if id.is_empty() {
        return Err(Error::not_found(ResourceKind::Evaluation, id));
    }
    let record = site.store.evaluation(&cx.caller.workspace, id).await?;
    if record.state.has_ended() {
        return Ok(record);
    }
    Err(Error::precondition(
        Reason::EvaluationState,
        format!("evaluation `{id}` is {}; wait for its end", record.state.as_str()),
        vec![("resource_name", id.to_owned())],
    ))
}

/// Why rows failed, the most frequent reasons first, and how many.
#[derive(Debug, Clone, Default)]
pub(super) struct Failures {
    pub(super) target: Vec<(String, u64)>,
    pub(super) baseline: Vec<(String, u64)>,
}

/// What parts keep, on this machine.
pub(super) struct Kept {
    parts: Vec<Part>,
    pub(super) folder: PathBuf,
}

impl Kept {
    /// Fetches the parts that are not in the folder.
    pub(super) async fn fetch(site: &Site, cx: &CallContext, id: &str, folder: &PathBuf) -> Result<Self> {
        let io = |e: std::io::Error| Error::internal(format!("cannot make a folder to work in: {e}"));
        tokio::fs::create_dir_all(folder).await.map_err(io)?;
        let parts = site.store.parts(id).await?;
        for part in &parts {
            let place = folder.join(&part.path);
            let is_here = tokio::fs::try_exists(&place).await.unwrap_or(false)
                && files::digest_of(&place)
                    .await
                    .is_ok_and(|digest| digest == part.sha256);
            if !is_here {
                files::fetch(
                    site,
                    cx,
                    &files::location(&cx.caller.workspace, id),
                    &part.path,
                    &part.sha256,
                    &place,
                )
                .await?;
            }
        }
        Ok(Self {
            parts,
            folder: folder.clone(),
        })
    }

    /// The parts of a kind, by row.
    pub(super) fn of(&self, of: PartOf) -> Vec<Part> {
        self.parts.iter().filter(|part| part.of == of).cloned().collect()
    }

    /// Why rows failed, the most frequent reasons first.
    pub(super) fn failures(&self, of: PartOf) -> Vec<(String, u64)> {
        let mut all = BTreeMap::new();
        for (why, count) in self.of(of).iter().flat_map(|part| &part.failures) {
            *all.entry(why.clone()).or_insert(0) += count;
        }
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all
    }

    pub(super) fn open(&self, of: PartOf) -> Result<Option<Parts>> {
        let parts = self.of(of);
        if parts.is_empty() {
            return Ok(None);
        }
        Parts::open(&parts, |part| self.folder.join(&part.path)).map(Some)
    }

    /// Rows beside their answers and judgements, and which columns are to be measured.
    pub(super) fn replay(&self, spec: &EvaluationSpec, data: &Data) -> Result<(Replay, Wanted)> {
        let (mut replay, mut wanted) = self.answers(spec, data)?;
        if let Some(parts) = self.open(PartOf::Judge)? {
            let scorers = spec.scorers.iter().filter(|scorer| judge::asks(scorer));
            let names = scorers.map(|scorer| scorer.name.clone());
            wanted.judged = replay.with_judgements(data, &parts, names);
        }
        Ok((replay, wanted))
    }

    /// Rows beside their answers, and which columns are to be measured.
    pub(super) fn answers(&self, spec: &EvaluationSpec, data: &Data) -> Result<(Replay, Wanted)> {
        let roles = &data.roles;
        let mut replay = Replay::new(data)?;
        let mut wanted = Wanted {
            target: roles.target.clone(),
            weight: roles.weight.clone(),
            slices: roles.slices.clone(),
            query: roles.query.clone(),
            prompt: roles.prompt.clone(),
            answer: roles.answer.clone(),
            context: roles.context.clone(),
            expected: roles.expected_answer.clone(),
            ..Wanted::default()
        };
        let is_judged = judge::is_wanted(spec);
        let is_text = wanted.target.is_none() && (wanted.expected.is_some() || is_judged);
        if wanted.target.is_none() && !is_text {
            let why = "must say which column is the truth, or `spec.roles.expected_answer` which text is";
            return Err(Error::invalid("spec.roles.target", why));
        }
        match self.open(PartOf::Target)? {
            Some(parts) => {
                if !parts.has_predictions() {
                    return Err(Error::invalid("spec.target", "answered no row"));
                }
                let is_llm = matches!(spec.target, Target::Llm(_));
                let word = if is_llm { ANSWER } else { PREDICTION };
                let names = replay.with_called(data, &parts, "", word);
                if is_text || is_llm || is_judged {
                    wanted.answer = Some(names.prediction.clone());
                }
                if !is_text {
                    wanted.prediction = Some(names.prediction);
                    wanted.probabilities = names.probabilities;
                }
                wanted.failures.push(names.failure);
            }
            None if is_text => {}
            None => {
                wanted.prediction.clone_from(&roles.prediction);
                let all = roles
                    .probabilities
                    .iter()
                    .map(|role| (role.class.clone(), role.column.clone()));
                wanted.probabilities = all.collect();
                if wanted.prediction.is_none() && wanted.probabilities.is_empty() {
                    let why = "must be given, or `spec.roles.probabilities`: the data hold what is measured";
                    return Err(Error::invalid("spec.roles.prediction", why));
                }
            }
        }
        match (&spec.baseline, self.open(PartOf::Baseline)?) {
            (Some(_), Some(parts)) => {
                let names = replay.with(data, &parts, "baseline_");
                wanted.baseline = Some((Some(names.prediction), names.probabilities));
                wanted.baseline_failure = Some(names.failure);
            }
            (Some(Baseline::Column(column)), None) => {
                wanted.baseline = Some((Some(column.clone()), Vec::new()));
            }
            _ => {}
        }
        Ok((replay, wanted))
    }
}

/// Computes everything from the rows and what parts keep, on a thread of its own.
pub(super) async fn measured(
    spec: &EvaluationSpec,
    data: &Data,
    kept: &Kept,
    stop: &CancellationToken,
) -> Result<Measured> {
    let (replay, wanted) = kept.replay(spec, data)?;
    let (spec, stop, spill) = (spec.clone(), stop.clone(), kept.folder.clone());
    let compute = move || measure::measure(replay, &wanted, &spec, &spill, &stop);
    tokio::task::spawn_blocking(compute)
        .await
        .map_err(Error::internal)?
}
