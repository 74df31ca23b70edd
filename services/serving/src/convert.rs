//! Wire messages to domain words and back; the only file here that knows both.

use std::{ops::Bound, time::Duration};

use lodeway_domain::{
    Error, Result,
    page::{KeyValue, PageLimits, PageRequest, Position, QueryHash},
    serving::{DeploymentSettings, DeploymentState, EnvManager, RuntimeChoice},
    time::Timestamp,
};
use lodeway_proto::{inference::model_metadata_response::TensorMetadata, serving::v1 as wire};

use lodeway_rpc::{CallContext, inference};

use crate::{host::Deployment, parity::Parity, runtime::TensorSpec};

const PAGES: PageLimits = PageLimits {
    default: 100,
    max: 1_000,
};

/// The page of a list of deployments.
pub(crate) fn page(cx: &CallContext, message: &wire::ListDeploymentsRequest) -> Result<PageRequest> {
    let query = QueryHash::of(&["deployments", cx.caller.workspace.as_str()]);
    PageRequest::parse(message.page_size, &message.page_token, PAGES, query)
}

/// The id after which a page begins.
pub(crate) fn after(page: &PageRequest) -> Result<Bound<&str>> {
    match page.after.as_ref().map(|position| position.0.as_slice()) {
        None => Ok(Bound::Unbounded),
        Some([KeyValue::Text(id)]) => Ok(Bound::Excluded(id)),
        Some(_) => Err(Error::invalid(
            "page_token",
            "is not a token that this server made",
        )),
    }
}

/// Where a deployment stands in the list.
pub(crate) fn place(id: &str) -> Position {
    Position(vec![KeyValue::Text(id.to_owned())])
}

/// Settings as they were sent; zero and empty are the default. Errors: every value that is out of its bounds.
pub(crate) fn settings(message: Option<wire::DeploymentSettings>) -> Result<DeploymentSettings> {
    let Some(m) = message else {
        return Ok(DeploymentSettings::default());
    };
    let default = DeploymentSettings::default();
    let field = |name: &str| format!("settings.{name}");
    let count = |name: &str, value: i32, default: usize| match value {
        0 => Ok(default),
        n => usize::try_from(n).map_err(|_| Error::invalid(field(name), "must be at least 0")),
    };
    DeploymentSettings {
        runtime: RuntimeChoice::parse(&field("runtime"), &m.runtime)?,
        workers: count("workers", m.workers, default.workers)?,
        env_manager: EnvManager::parse(&field("env_manager"), &m.env_manager)?,
        memory_limit_bytes: match m.memory_limit_bytes {
            0 => None,
            n => Some(
                u64::try_from(n)
                    .map_err(|_| Error::invalid(field("memory_limit_bytes"), "must be at least 0"))?,
            ),
        },
        allow_network: m.allow_network,
        row_independent: m.row_independent,
        max_batch_rows: count("max_batch_rows", m.max_batch_rows, default.max_batch_rows)?,
        max_batch_delay: span(&field("max_batch_delay"), m.max_batch_delay)?
            .unwrap_or(default.max_batch_delay),
        max_queued_calls: count("max_queued_calls", m.max_queued_calls, default.max_queued_calls)?,
        call_timeout: span(&field("call_timeout"), m.call_timeout)?.unwrap_or(default.call_timeout),
        max_active_batches: match m.max_active_batches {
            0 => None,
            n => Some(count("max_active_batches", n, 1)?),
        },
        check_parity: m.check_parity,
    }
    .checked("settings")
}

/// A duration; none if it is unset. Errors: negative ones.
pub(crate) fn span(field: &str, value: Option<prost_types::Duration>) -> Result<Option<Duration>> {
    value
        .map(|d| Duration::try_from(d).map_err(|_| Error::invalid(field, "must not be negative")))
        .transpose()
}

