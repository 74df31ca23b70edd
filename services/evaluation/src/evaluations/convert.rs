//! Wire to domain, for evaluations.

use std::time::Duration;

use lodeway_domain::{
    Error, Result,
    error::Violations,
    evaluation::{
        Baseline, Bound, ClassifierScorer, ColumnRoles, Embedder, EndpointTarget, EvaluationOptions,
        EvaluationSpec, JudgeKind, JudgeScorer, LlmTarget, ProbabilityColumn, ScoreKind, Scorer, ScorerKind,
        Target, Task, Threshold,
    },
    page::{PageLimits, PageRequest, QueryHash},
    time::Timestamp,
};
use lodeway_proto::evaluation::v1 as wire;
use lodeway_rpc::{CallContext, Repeat};
use lodeway_store::{evaluation::EvaluationQuery, ledger::Write};
use prost::Message;

/// The experiment of runs for which none is named.
pub(crate) const EXPERIMENT: &str = "evaluations";

const PAGES: PageLimits = PageLimits {
    default: 100,
    max: 1_000,
};

/// A write of this caller's, with what tells a repetition of this message from another message.
pub(crate) fn write(
    cx: &CallContext,
    message: &impl Message,
    request_id: &str,
    now: Timestamp,
) -> Result<Write> {
    let repeat = Repeat::of(message, request_id)?;
    Ok(Write {
        caller: (*cx.caller).clone(),
        now,
        request: repeat.id,
        body_hash: repeat.body_hash,
    })
}

/// Which evaluations are wanted.
pub(super) fn query(cx: &CallContext, message: &wire::ListEvaluationsRequest) -> Result<EvaluationQuery> {
    if message.model_version < 0 {
        return Err(Error::invalid("model_version", "must not be negative"));
    }
    let version = message.model_version.to_string();
    let parts = [
        cx.caller.workspace.as_str(),
        "evaluations",
        &message.model_name,
        &version,
        &message.dataset,
        &message.name,
    ];
    let page = PageRequest::parse(
        message.page_size,
        &message.page_token,
        PAGES,
        QueryHash::of(&parts),
    )?;
    Ok(EvaluationQuery {
        model_name: given(&message.model_name),
        model_version: Some(message.model_version).filter(|version| *version > 0),
        dataset: given(&message.dataset),
        name: given(&message.name),
        page,
    })
}

/// A point in time, to the millisecond.
pub(crate) fn moment(time: prost_types::Timestamp) -> Timestamp {
    let millis = time.seconds.saturating_mul(1_000);
    Timestamp::from_millis(millis.saturating_add(i64::from(time.nanos) / 1_000_000))
}

