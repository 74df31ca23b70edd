//! `lodeway evaluate` against the platform.

use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use futures::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use lodeway_domain::id::RequestId;
use lodeway_proto::evaluation::v1::{
    self as wire, Baseline, ClassifierScorer, ColumnRoles, CreateEvaluationRequest, DatasetRef,
    DatasetVersionHeader, EndpointTarget, Evaluation, EvaluationOptions, EvaluationSpec, EvaluationTarget,
    JudgeKind, JudgeScorer, LlmTarget, Scorer, SimilarityScorer, UploadDatasetVersionRequest,
    WatchEvaluationRequest, baseline, evaluation_target::Target, scorer,
    upload_dataset_version_request::Part,
};

use tokio::io::AsyncReadExt as _;

use super::{finished, threshold::threshold};
use crate::cli::{
    Done, Failure, artifact,
    connect::Client,
    output::{Format, key_value},
    parse::{share, span},
    refused,
};

const CHUNK_BYTES: usize = 512 << 10;

/// What only the platform knows.
#[derive(Args)]
#[command(next_help_heading = "On the platform")]
pub struct OnPlatform {
    /// Ask this endpoint.
    #[arg(long, conflicts_with_all = ["target_of", "llm"], value_name = "NAME")]
    endpoint: Option<String>,
    /// Ask the LLM behind this route.
    #[arg(long, conflicts_with = "target_of", value_name = "ROUTE")]
    llm: Option<String>,
    /// What goes into the model; default: what it declares; repeatable.
    #[arg(long = "feature", value_name = "COLUMN")]
    features: Vec<String>,
    /// The column that an LLM is asked with.
    #[arg(long, default_value = "", value_name = "COLUMN")]
    prompt: String,
    /// The column with what an LLM was given to answer from.
    #[arg(long, default_value = "", value_name = "COLUMN")]
    context: String,
    /// What `baseline` in a threshold means: `models:/NAME/3`, or an evaluation's id.
    #[arg(long, conflicts_with = "baseline_prediction", value_name = "BASELINE")]
    baseline: Option<String>,
    /// Have answers judged, for example `faithfulness=ROUTE`; repeatable.
    #[arg(long = "judge", value_name = "KIND=ROUTE", value_parser = key_value)]
    judges: Vec<(String, String)>,
    /// How long one call of a judge may take, for example `5m`; default: a minute. Its route has a timeout of its own.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    judge_timeout: Option<prost_types::Duration>,
    /// Calls of each judge at a time; default: 4.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N")]
    judge_concurrency: i32,
    /// How alike answer and expected answer are, by an embedding model: `models:/NAME/3`, `endpoint:NAME`, or a route for
    /// embeddings.
    #[arg(long = "similarity", value_name = "EMBEDDER")]
    similarities: Vec<String>,
    /// Have a classifier score answers: `toxicity=models:/NAME/3`, or `=endpoint:NAME`, with `#LABEL` behind it where it
    /// has several; repeatable.
    #[arg(long = "classifier", value_name = "NAME=MODEL[#LABEL]", value_parser = key_value)]
    classifiers: Vec<(String, String)>,
    /// What the evaluation is called; promotion rules ask for it by this name.
    #[arg(long, default_value = "", value_name = "NAME")]
    name: String,
    /// The experiment that holds the results.
    #[arg(long, default_value = "", value_name = "NAME")]
    experiment: String,
    /// Rows a call of the target.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    batch_size: i32,
    /// Calls of the target at a time.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    concurrency: i32,
    /// Only so many rows, from the beginning.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    max_rows: i64,
    /// The share of rows that may fail.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    max_failed: Option<f64>,
    /// Do not wait for the end.
    #[arg(long)]
    no_wait: bool,
}

/// What is measured, on what, and what must hold.
pub struct Asked {
    /// A model version.
    pub model: Option<String>,
    /// A file, a dataset or a URI.
    pub data: String,
    /// What the columns are for.
    pub roles: ColumnRoles,
    /// What the target column is.
    pub task: wire::Task,
    /// What must hold.
    pub thresholds: Vec<String>,
    /// A column that is compared with.
    pub baseline_prediction: Option<String>,
    /// The positive class.
    pub positive: String,
    /// Places of ranking.
    pub ks: Vec<usize>,
    /// Further F scores.
    pub betas: Vec<f64>,
    /// Of all that is random.
    pub seed: u64,
    /// Of intervals.
    pub confidence: f64,
    /// The fewest rows of a slice.
    pub slice_rows: u64,
}

impl OnPlatform {
    /// Whether something is asked that only the platform has.
    pub fn is_asked(&self) -> bool {
        self.endpoint.is_some()
            || self.llm.is_some()
            || !self.judges.is_empty()
            || !self.similarities.is_empty()
            || !self.classifiers.is_empty()
    }