fn settings_out(s: &DeploymentSettings) -> wire::DeploymentSettings {
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    wire::DeploymentSettings {
        runtime: s.runtime.to_string(),
        workers: count(s.workers),
        env_manager: s.env_manager.to_string(),
        memory_limit_bytes: s
            .memory_limit_bytes
            .and_then(|n| i64::try_from(n).ok())
            .unwrap_or_default(),
        allow_network: s.allow_network,
        row_independent: s.row_independent,
        max_batch_rows: count(s.max_batch_rows),
        max_batch_delay: span_out(s.max_batch_delay),
        max_queued_calls: count(s.max_queued_calls),
        call_timeout: span_out(s.call_timeout),
        max_active_batches: s.max_active_batches.map(count).unwrap_or_default(),
        check_parity: s.check_parity,
    }
}

fn span_out(span: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(span).ok()
}

fn time_out(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.millis().div_euclid(1_000),
        nanos: i32::try_from(time.millis().rem_euclid(1_000)).unwrap_or(0) * 1_000_000,
    }
}

/// Why a model is not ready that somebody had unloaded, in the word that Triton has for it.
const SENT_AWAY: &str = "unloaded";

/// A deployment as it stands.
pub(crate) fn deployment(of: &Deployment) -> wire::Deployment {
    let (record, standing, model) = (&of.record, of.standing(), of.model());
    let (state, state_reason) = match standing.state {
        DeploymentState::Loading => (wire::DeploymentState::Loading, String::new()),
        DeploymentState::Ready => (wire::DeploymentState::Ready, String::new()),
        DeploymentState::Unloaded => {
            let why = if standing.was_sent_away { SENT_AWAY } else { "" };
            (wire::DeploymentState::Unloaded, why.to_owned())
        }
        DeploymentState::Failed(why) => (wire::DeploymentState::Failed, why),
    };
    let (queued, active) = model.as_ref().map(|m| m.depth()).unwrap_or_default();
    let specs = |specs: &[TensorSpec]| specs.iter().map(spec).collect();
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    wire::Deployment {
        deployment_id: record.deployment_id.clone(),
        source: record.source.clone(),
        model_name: record.model_name.clone(),
        model_version: record.model_version.clone(),
        model_uid: record.model_uid.clone(),
        content_digest: record.content_digest.clone(),
        settings: Some(settings_out(&record.settings)),
        state: state.into(),
        state_reason,
        platform: model
            .as_ref()
            .map(|m| m.platform().to_owned())
            .unwrap_or_default(),
        signature_json: model
            .as_ref()
            .map(|m| m.signature_json().to_owned())
            .unwrap_or_default(),
        inputs: model.as_ref().map(|m| specs(m.inputs())).unwrap_or_default(),
        outputs: model.as_ref().map(|m| specs(m.outputs())).unwrap_or_default(),
        memory_bytes: model
            .as_ref()
            .and_then(|m| i64::try_from(m.memory_bytes()).ok())
            .unwrap_or_default(),
        row_independent: model.as_ref().is_some_and(|m| m.is_row_independent()),
        parity: model.as_ref().map(|m| parity(&m.parity())),
        create_time: Some(time_out(record.created)),
        ready_time: standing.ready.map(time_out),
        load_duration: standing.load_duration.and_then(span_out),
        queued_calls: count(queued),
        active_calls: count(active),
        reads_documents: model.as_ref().is_some_and(|m| m.reads_documents()),
        profile: model.as_ref().map(|m| m.profile()).unwrap_or_default().into(),
    }
}

fn spec(of: &TensorSpec) -> wire::TensorSpec {
    wire::TensorSpec {
        name: of.name.clone(),
        datatype: of.datatype.to_string(),
        shape: of.shape.clone(),
    }
}

/// A tensor as the Open Inference Protocol describes it.
pub(crate) fn metadata(of: &TensorSpec) -> TensorMetadata {
    let json = || {
        let kind = inference::text_parameter(inference::JSON_TEXTS);
        (inference::CONTENT_TYPE.to_owned(), kind)
    };
    TensorMetadata {
        name: of.name.clone(),
        datatype: of.datatype.to_string(),
        shape: of.shape.clone(),
        parameters: of.is_json.then(json).into_iter().collect(),
    }
}

fn parity(of: &Parity) -> wire::ParityCheck {
    wire::ParityCheck {
        was_checked: of.was_checked,
        max_abs_difference: of.max_abs_difference,
        max_rel_difference: of.max_rel_difference,
        detail: of.detail.clone(),
    }
}
