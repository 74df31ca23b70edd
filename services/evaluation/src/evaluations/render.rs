//! Domain to wire, for evaluations.

use lodeway_domain::{
    evaluation::{
        Baseline, Bound, Clause, ColumnRoles, Embedder, EvaluatedModel, EvaluationOptions, EvaluationRecord,
        EvaluationSpec, EvaluationState, JudgeKind, JudgeScorer, MetricValue, ScoreKind, Scorer, ScorerKind,
        Target, Task, Threshold, Usage, Verdict,
    },
    time::Timestamp,
};
use lodeway_proto::evaluation::v1 as wire;

/// A count on the wire.
pub(crate) fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.millis().div_euclid(1_000),
        nanos: i32::try_from(at.millis().rem_euclid(1_000) * 1_000_000).unwrap_or_default(),
    }
}

/// An evaluation as it stands.
pub(crate) fn evaluation(record: EvaluationRecord) -> wire::Evaluation {
    let state = match record.state {
        EvaluationState::Pending => wire::EvaluationState::Pending,
        EvaluationState::Running => wire::EvaluationState::Running,
        EvaluationState::Succeeded => wire::EvaluationState::Succeeded,
        EvaluationState::Failed => wire::EvaluationState::Failed,
        EvaluationState::Cancelled => wire::EvaluationState::Cancelled,
    };
    let progress = record.progress;
    wire::Evaluation {
        evaluation_id: record.evaluation_id,
        spec: Some(wire_spec(record.spec)),
        state: state.into(),
        progress: Some(wire::EvaluationProgress {
            phase: progress.phase.as_str().to_owned(),
            rows_total: count(progress.rows_total),
            rows_done: count(progress.rows_done),
            rows_failed: count(progress.rows_failed),
            judgements_done: count(progress.judgements_done),
        }),
        error: record.error,
        dataset_version: record.dataset_version,
        data_digest: record.data_digest,
        definition_digest: record.definition_digest,
        rows_scored: count(record.rows_scored),
        dataset_rows: count(record.dataset_rows),
        model: record.model.map(model),
        run_id: record.run_id,
        artifact_uri: record.artifact_uri,
        metrics: record.metrics.into_iter().map(metric).collect(),
        verdict: record.verdict.map(verdict),
        principal: record.principal,
        create_time: Some(time(record.created)),
        start_time: record.started.map(time),
        end_time: record.ended.map(time),
        usage: Some(usage(record.usage)),
        scorer_models: record
            .scorer_models
            .into_iter()
            .map(|(scorer, of_scorer)| (scorer, model(of_scorer)))
            .collect(),
    }
}

fn model(model: EvaluatedModel) -> wire::EvaluatedModel {
    wire::EvaluatedModel {
        name: model.name,
        model_uid: model.uid,
        version: model.version,
        content_digest: model.content_digest,
    }
}

/// A metric; NaN where its interval has no end.
pub(super) fn metric(metric: MetricValue) -> wire::MetricValue {
    wire::MetricValue {
        metric: metric.metric,
        slice: metric.slice,
        value: metric.value,
        low: metric.low.unwrap_or(f64::NAN),
        high: metric.high.unwrap_or(f64::NAN),
        samples: count(metric.samples),
        method: metric.method,
    }
}

fn verdict(verdict: Verdict) -> wire::Verdict {
    let clause = |clause: Clause| wire::VerdictClause {
        threshold: Some(wire_threshold(clause.threshold)),
        value: clause.value,
        baseline: clause.baseline,
        passed: clause.passed,
        message: clause.message,
    };
    wire::Verdict {
        passed: verdict.passed,
        clauses: verdict.clauses.into_iter().map(clause).collect(),
        recorded: verdict.recorded,
    }
}

fn usage(usage: Usage) -> wire::Usage {
    wire::Usage {
        calls: count(usage.calls),
        cached_calls: count(usage.cached_calls),
        input_tokens: count(usage.input_tokens),
        output_tokens: count(usage.output_tokens),
        cost: usage.cost,
    }
}

pub(crate) fn wire_threshold(threshold: Threshold) -> wire::Threshold {
    let bound = match threshold.bound {
        Bound::Value => wire::Bound::Unspecified,
        Bound::Low => wire::Bound::Low,
        Bound::High => wire::Bound::High,
    };
    wire::Threshold {
        metric: threshold.metric,
        slice: threshold.slice,
        bound: bound.into(),
        min: threshold.min,
        max: threshold.max,
        max_loss: threshold.max_loss,
        max_relative_loss: threshold.max_relative_loss,
    }
}

pub(crate) fn wire_roles(roles: ColumnRoles) -> wire::ColumnRoles {
    wire::ColumnRoles {
        target: roles.target.unwrap_or_default(),
        prediction: roles.prediction.unwrap_or_default(),
        probabilities: roles
            .probabilities
            .into_iter()
            .map(|p| wire::ProbabilityColumn {
                class: p.class,
                column: p.column,
            })
            .collect(),
        weight: roles.weight.unwrap_or_default(),
        slices: roles.slices,
        features: roles.features,
        prompt: roles.prompt.unwrap_or_default(),
        answer: roles.answer.unwrap_or_default(),
        context: roles.context.unwrap_or_default(),
        expected_answer: roles.expected_answer.unwrap_or_default(),
        query: roles.query.unwrap_or_default(),
    }
}

