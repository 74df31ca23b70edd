//! `lodeway evaluate` against the platform.

use std::{
    io::IsTerminal as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use futures::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use lodeway_domain::id::RequestId;
use lodeway_proto::evaluation::v1::{
    self as wire, Baseline, ClassifierScorer, ColumnRoles, CreateEvaluationRequest, DatasetRef,
    DatasetVersionHeader, EndpointTarget, Evaluation, EvaluationOptions, EvaluationSpec, EvaluationTarget,
    JudgeKind, JudgeScorer, LlmTarget, ScoreRange, Scorer, SimilarityScorer, UploadDatasetVersionRequest,
    WatchEvaluationRequest, baseline, evaluation_target::Target, scorer,
    upload_dataset_version_request::Part,
};

use tokio::io::AsyncReadExt as _;
use tonic::{Code, Status};

use super::{finished, threshold::threshold};
use crate::{
    cli::{
        Done, Failure, artifact,
        connect::Client,
        local_files, mistyped,
        output::{Format, key_value},
        parse::{share, span},
    },
    said,
};

const CHUNK_BYTES: usize = 512 << 10;
/// How long after a watch broke off it is opened again, and for how long that is tried without news.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);
const RECONNECT_FOR: Duration = Duration::from_secs(60);

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
    /// Have answers judged, for example `faithfulness=ROUTE`; repeatable. Judges are toxicity, relevance, faithfulness,
    /// correctness, groundedness and conciseness, and those of your own that `--judge-template` describes.
    #[arg(long = "judge", value_name = "NAME=ROUTE", value_parser = key_value)]
    judges: Vec<(String, String)>,
    /// What a judge of your own is asked, `NAME=TEXT` or `NAME=@FILE`, with any of `{{prompt}}`, `{{answer}}`,
    /// `{{context}}` and `{{expected}}`; repeatable. It answers yes or no unless told otherwise.
    #[arg(long = "judge-template", value_name = "NAME=TEXT", value_parser = key_value)]
    templates: Vec<(String, String)>,
    /// The numbers that a judge of your own gives: whole ones, `NAME=1..5`, or any between, `NAME=0.0..1.0`; repeatable.
    #[arg(long = "judge-range", value_name = "NAME=MIN..MAX", value_parser = key_value)]
    ranges: Vec<(String, String)>,
    /// The categories of which a judge of your own gives one, `NAME=good,bad`; repeatable.
    #[arg(long = "judge-categories", value_name = "NAME=A,B", value_parser = key_value)]
    categories: Vec<(String, String)>,
    /// How often each judge judges a row, at most 9; the median or the majority counts.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N")]
    judge_repeats: i32,
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
    /// Flags that were given and mean nothing without a platform.
    pub fn given(&self) -> Vec<&'static str> {
        let all = [
            ("--feature", !self.features.is_empty()),
            ("--prompt", !self.prompt.is_empty()),
            ("--context", !self.context.is_empty()),
            ("--baseline", self.baseline.is_some()),
            ("--judge-template", !self.templates.is_empty()),
            ("--judge-range", !self.ranges.is_empty()),
            ("--judge-categories", !self.categories.is_empty()),
            ("--judge-repeats", self.judge_repeats != 0),
            ("--judge-timeout", self.judge_timeout.is_some()),
            ("--judge-concurrency", self.judge_concurrency != 0),
            ("--name", !self.name.is_empty()),
            ("--experiment", !self.experiment.is_empty()),
            ("--batch-size", self.batch_size != 0),
            ("--concurrency", self.concurrency != 0),
            ("--max-rows", self.max_rows != 0),
            ("--max-failed", self.max_failed.is_some()),
            ("--no-wait", self.no_wait),
        ];
        let given = all.into_iter().filter(|(_, is_given)| *is_given);
        given.map(|(flag, _)| flag).collect()
    }

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

    /// A judge, one of the usual or of the caller's own.
    fn judge(&self, named: &(String, String)) -> Result<Scorer, Failure> {
        let (name, route) = named;
        let of = |all: &[(String, String)]| {
            all.iter()
                .find(|(own, _)| own == name)
                .map(|(_, text)| text.clone())
        };
        let mut scorer = match of(&self.templates) {
            None => judge(named)?,
            Some(text) => custom_judge(name, route, text)?,
        };
        let (range, categories) = (of(&self.ranges), of(&self.categories));
        if let Some(scorer::Scorer::Judge(judge)) = &mut scorer.scorer {
            judge.timeout = self.judge_timeout;
            judge.max_concurrency = self.judge_concurrency;
            judge.repeats = self.judge_repeats;
            judge.range = range.as_deref().map(range_of).transpose()?;
            judge.categories = categories
                .iter()
                .flat_map(|words| words.split(','))
                .map(|word| word.trim().to_owned())
                .collect();
        }
        Ok(scorer)
    }

    async fn spec(self, asked: Asked, client: &Client) -> Result<EvaluationSpec, Failure> {
        let own = [&self.templates, &self.ranges, &self.categories]
            .into_iter()
            .flatten();
        for (name, _) in own {
            if !self.judges.iter().any(|(judge, _)| judge == name) {
                return Err(mistyped(format!(
                    "give `--judge {name}=ROUTE` too: nobody else is asked as `{name}`"
                )));
            }
        }
        let judges = self.judges.iter().map(|judge| self.judge(judge));
        let mut scorers = judges.collect::<Result<Vec<_>, _>>()?;
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
            .map(|text| threshold(text).map_err(mistyped));
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
        "correctness" | "answer_correctness" => JudgeKind::Correctness,
        "groundedness" => JudgeKind::Groundedness,
        "conciseness" => JudgeKind::Conciseness,
        other => {
            return Err(mistyped(format!(
                "`{other}` is no judge; take toxicity, relevance, faithfulness, correctness, groundedness or \
                 conciseness, or describe your own with `--judge-template {other}=TEXT`"
            )));
        }
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

/// A judge that asks what a text, or a file after `@`, says.
fn custom_judge(name: &str, route: &str, text: String) -> Result<Scorer, Failure> {
    let template = match text.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("cannot read `{file}`"))?,
        None => text,
    };
    Ok(Scorer {
        name: name.to_owned(),
        scorer: Some(scorer::Scorer::Judge(JudgeScorer {
            kind: JudgeKind::Custom.into(),
            route: route.to_owned(),
            template,
            ..JudgeScorer::default()
        })),
    })
}

