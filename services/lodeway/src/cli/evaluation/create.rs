//! `lodeway evaluate` against the platform.

use std::path::Path;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use lodeway_domain::id::{RequestId, new_hex};
use lodeway_proto::evaluation::v1::{
    self as wire, Baseline, ColumnRoles, CreateEvaluationRequest, DatasetRef, EndpointTarget, Evaluation,
    EvaluationOptions, EvaluationSpec, EvaluationTarget, JudgeKind, JudgeScorer, LlmTarget,
    ProbabilityColumn, Scorer, Threshold, WatchEvaluationRequest, baseline, evaluation_target::Target,
    scorer,
};

use super::{finished, threshold::threshold};
use crate::cli::{
    Done, Failure, artifact,
    connect::Client,
    output::{Format, key_value},
    refused,
};

/// What is measured, on what, and what must hold.
#[derive(Args)]
pub struct Create {
    /// A model version: `models:/NAME/3`, `models:/NAME/Stage`, `models:/NAME@alias`. None, and neither `--endpoint` nor
    /// `--llm`: the predictions in the data.
    #[arg(value_name = "TARGET")]
    model: Option<String>,
    /// A file of Parquet, CSV, JSON Lines or Arrow; or `dataset:NAME[@VERSION]`.
    #[arg(long, value_name = "FILE|DATASET")]
    data: String,
    /// The column with the truth.
    #[arg(long, default_value = "", value_name = "COLUMN")]
    target: String,
    /// The column, or for a model the output, with predictions.
    #[arg(long, default_value = "", value_name = "COLUMN")]
    prediction: String,
    /// The column with probabilities of the positive class, or one a class; repeatable.
    #[arg(long = "probability", value_name = "[CLASS=]COLUMN")]
    probabilities: Vec<String>,
    /// The column with weights.
    #[arg(long, default_value = "", value_name = "COLUMN")]
    weight: String,
    /// Also measure each value of this column; repeatable.
    #[arg(long = "slice", value_name = "COLUMN")]
    slices: Vec<String>,
    /// What goes into the model; default: what it declares; repeatable.
    #[arg(long = "feature", value_name = "COLUMN")]
    features: Vec<String>,
    /// The column that an LLM is asked with.
    #[arg(long, default_value = "", value_name = "COLUMN")]
    prompt: String,
    /// The column with what an LLM answered.
    #[arg(long, default_value = "", value_name = "COLUMN")]
    answer: String,
    /// The column with what an LLM was given to answer from.
    #[arg(long, default_value = "", value_name = "COLUMN")]
    context: String,
    /// The column with what an LLM should have answered.
    #[arg(long, default_value = "", value_name = "COLUMN")]
    expected_answer: String,
    /// Ask this endpoint.
    #[arg(long, conflicts_with_all = ["model", "llm"], value_name = "NAME")]
    endpoint: Option<String>,
    /// Ask the LLM behind this route.
    #[arg(long, conflicts_with = "model", value_name = "ROUTE")]
    llm: Option<String>,
    /// What the target column is; default: told from the data.
    #[arg(long, value_name = "TASK")]
    task: Option<Task>,
    /// What must hold, for example `accuracy>=0.9`, `accuracy.low>=0.85`, `f1>=baseline-0.01`; repeatable.
    #[arg(long = "threshold", value_name = "METRIC>=LIMIT", value_parser = threshold)]
    thresholds: Vec<Threshold>,
    /// What `baseline` in a threshold means: `models:/NAME/3`, an evaluation's id, or a column with predictions.
    #[arg(long, value_name = "BASELINE")]
    baseline: Option<String>,
    /// Have answers judged, for example `faithfulness=ROUTE`; repeatable.
    #[arg(long = "judge", value_name = "KIND=ROUTE", value_parser = key_value)]
    judges: Vec<(String, String)>,
    /// What the evaluation is called; promotion rules ask for it by this name.
    #[arg(long, default_value = "", value_name = "NAME")]
    name: String,
    /// The experiment that holds the results.
    #[arg(long, default_value = "", value_name = "NAME")]
    experiment: String,
    /// The class that counts as positive.
    #[arg(long, default_value = "", value_name = "CLASS")]
    positive: String,
    /// Of resampling.
    #[arg(long, default_value_t = 0)]
    seed: i64,
    /// Rows a call of the target.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    batch_size: i32,
    /// Calls of the target at a time.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    concurrency: i32,
    /// Only so many rows, from the beginning.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    max_rows: i64,
    /// Do not wait for the end.
    #[arg(long)]
    no_wait: bool,
}

/// What a target column is.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Task {
    /// Classes.
    Classification,
    /// Numbers.
    Regression,
    /// Relevance of what was ranked.
    Ranking,
    /// Texts.
    Text,
}

impl Create {
    /// Asks for the evaluation, shows how far it is, and prints what came out. Errors: also a verdict that failed.
    pub async fn run(self, client: &Client) -> Done {
        let no_wait = self.no_wait;
        let spec = self.spec(client).await?;
        let request = CreateEvaluationRequest {
            spec: Some(spec),
            request_id: RequestId::generate().to_string(),
        };
        let made = client
            .evaluations
            .clone()
            .create_evaluation(request)
            .await?
            .into_inner();
        let made = made.evaluation.unwrap_or_default();
        if no_wait {
            return finished(client, &made);
        }
        let ended = watch(client, made).await?;
        finished(client, &ended)
    }