pub(crate) fn wire_spec(spec: EvaluationSpec) -> wire::EvaluationSpec {
    use wire::{baseline::Baseline as WireBaseline, evaluation_target::Target as WireTarget};
    let target = match spec.target {
        Target::Data => None,
        Target::Model(uri) => Some(WireTarget::ModelUri(uri)),
        Target::Endpoint(endpoint) => Some(WireTarget::Endpoint(wire::EndpointTarget {
            endpoint: endpoint.endpoint,
            target: endpoint.target,
        })),
        Target::Llm(llm) => Some(WireTarget::Llm(wire::LlmTarget {
            route: llm.route,
            system_prompt: llm.system_prompt,
            template: llm.template,
            temperature: llm.temperature,
            max_tokens: llm.max_tokens,
        })),
    };
    let task = match spec.task {
        None => wire::Task::Unspecified,
        Some(Task::Classification) => wire::Task::Classification,
        Some(Task::Regression) => wire::Task::Regression,
        Some(Task::Ranking) => wire::Task::Ranking,
        Some(Task::Text) => wire::Task::Text,
    };
    let baseline = spec.baseline.map(|baseline| match baseline {
        Baseline::Model(uri) => WireBaseline::ModelUri(uri),
        Baseline::Evaluation(id) => WireBaseline::EvaluationId(id),
        Baseline::Column(column) => WireBaseline::PredictionColumn(column),
        Baseline::Earlier(id) => WireBaseline::EarlierEvaluationId(id),
    });
    wire::EvaluationSpec {
        name: spec.name,
        dataset: Some(wire::DatasetRef {
            name: spec.dataset,
            version: spec.dataset_version.unwrap_or_default(),
        }),
        roles: Some(wire_roles(spec.roles)),
        target: target.map(|target| wire::EvaluationTarget { target: Some(target) }),
        task: task.into(),
        scorers: spec.scorers.into_iter().map(wire_scorer).collect(),
        thresholds: spec.thresholds.into_iter().map(wire_threshold).collect(),
        baseline: baseline.map(|baseline| wire::Baseline {
            baseline: Some(baseline),
        }),
        options: Some(wire_options(&spec.options)),
        experiment: spec.experiment,
    }
}

fn wire_options(options: &EvaluationOptions) -> wire::EvaluationOptions {
    let small = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    wire::EvaluationOptions {
        seed: options.seed,
        confidence: options.confidence,
        batch_size: small(options.batch_size),
        max_concurrency: small(options.max_concurrency),
        max_rows: count(options.max_rows.unwrap_or_default()),
        max_failed_share: Some(options.max_failed_share),
        min_slice_rows: count(options.min_slice_rows),
        record_verdict: Some(options.record_verdict),
    }
}

fn wire_scorer(scorer: Scorer) -> wire::Scorer {
    use wire::scorer::Scorer as Kind;
    let kind = match scorer.kind {
        ScorerKind::Task {
            metrics,
            positive_class,
            k,
            betas,
        } => Kind::Task(wire::TaskScorer {
            betas,
            metrics,
            positive_class,
            k: k.into_iter()
                .map(|k| i32::try_from(k).unwrap_or(i32::MAX))
                .collect(),
        }),
        ScorerKind::Text { metrics } => Kind::Text(wire::TextScorer { metrics }),
        ScorerKind::Judge(judge) => Kind::Judge(wire_judge(judge)),
        ScorerKind::Similarity(embedder) => Kind::Similarity(wire::SimilarityScorer {
            embedder: Some(match embedder {
                Embedder::Route(route) => wire::similarity_scorer::Embedder::Route(route),
                Embedder::Model(uri) => wire::similarity_scorer::Embedder::ModelUri(uri),
                Embedder::Endpoint(name) => wire::similarity_scorer::Embedder::Endpoint(name),
            }),
        }),
        ScorerKind::Classifier(classifier) => Kind::Classifier(wire::ClassifierScorer {
            model_uri: classifier.model_uri,
            output: classifier.output,
            text: if classifier.of_prompt { "prompt" } else { "answer" }.to_owned(),
            endpoint: classifier.endpoint,
            greater_is_better: classifier.greater_is_better,
        }),
    };
    wire::Scorer {
        name: scorer.name,
        scorer: Some(kind),
    }
}

fn wire_judge(judge: JudgeScorer) -> wire::JudgeScorer {
    let kind = match judge.kind {
        JudgeKind::Toxicity => wire::JudgeKind::Toxicity,
        JudgeKind::Relevance => wire::JudgeKind::Relevance,
        JudgeKind::Faithfulness => wire::JudgeKind::Faithfulness,
        JudgeKind::Correctness => wire::JudgeKind::Correctness,
        JudgeKind::Groundedness => wire::JudgeKind::Groundedness,
        JudgeKind::Conciseness => wire::JudgeKind::Conciseness,
        JudgeKind::Custom => wire::JudgeKind::Custom,
    };
    let (range, categories) = match judge.score {
        ScoreKind::Range { min, max, whole } => (Some(wire::ScoreRange { min, max, whole }), Vec::new()),
        ScoreKind::Categories(words) => (None, words),
        ScoreKind::Boolean => (None, Vec::new()),
    };
    wire::JudgeScorer {
        kind: kind.into(),
        route: judge.route,
        template: judge.template,
        range,
        categories,
        repeats: i32::try_from(judge.repeats).unwrap_or(i32::MAX),
        timeout: prost_types::Duration::try_from(judge.timeout).ok(),
        max_concurrency: i32::try_from(judge.max_concurrency).unwrap_or(i32::MAX),
    }
}
