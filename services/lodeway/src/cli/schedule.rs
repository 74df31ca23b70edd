//! `lodeway schedule`.

use clap::{Args, Subcommand, ValueEnum};
use lodeway_domain::id::RequestId;
use lodeway_proto::evaluation::v1::{
    self as wire, ColumnRoles, CreateScheduleRequest, DeleteScheduleRequest, GetScheduleRequest,
    ListSchedulesRequest, Schedule, ScheduleBaseline, Scorer, TextScorer, schedule_baseline::Baseline,
    scorer,
};
use serde_json::{Value, json};
use tonic::Status;

use super::{
    Done, Failure,
    connect::Client,
    evaluation::{clause, judge, metric, threshold},
    mistyped,
    output::{self, Format},
    paging, parse,
};

/// What can be done with schedules.
#[derive(Subcommand)]
pub enum Verb {
    /// Evaluates an endpoint's recorded traffic again and again, the first time at once.
    Create(Box<Create>),
    /// Lists schedules by name.
    List {
        /// Only of this endpoint.
        #[arg(long, default_value = "")]
        endpoint: String,
        /// At most this many; 0: all.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Shows a schedule: when it is due, and what the last evaluation said.
    Show {
        /// Its name.
        name: String,
    },
    /// Ends a schedule; its evaluations stay.
    Delete {
        /// Its name.
        name: String,
    },
}

/// A new schedule.
#[derive(Args)]
pub struct Create {
    /// What it and its evaluations are called.
    name: String,
    /// Whose traffic.
    #[arg(long)]
    endpoint: String,
    /// How often: at least `1m`.
    #[arg(long, value_name = "SPAN", value_parser = parse::span)]
    every: prost_types::Duration,
    /// Over how much time back; default: as often as it is done.
    #[arg(long, value_name = "SPAN", value_parser = parse::span)]
    window: Option<prost_types::Duration>,
    /// Only answers of this target.
    #[arg(long, default_value = "")]
    target: String,
    /// At most this many rows each time.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    max_rows: i64,
    /// What the labels are; default: told from the data.
    #[arg(long, value_enum)]
    task: Option<Task>,
    /// Have answers judged, for example `relevance=ROUTE`; repeatable.
    #[arg(long = "judge", value_name = "KIND=ROUTE", value_parser = output::key_value)]
    judges: Vec<(String, String)>,
    /// Metrics of texts that need no model.
    #[arg(long)]
    text: bool,
    /// The column with what was asked; default: the only text input, or what the user said last.
    #[arg(long, default_value = "", value_name = "COLUMN")]
    prompt: String,
    /// The column with what it was given to answer from.
    #[arg(long, default_value = "", value_name = "COLUMN")]
    context: String,
    /// The column with the answer, beside `--prompt`; default: the prediction.
    #[arg(long, default_value = "", value_name = "COLUMN")]
    answer: String,
    /// Metrics are also given for each value of this column; repeatable.
    #[arg(long = "slice", value_name = "COLUMN")]
    slices: Vec<String>,
    /// A demand, such as `accuracy>=0.9`, or with `--baseline` also `accuracy>=baseline-0.02`; repeatable.
    #[arg(long = "threshold", value_name = "DEMAND")]
    thresholds: Vec<String>,
    /// What `baseline` in a threshold means: `previous` for the window before, or `models:/NAME/3`, which is asked about the
    /// same calls.
    #[arg(long, value_name = "BASELINE")]
    baseline: Option<String>,
    /// How many windows keep their rows, their report and their answers, the newest ones; default: 100.
    #[arg(long, value_name = "WINDOWS", value_parser = clap::value_parser!(i32).range(1..))]
    keep: Option<i32>,
}

/// What labels are.
#[derive(Clone, Copy, ValueEnum)]
enum Task {
    Classification,
    Regression,
    Text,
}

/// The window before, as a baseline.
const PREVIOUS: &str = "previous";
const COLUMNS: &[&str] = &[
    "name",
    "endpoint",
    "every",
    "next_time",
    "last_time",
    "last_state",
    "last_verdict",
    "skipped_windows",
    "error",
];
const METRICS: &[&str] = &["metric", "value", "low", "high", "samples", "method"];

/// Does it.
pub async fn run(verb: Verb, client: &Client) -> Done {
    let mut api = client.outcomes.clone();
    match verb {
        Verb::Create(create) => {
            let request = CreateScheduleRequest {
                schedule: Some(create.schedule()?),
                request_id: RequestId::generate().to_string(),
            };
            let made = api.create_schedule(request).await?.into_inner().schedule;
            show(client, &made.unwrap_or_default())
        }
        Verb::List { endpoint, limit } => {
            let page = |page_token| {
                let request = ListSchedulesRequest {
                    endpoint: endpoint.clone(),
                    page_size: paging::page_size(limit, 1_000),
                    page_token,
                };
                let mut api = client.outcomes.clone();
                async move {
                    let reply = api.list_schedules(request).await?.into_inner();
                    let found = reply.schedules.iter().map(short).collect();
                    Ok::<_, Status>((found, reply.next_page_token))
                }
            };
            let found = paging::collect(limit, page).await?;
            output::list(client.format, COLUMNS, &found)
        }
        Verb::Show { name } => {
            let found = api.get_schedule(GetScheduleRequest { name }).await?.into_inner();
            show(client, &found.schedule.unwrap_or_default())
        }
        Verb::Delete { name } => {
            let message = format!("deleted schedule {name}");
            let request = DeleteScheduleRequest {
                name,
                request_id: RequestId::generate().to_string(),
            };
            api.delete_schedule(request).await?;
            output::done(client.format, &message, &json!({}))
        }
    }
}

impl Create {
    fn schedule(self) -> Result<Schedule, Failure> {
        let mut scorers = self.judges.iter().map(judge).collect::<Result<Vec<_>, _>>()?;
        if self.text {
            scorers.push(Scorer {
                name: String::new(),
                scorer: Some(scorer::Scorer::Text(TextScorer::default())),
            });
        }
        let thresholds = self.thresholds.iter();
        let thresholds = thresholds.map(|text| threshold(text).map_err(mistyped));
        let task = match self.task {
            None => wire::Task::Unspecified,
            Some(Task::Classification) => wire::Task::Classification,
            Some(Task::Regression) => wire::Task::Regression,
            Some(Task::Text) => wire::Task::Text,
        };
        let answer = match (self.prompt.as_str(), self.answer) {
            ("", answer) => answer,
            (_, answer) if answer.is_empty() => "prediction".to_owned(),
            (_, answer) => answer,
        };
        let roles = ColumnRoles {
            prompt: self.prompt,
            context: self.context,
            answer,
            slices: self.slices,
            ..ColumnRoles::default()
        };
        Ok(Schedule {
            thresholds: thresholds.collect::<Result<_, _>>()?,
            name: self.name,
            endpoint: self.endpoint,
            interval: Some(self.every),
            window: self.window,
            max_rows: self.max_rows,
            target: self.target,
            task: task.into(),
            roles: Some(roles),
            scorers,
            baseline: self.baseline.map(|baseline| ScheduleBaseline {
                baseline: Some(match baseline.as_str() {
                    PREVIOUS => Baseline::PreviousWindow(true),
                    _ => Baseline::ModelUri(baseline),
                }),
            }),
            keep_windows: self.keep.unwrap_or_default(),
            ..Schedule::default()
        })
    }
}

fn show(client: &Client, schedule: &Schedule) -> Done {
    let mut item = short(schedule);
    let metrics: Vec<_> = schedule.last_metrics.iter().map(metric).collect();
    let verdict = schedule.last_verdict.as_ref();
    let clauses: Vec<_> = verdict
        .iter()
        .flat_map(|found| &found.clauses)
        .map(clause)
        .collect();
    if client.format == Format::Json {
        item["last_metrics"] = Value::Array(metrics);
        item["last_clauses"] = Value::Array(clauses);
        return output::one(client.format, &item);
    }
    output::one(client.format, &item)?;
    if !metrics.is_empty() {
        output::list(client.format, METRICS, &metrics)?;
    }
    if !clauses.is_empty() {
        output::list(client.format, &["passed", "message"], &clauses)?;
    }
    Ok(())
}

fn short(schedule: &Schedule) -> Value {
    let verdict = schedule.last_verdict.as_ref();
    let verdict = verdict.map(|found| if found.passed { "passed" } else { "failed" });
    let baseline = schedule.baseline.as_ref().and_then(|of| of.baseline.as_ref());
    let baseline = baseline.map(|baseline| match baseline {
        Baseline::ModelUri(uri) => uri.as_str(),
        Baseline::PreviousWindow(_) => PREVIOUS,
    });
    let state = schedule.last_state().as_str_name();
    output::object([
        ("name", json!(schedule.name)),
        ("endpoint", json!(schedule.endpoint)),
        ("target", json!(schedule.target)),
        ("every", json!(output::span_text(schedule.interval.as_ref()))),
        ("window", json!(output::span_text(schedule.window.as_ref()))),
        ("max_rows", json!(schedule.max_rows)),
        ("baseline", json!(baseline)),
        ("keep", json!(schedule.keep_windows)),
        ("next_time", output::time(schedule.next_time.as_ref())),
        // Of the window that was looked at last; what follows is of the last one that had something to evaluate.
        ("last_time", output::time(schedule.last_time.as_ref())),
        ("error", json!(schedule.error)),
        ("last_evaluation_id", json!(schedule.last_evaluation_id)),
        ("last_state", output::word(state, "EVALUATION_STATE_")),
        ("last_error", json!(schedule.last_error)),
        ("last_verdict", json!(verdict)),
        ("skipped_windows", json!(schedule.skipped_windows)),
        ("principal", json!(schedule.principal)),
        ("create_time", output::time(schedule.create_time.as_ref())),
    ])
}