    /// Asks for the evaluation, shows how far it is, and prints what came out. Errors: also a verdict that failed.
    pub async fn run(self, asked: Asked, client: &Client) -> Done {
        let no_wait = self.no_wait;
        let spec = self.spec(asked, client).await?;
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
            return finished(client, &made).await;
        }
        let ended = watch(client, made).await?;
        finished(client, &ended).await
    }

    async fn spec(self, asked: Asked, client: &Client) -> Result<EvaluationSpec, Failure> {
        let mut scorers = self.judges.iter().map(judge).collect::<Result<Vec<_>, _>>()?;
        for scorer in &mut scorers {
            if let Some(scorer::Scorer::Judge(judge)) = &mut scorer.scorer {
                judge.timeout = self.judge_timeout;
                judge.max_concurrency = self.judge_concurrency;
            }
        }
        scorers.extend(self.similarities.iter().map(|embedder| similarity(embedder)));
        scorers.extend(self.classifiers.iter().map(classifier));
        scorers.push(Scorer {
            name: String::new(),
            scorer: Some(scorer::Scorer::Task(wire::TaskScorer {
                positive_class: asked.positive,
                betas: asked.betas,
                k: asked
                    .ks
                    .iter()
                    .map(|k| i32::try_from(*k).unwrap_or(i32::MAX))
                    .collect(),
                ..wire::TaskScorer::default()
            })),
        });
        let target = match (asked.model, self.endpoint, self.llm) {
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
        let thresholds = asked
            .thresholds
            .iter()
            .map(|text| threshold(text).map_err(refused));
        let thresholds = thresholds.collect::<Result<Vec<_>, _>>()?;
        let column = asked
            .baseline_prediction
            .map(baseline::Baseline::PredictionColumn);
        let roles = ColumnRoles {
            features: self.features,
            prompt: self.prompt,
            context: self.context,
            ..asked.roles
        };
        let options = EvaluationOptions {
            seed: i64::from_ne_bytes(asked.seed.to_ne_bytes()),
            confidence: asked.confidence,
            min_slice_rows: i64::try_from(asked.slice_rows).unwrap_or(i64::MAX),
            batch_size: self.batch_size,
            max_concurrency: self.concurrency,
            max_rows: self.max_rows,
            max_failed_share: self.max_failed,
            ..EvaluationOptions::default()
        };
        let name = match self.name.as_str() {
            "" => stem(&asked.data),
            name => name.to_owned(),
        };
        Ok(EvaluationSpec {
            name,
            dataset: Some(dataset(client, &asked.data, &roles).await?),
            roles: Some(roles),
            target: target.map(|target| EvaluationTarget { target: Some(target) }),
            task: asked.task.into(),
            scorers,
            thresholds,
            baseline: self.baseline.map(baseline).or(column).map(|baseline| Baseline {
                baseline: Some(baseline),
            }),
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

fn baseline(text: String) -> baseline::Baseline {
    if text.starts_with("models:/") {
        baseline::Baseline::ModelUri(text)
    } else {
        baseline::Baseline::EvaluationId(text)
    }
}

/// A judge of the usual kind on a route.
pub fn judge((kind, route): &(String, String)) -> Result<Scorer, Failure> {
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

fn similarity(embedder: &str) -> Scorer {
    use wire::similarity_scorer::Embedder;
    let embedder = match embedder.strip_prefix("endpoint:") {
        Some(endpoint) => Embedder::Endpoint(endpoint.to_owned()),
        None if embedder.starts_with("models:/") => Embedder::ModelUri(embedder.to_owned()),
        None => Embedder::Route(embedder.to_owned()),
    };
    Scorer {
        name: String::new(),
        scorer: Some(scorer::Scorer::Similarity(SimilarityScorer {
            embedder: Some(embedder),
        })),
    }
}

fn classifier((name, model): &(String, String)) -> Scorer {
    let (model, label) = model.split_once('#').unwrap_or((model, ""));
    let mut classifier = ClassifierScorer {
        output: label.to_owned(),
        ..ClassifierScorer::default()
    };
    match model.strip_prefix("endpoint:") {
        Some(endpoint) => classifier.endpoint = endpoint.to_owned(),
        None => classifier.model_uri = model.to_owned(),
    }
    Scorer {
        name: name.clone(),
        scorer: Some(scorer::Scorer::Classifier(classifier)),
    }
}

/// The dataset of a name or URI; a file of this machine is sent first.
async fn dataset(client: &Client, data: &str, roles: &ColumnRoles) -> Result<DatasetRef, Failure> {
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
    upload(client, Path::new(data), roles).await
}

/// Sends a file as the next version of the dataset that has its name.
async fn upload(client: &Client, file: &Path, roles: &ColumnRoles) -> Result<DatasetRef, Failure> {
    let place = || file.display().to_string();
    let size = std::fs::metadata(file).with_context(place)?.len();
    let source = tokio::fs::File::open(file).await.with_context(place)?;
    let header = DatasetVersionHeader {
        name: stem(&file.to_string_lossy()),
        file_name: file
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        // Outputs of a model are no columns of the file.
        roles: Some(ColumnRoles {
            target: roles.target.clone(),
            weight: roles.weight.clone(),
            slices: roles.slices.clone(),
            ..ColumnRoles::default()
        }),
        request_id: RequestId::generate().to_string(),
        size_bytes: i64::try_from(size).ok(),
        ..DatasetVersionHeader::default()
    };
    let bar = artifact::progress(client, i64::try_from(size).unwrap_or(i64::MAX));
    let sent = bar.clone();
    let chunks = stream::unfold(source, move |mut source| {
        let sent = sent.clone();
        async move {
            let mut chunk = vec![0; CHUNK_BYTES];
            // A read that fails ends the stream early; the platform then refuses it, because the size is stated.
            let read = source.read(&mut chunk).await.unwrap_or(0);
            chunk.truncate(read);
            sent.inc(read as u64);
            (read > 0).then(|| (Part::Chunk(chunk.into()), source))
        }
    });
    let parts = stream::once(std::future::ready(Part::Header(header))).chain(chunks);
    let messages = parts.map(|part| UploadDatasetVersionRequest { part: Some(part) });
    let reply = client
        .datasets
        .clone()
        .upload_dataset_version(messages)
        .await?
        .into_inner();
    bar.finish_and_clear();
    let made = reply.dataset_version.unwrap_or_default();
    Ok(DatasetRef {
        name: made.name,
        version: made.version,
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