fn given(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// What is wanted, every fault named by its field.
pub(crate) fn spec(message: Option<wire::EvaluationSpec>) -> Result<EvaluationSpec> {
    let message = message.ok_or_else(|| Error::invalid("spec", "must be given"))?;
    let mut bad = Violations::new();
    let dataset = message.dataset.unwrap_or_default();
    let task = match message.task {
        0 => None,
        number => bad.take("spec.task", task(number)),
    };
    let mut scorers = Vec::new();
    for (at, scorer) in message.scorers.into_iter().enumerate() {
        let field = format!("spec.scorers[{at}]");
        scorers.extend(bad.take(&field, self::scorer(&field, scorer)));
    }
    let mut thresholds = Vec::new();
    for (at, threshold) in message.thresholds.into_iter().enumerate() {
        let field = format!("spec.thresholds[{at}]");
        thresholds.extend(bad.take(&field, self::threshold(&field, threshold)));
    }
    let baseline = message.baseline.and_then(|baseline| baseline.baseline);
    let options = bad.take("spec.options", options(message.options.unwrap_or_default()));
    let name = given(&message.name).unwrap_or_else(|| dataset.name.clone());
    let read = EvaluationSpec {
        name,
        dataset: dataset.name,
        dataset_version: Some(dataset.version).filter(|version| *version != 0),
        roles: roles(message.roles.unwrap_or_default()),
        target: target(message.target),
        task,
        scorers,
        thresholds,
        baseline: baseline.map(|baseline| match baseline {
            wire::baseline::Baseline::ModelUri(uri) => Baseline::Model(uri),
            wire::baseline::Baseline::EvaluationId(id) => Baseline::Evaluation(id),
            wire::baseline::Baseline::PredictionColumn(column) => Baseline::Column(column),
            wire::baseline::Baseline::EarlierEvaluationId(id) => Baseline::Earlier(id),
        }),
        options: options.unwrap_or_default(),
        experiment: given(&message.experiment).unwrap_or_else(|| EXPERIMENT.to_owned()),
    };
    // Every fault at once, those of the wire and those of the values.
    match (bad.finish(), read.checked()) {
        (Ok(()), checked) => checked,
        (Err(Error::Invalid(mut faults)), Err(Error::Invalid(more))) => {
            faults.extend(more);
            Err(Error::Invalid(faults))
        }
        (Err(error), _) => Err(error),
    }
}

fn target(message: Option<wire::EvaluationTarget>) -> Target {
    use wire::evaluation_target::Target as Kind;
    match message.and_then(|target| target.target) {
        None => Target::Data,
        Some(Kind::ModelUri(uri)) => Target::Model(uri),
        Some(Kind::Endpoint(endpoint)) => Target::Endpoint(EndpointTarget {
            endpoint: endpoint.endpoint,
            target: endpoint.target,
        }),
        Some(Kind::Llm(llm)) => Target::Llm(LlmTarget {
            route: llm.route,
            system_prompt: llm.system_prompt,
            template: llm.template,
            temperature: llm.temperature,
            max_tokens: llm.max_tokens,
        }),
    }
}

/// Roles as they come; whether the columns exist shows when the dataset is known.
pub(crate) fn roles(message: wire::ColumnRoles) -> ColumnRoles {
    ColumnRoles {
        target: given(&message.target),
        prediction: given(&message.prediction),
        probabilities: message
            .probabilities
            .into_iter()
            .map(|p| ProbabilityColumn {
                class: p.class,
                column: p.column,
            })
            .collect(),
        weight: given(&message.weight),
        slices: message.slices,
        features: message.features,
        prompt: given(&message.prompt),
        answer: given(&message.answer),
        context: given(&message.context),
        expected_answer: given(&message.expected_answer),
        query: given(&message.query),
    }
}

fn task(number: i32) -> Result<Task> {
    match wire::Task::try_from(number) {
        Ok(wire::Task::Classification) => Ok(Task::Classification),
        Ok(wire::Task::Regression) => Ok(Task::Regression),
        Ok(wire::Task::Ranking) => Ok(Task::Ranking),
        Ok(wire::Task::Text) => Ok(Task::Text),
        _ => Err(Error::invalid("spec.task", format!("{number} is no task"))),
    }
}

fn scorer(field: &str, message: wire::Scorer) -> Result<Scorer> {
    use wire::scorer::Scorer as Kind;
    let kind = message
        .scorer
        .ok_or_else(|| Error::invalid(field, "must say which scorer"))?;
    let (default, kind) = match kind {
        Kind::Task(task) => {
            let k = task
                .k
                .into_iter()
                .map(|k| u32::try_from(k).unwrap_or(0))
                .collect();
            let kind = ScorerKind::Task {
                metrics: task.metrics,
                positive_class: task.positive_class,
                k,
                betas: task.betas,
            };
            ("task", kind)
        }
        Kind::Text(text) => (
            "text",
            ScorerKind::Text {
                metrics: text.metrics,
            },
        ),
        Kind::Judge(judge) => {
            let judge = self::judge(&format!("{field}.judge"), judge)?;
            (judge.kind.as_str(), ScorerKind::Judge(judge))
        }
        Kind::Similarity(similarity) => {
            let embedder = match similarity.embedder {
                Some(wire::similarity_scorer::Embedder::Route(route)) => Embedder::Route(route),
                Some(wire::similarity_scorer::Embedder::ModelUri(uri)) => Embedder::Model(uri),
                Some(wire::similarity_scorer::Embedder::Endpoint(name)) => Embedder::Endpoint(name),
                None => {
                    return Err(Error::invalid(
                        format!("{field}.similarity"),
                        "must name a route, a model or an endpoint",
                    ));
                }
            };
            ("similarity", ScorerKind::Similarity(embedder))
        }
        Kind::Classifier(classifier) => {
            let of_prompt = match classifier.text.as_str() {
                "" | "answer" => false,
                "prompt" => true,
                _ => {
                    let why = "must be `answer` or `prompt`";
                    return Err(Error::invalid(format!("{field}.classifier.text"), why));
                }
            };
            let kind = ScorerKind::Classifier(ClassifierScorer {
                model_uri: classifier.model_uri,
                endpoint: classifier.endpoint,
                output: classifier.output,
                of_prompt,
                greater_is_better: classifier.greater_is_better,
            });
            ("classifier", kind)
        }
    };
    Ok(Scorer {
        name: given(&message.name).unwrap_or_else(|| default.to_owned()),
        kind,
    })
}

fn judge(field: &str, message: wire::JudgeScorer) -> Result<JudgeScorer> {
    let kind = match wire::JudgeKind::try_from(message.kind) {
        Ok(wire::JudgeKind::Toxicity) => JudgeKind::Toxicity,
        Ok(wire::JudgeKind::Relevance) => JudgeKind::Relevance,
        Ok(wire::JudgeKind::Faithfulness) => JudgeKind::Faithfulness,
        Ok(wire::JudgeKind::Correctness) => JudgeKind::Correctness,
        Ok(wire::JudgeKind::Groundedness) => JudgeKind::Groundedness,
        Ok(wire::JudgeKind::Conciseness) => JudgeKind::Conciseness,
        Ok(wire::JudgeKind::Custom) => JudgeKind::Custom,
        _ => return Err(Error::invalid(format!("{field}.kind"), "must be given")),
    };
    let score = match (message.range, message.categories) {
        (Some(_), words) if !words.is_empty() => {
            let why = "cannot stand beside `range`; set one of them";
            return Err(Error::invalid(format!("{field}.categories"), why));
        }
        (Some(range), _) => ScoreKind::Range {
            min: range.min,
            max: range.max,
            whole: range.whole,
        },
        (None, words) if !words.is_empty() => ScoreKind::Categories(words),
        (None, _) => ScoreKind::Boolean,
    };
    let timeout = match message.timeout {
        None => Duration::from_secs(60),
        Some(span) => Duration::try_from(span)
            .map_err(|_| Error::invalid(format!("{field}.timeout"), "must not be negative"))?,
    };
    Ok(JudgeScorer {
        kind,
        route: message.route,
        template: message.template,
        score,
        repeats: or_default(&format!("{field}.repeats"), message.repeats, 1)?,
        timeout,
        max_concurrency: or_default(&format!("{field}.max_concurrency"), message.max_concurrency, 4)?,
    })
}

fn threshold(field: &str, message: wire::Threshold) -> Result<Threshold> {
    let bound = match wire::Bound::try_from(message.bound) {
        Ok(wire::Bound::Unspecified) => Bound::Value,
        Ok(wire::Bound::Low) => Bound::Low,
        Ok(wire::Bound::High) => Bound::High,
        Err(_) => {
            return Err(Error::invalid(
                format!("{field}.bound"),
                "is no end of an interval",
            ));
        }
    };
    Ok(Threshold {
        metric: message.metric,
        slice: message.slice,
        bound,
        min: message.min,
        max: message.max,
        max_loss: message.max_loss,
        max_relative_loss: message.max_relative_loss,
    })
}

/// A number of the wire where 0 is the default. Errors: one that is negative or too great for its type.
fn or_default<T: TryFrom<i64>>(field: &str, number: impl Into<i64>, default: T) -> Result<T> {
    match number.into() {
        0 => Ok(default),
        number if number < 0 => Err(Error::invalid(field, "must not be negative")),
        number => T::try_from(number).map_err(|_| Error::invalid(field, "is too great")),
    }
}

fn options(message: wire::EvaluationOptions) -> Result<EvaluationOptions> {
    let default = EvaluationOptions::default();
    let mut bad = Violations::new();
    let mut field = |name: &str, number: i64, default: u64| {
        let name = format!("spec.options.{name}");
        bad.take(&name, or_default(&name, number, default))
            .unwrap_or(default)
    };
    let batch_size = field("batch_size", message.batch_size.into(), default.batch_size as u64);
    let max_concurrency = field(
        "max_concurrency",
        message.max_concurrency.into(),
        default.max_concurrency as u64,
    );
    let max_rows = field("max_rows", message.max_rows, 0);
    let min_slice_rows = field("min_slice_rows", message.min_slice_rows, default.min_slice_rows);
    bad.finish()?;
    Ok(EvaluationOptions {
        seed: message.seed,
        confidence: match message.confidence {
            0.0 => default.confidence,
            confidence => confidence,
        },
        batch_size: usize::try_from(batch_size).unwrap_or(usize::MAX),
        max_concurrency: usize::try_from(max_concurrency).unwrap_or(usize::MAX),
        max_rows: Some(max_rows).filter(|rows| *rows > 0),
        max_failed_share: message.max_failed_share.unwrap_or(default.max_failed_share),
        min_slice_rows,
        record_verdict: message.record_verdict.unwrap_or(default.record_verdict),
    })
}