/// Reads `1..5` as whole numbers and `0.0..1.0` as any.
fn range_of(text: &str) -> Result<ScoreRange, Failure> {
    let wrong = || mistyped(format!("`{text}` is no range such as `1..5` or `0.0..1.0`"));
    // A point of a number must not be taken for one of the two between.
    let (min, max) = text.split_once("..").ok_or_else(wrong)?;
    let number = |text: &str| text.trim().parse::<f64>().map_err(|_| wrong());
    Ok(ScoreRange {
        min: number(min)?,
        max: number(max)?,
        whole: !min.contains('.') && !max.contains('.'),
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
                    version.map_err(|_| mistyped(format!("`{data}` is not dataset:NAME@VERSION")))?,
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
    let size = local_files::size(file)?;
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

/// Waits for the end, with a bar for people, or where no terminal shows it a line at the beginning and one at the end.
pub(super) async fn watch(client: &Client, made: Evaluation) -> Result<Evaluation, Failure> {
    let has_lines = client.format == Format::Table && !std::io::stderr().is_terminal() && !has_ended(&made);
    if has_lines {
        let id = said::plain(&made.evaluation_id);
        crate::complain(&format!("evaluation {id} has begun"));
    }
    let bar = match client.format {
        Format::Json => ProgressBar::hidden(),
        Format::Table => ProgressBar::new(0),
    };
    let style = ProgressStyle::with_template("{msg:10} {bar:40} {pos}/{len} rows");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut last = made;
    // Since when the watch is broken off without news.
    let mut broken: Option<Instant> = None;
    while !has_ended(&last) {
        let followed = follow(client, &mut last, &mut broken, &bar).await;
        let since = *broken.get_or_insert_with(Instant::now);
        match followed {
            // The platform stops or restarts: the job goes on when it is back, and so does this.
            Err(status) if !is_passing(&status) || since.elapsed() > RECONNECT_FOR => {
                return Err(status.into());
            }
            _ if has_ended(&last) => break,
            _ => tokio::time::sleep(RECONNECT_AFTER).await,
        }
    }
    bar.finish_and_clear();
    if has_lines {
        crate::complain(&end_line(&last));
    }
    Ok(last)
}

/// What is said of an evaluation that has ended.
fn end_line(ended: &Evaluation) -> String {
    use wire::EvaluationState as State;
    let id = said::plain(&ended.evaluation_id);
    let how = match ended.state() {
        State::Failed => "has failed",
        State::Cancelled => "was stopped",
        _ => "has succeeded",
    };
    let progress = ended.progress.clone().unwrap_or_default();
    let rows = progress.rows_done + progress.rows_failed;
    format!("evaluation {id} {how}, {rows} of {} rows", progress.rows_total)
}

/// Follows an evaluation until the stream ends; with news nothing is `broken`. Errors: those of the platform.
async fn follow(
    client: &Client,
    last: &mut Evaluation,
    broken: &mut Option<Instant>,
    bar: &ProgressBar,
) -> Result<(), Status> {
    let request = WatchEvaluationRequest {
        evaluation_id: last.evaluation_id.clone(),
    };
    let pushes = client.evaluations.clone().watch_evaluation(request).await?;
    let mut pushes = pushes.into_inner();
    while let Some(push) = pushes.message().await? {
        let Some(evaluation) = push.evaluation else {
            continue;
        };
        if let Some(progress) = &evaluation.progress {
            let count = |number: i64| u64::try_from(number).unwrap_or(0);
            bar.set_length(count(progress.rows_total));
            bar.set_position(count(progress.rows_done + progress.rows_failed));
            let phase = said::plain(&progress.phase);
            bar.set_message(match progress.rows_failed {
                0 => phase.into_owned(),
                failed => format!("{phase}, {failed} rows failed"),
            });
        }
        *last = evaluation;
        *broken = None;
    }
    Ok(())
}

fn has_ended(evaluation: &Evaluation) -> bool {
    use wire::EvaluationState as State;
    matches!(
        evaluation.state(),
        State::Succeeded | State::Failed | State::Cancelled
    )
}

/// Whether a watch that broke off so may go on.
fn is_passing(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled
    )
}