    async fn spec(self, client: &Client) -> Result<EvaluationSpec, Failure> {
        let mut scorers = self.judges.iter().map(judge).collect::<Result<Vec<_>, _>>()?;
        if !self.positive.is_empty() {
            scorers.push(Scorer {
                name: String::new(),
                scorer: Some(scorer::Scorer::Task(wire::TaskScorer {
                    positive_class: self.positive.clone(),
                    ..wire::TaskScorer::default()
                })),
            });
        }
        let target = match (self.model, self.endpoint, self.llm) {
            (Some(uri), ..) => Some(Target::ModelUri(uri)),
            (_, Some(endpoint), _) => Some(Target::Endpoint(EndpointTarget {
                endpoint,
                target: String::new(),
            })),
            (.., Some(route)) => Some(Target::Llm(LlmTarget {
                route,
                ..LlmTarget::default()
            })),
            _ => None,
        };
        let task = match self.task {
            None => wire::Task::Unspecified,
            Some(Task::Classification) => wire::Task::Classification,
            Some(Task::Regression) => wire::Task::Regression,
            Some(Task::Ranking) => wire::Task::Ranking,
            Some(Task::Text) => wire::Task::Text,
        };
        let probability = |text: &String| match text.split_once('=') {
            Some((class, column)) => ProbabilityColumn {
                class: class.to_owned(),
                column: column.to_owned(),
            },
            None => ProbabilityColumn {
                class: String::new(),
                column: text.clone(),
            },
        };
        let roles = ColumnRoles {
            target: self.target,
            prediction: self.prediction,
            probabilities: self.probabilities.iter().map(probability).collect(),
            weight: self.weight,
            slices: self.slices,
            features: self.features,
            prompt: self.prompt,
            answer: self.answer,
            context: self.context,
            expected_answer: self.expected_answer,
            query: String::new(),
        };
        let options = EvaluationOptions {
            seed: self.seed,
            batch_size: self.batch_size,
            max_concurrency: self.concurrency,
            max_rows: self.max_rows,
            ..EvaluationOptions::default()
        };
        let name = match self.name.as_str() {
            "" => stem(&self.data),
            name => name.to_owned(),
        };
        Ok(EvaluationSpec {
            name,
            dataset: Some(dataset(client, &self.data).await?),
            roles: Some(roles),
            target: target.map(|target| EvaluationTarget { target: Some(target) }),
            task: task.into(),
            scorers,
            thresholds: self.thresholds,
            baseline: self.baseline.map(baseline),
            options: Some(options),
            experiment: self.experiment,
        })
    }
}

/// The name of a dataset or of a file without folder and ending.
fn stem(data: &str) -> String {
    if let Some(name) = data.strip_prefix("dataset:") {
        return name.split('@').next().unwrap_or(name).to_owned();
    }
    let stem = Path::new(data).file_stem();
    stem.map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn baseline(text: String) -> Baseline {
    let kind = if text.starts_with("models:/") {
        baseline::Baseline::ModelUri(text)
    } else if text.starts_with("e-") {
        baseline::Baseline::EvaluationId(text)
    } else {
        baseline::Baseline::PredictionColumn(text)
    };
    Baseline { baseline: Some(kind) }
}

fn judge((kind, route): &(String, String)) -> Result<Scorer, Failure> {
    let kind = match kind.as_str() {
        "toxicity" => JudgeKind::Toxicity,
        "relevance" => JudgeKind::Relevance,
        "faithfulness" => JudgeKind::Faithfulness,
        "correctness" => JudgeKind::Correctness,
        "groundedness" => JudgeKind::Groundedness,
        "conciseness" => JudgeKind::Conciseness,
        other => return Err(refused(format!("`{other}` is no judge"))),
    };
    Ok(Scorer {
        name: String::new(),
        scorer: Some(scorer::Scorer::Judge(JudgeScorer {
            kind: kind.into(),
            route: route.clone(),
            ..JudgeScorer::default()
        })),
    })
}

/// The dataset of a name or URI; a file of this machine is sent first.
async fn dataset(client: &Client, data: &str) -> Result<DatasetRef, Failure> {
    if let Some(name) = data.strip_prefix("dataset:") {
        let (name, version) = match name.rsplit_once('@') {
            None => (name, 0),
            Some((name, version)) => {
                let version = version.parse();
                (
                    name,
                    version.map_err(|_| refused(format!("`{data}` is not dataset:NAME@VERSION")))?,
                )
            }
        };
        return Ok(DatasetRef {
            name: name.to_owned(),
            version,
        });
    }
    if data.contains(":/") {
        return Ok(DatasetRef {
            name: data.to_owned(),
            version: 0,
        });
    }
    let location = format!("mlflow-artifacts:/evaluations/data/{}", new_hex());
    let name = artifact::send_file(client, Path::new(data), &location).await?;
    Ok(DatasetRef {
        name: format!("{location}/{name}"),
        version: 0,
    })
}

/// Waits for the end, with a bar for people.
pub(super) async fn watch(client: &Client, made: Evaluation) -> Result<Evaluation, Failure> {
    let bar = match client.format {
        Format::Json => ProgressBar::hidden(),
        Format::Table => ProgressBar::new(0),
    };
    let style = ProgressStyle::with_template("{msg:10} {bar:40} {pos}/{len} rows");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let request = WatchEvaluationRequest {
        evaluation_id: made.evaluation_id.clone(),
    };
    let mut pushes = client
        .evaluations
        .clone()
        .watch_evaluation(request)
        .await?
        .into_inner();
    let mut last = made;
    while let Some(push) = pushes.message().await? {
        let Some(evaluation) = push.evaluation else {
            continue;
        };
        if let Some(progress) = &evaluation.progress {
            let count = |number: i64| u64::try_from(number).unwrap_or(0);
            bar.set_length(count(progress.rows_total));
            bar.set_position(count(progress.rows_done + progress.rows_failed));
            bar.set_message(progress.phase.clone());
        }
        last = evaluation;
    }
    bar.finish_and_clear();
    Ok(last)
}
