//! Evaluations: durable jobs that measure a target on a dataset.
//!
//! A tour: `api` is the generated trait, `convert` and `render` are wire and domain. `runner` takes jobs by lease and
//! `job` does one, phase by phase: `data` opens the dataset, `target` is what is asked (`llm` where that is a route),
//! `predict` asks it part by part, `answers` makes columns of what it says, `judge` has answers judged (`seat` is one scorer
//! at work) by LLMs and by models of texts (`text_model`), `kept` has the parts here again and `replay` puts rows, answers
//! and judgements side by side, `measure` and `judged` compute what is `wanted`, `page` is the report to look at, `results`
//! are its rows, `record` writes to tracking and the registry.
//! `present` looks beforehand whether what is asked is there.
//! `verify` and `compare` work on what was kept.
//!
//! What is durable when: a part with the answers of its rows is in the artifact service, with its digest in the database,
//! before the next one counts; a job that was cut off goes on with the parts that are there. Every write to another
//! service has a request id made of the evaluation's id and the step, so that a step that is done again changes nothing.

mod answered;
pub(crate) mod answers;
mod api;
mod asked;
mod calls;
mod compare;
pub(crate) mod convert;
mod data;
mod definition;
pub(crate) mod files;
mod job;
mod judge;
mod judged;
mod keeper;
mod kept;
mod llm;
mod measure;
mod page;
mod predict;
pub(crate) mod present;
pub(crate) mod record;
pub(crate) mod render;
mod replay;
mod report;
mod results;
mod runner;
mod seat;
mod target;
mod text_model;
mod toll;
mod verify;
mod wanted;
mod watch;

use std::sync::Arc;

pub(crate) use self::target::resolve;

use lodeway_domain::{
    Error, Reason, Result,
    error::FieldViolation,
    evaluation::{EvaluationRecord, EvaluationSpec, EvaluationState, Progress, Target, Usage},
};
use lodeway_proto::evaluation::v1::evaluation_service_server::EvaluationServiceServer;
use lodeway_rpc::CallContext;
use lodeway_store::{evaluation::EvaluationStore as _, ledger::Write};

use crate::Site;

/// The largest request: a spec with templates.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// The service. Clones share it.
#[derive(Clone)]
pub(crate) struct Evaluations {
    site: Arc<Site>,
}

impl Evaluations {
    /// Opens the service and goes on with the jobs that were cut off. Errors: a folder to work in that cannot be used.
    pub(crate) fn start(site: Arc<Site>) -> Result<Self> {
        for folder in ["jobs", "read"] {
            let left = site.config.work_dir.join(folder);
            match std::fs::remove_dir_all(&left) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    let place = left.display();
                    return Err(Error::internal(format!("`{place}` cannot be emptied: {error}")));
                }
            }
        }
        runner::start(site.clone());
        Ok(Self { site })
    }

    /// The service, to be mounted.
    pub(crate) fn service(&self) -> EvaluationServiceServer<Self> {
        lodeway_rpc::unpacking!(EvaluationServiceServer::new(self.clone()))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Keeps a new evaluation under this id; the runner takes it on. Errors: `AlreadyExists` for an id that is taken.
    pub(crate) async fn create(
        &self,
        cx: &CallContext,
        spec: EvaluationSpec,
        evaluation_id: String,
        write: Write,
    ) -> Result<EvaluationRecord> {
        check(&spec)?;
        data::check(&self.site, cx, &spec).await?;
        let record = EvaluationRecord {
            evaluation_id,
            workspace: cx.caller.workspace.as_str().to_owned(),
            spec,
            state: EvaluationState::Pending,
            progress: Progress::default(),
            error: String::new(),
            dataset_version: 0,
            data_digest: String::new(),
            definition_digest: String::new(),
            rows_scored: 0,
            dataset_rows: 0,
            model: None,
            baseline_model: None,
            scorer_models: std::collections::BTreeMap::new(),
            run_id: String::new(),
            artifact_uri: String::new(),
            metrics: Vec::new(),
            verdict: None,
            principal: cx.caller.principal.clone(),
            verified: cx.caller.verified,
            created: write.now,
            started: None,
            ended: None,
            usage: Usage::default(),
            cancel_requested: false,
            version: 0,
        };
        self.site.store.create_evaluation(write, record).await
    }
}

/// Refuses at once templates that cannot be read and judges that cannot be.
pub(crate) fn check(spec: &EvaluationSpec) -> Result<()> {
    if let Target::Llm(llm) = &spec.target {
        llm::check(llm)?;
    }
    for (at, scorer) in spec.scorers.iter().enumerate() {
        judge::judge_of(scorer).map_err(|error| within(&format!("spec.scorers[{at}].judge"), error))?;
    }
    Ok(())
}

/// Why an evaluation that has ended has no report.
fn no_report(record: &EvaluationRecord) -> Error {
    let id = &record.evaluation_id;
    let message = match record.state {
        EvaluationState::Succeeded => {
            format!("evaluation `{id}` has no report any more; it went with the rows of its window")
        }
        state => format!("evaluation `{id}` is {} and has no report", state.as_str()),
    };
    let named = vec![("resource_name", id.clone())];
    Error::precondition(Reason::EvaluationState, message, named)
}

/// The error with its fields below `field`.
fn within(field: &str, error: Error) -> Error {
    match error {
        Error::Invalid(faults) => Error::Invalid(
            faults
                .into_iter()
                .map(|fault| FieldViolation {
                    field: format!("{field}.{}", fault.field),
                    ..fault
                })
                .collect(),
        ),
        other => other,
    }
}
