//! `lodeway evaluate`: predictions in a file become a report, with no platform; everything else goes to the platform.
//!
//! Exit codes without a platform: 0 done, 1 a threshold is missed or the result cannot be written, 2 the data or the command
//! line is wrong. On the platform those of all commands, among them 1 a threshold is missed, 2 the command line is wrong, 7 the
//! job failed or was stopped.

mod results;
mod show;

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use lodeway_domain::Error;
use lodeway_proto::evaluation::v1 as wire;
use lodeway_scorers::{
    Average, BadRows, Clause, Comparator, Evaluator, Plan, PlanOptions, Probability, Report, Roles, Task,
    Thresholds, plots,
};
use lodeway_tables::{Format, Options, Reader, Source};

use self::results::{Folder, Rows};
use super::{
    Done, Place,
    connect::Client,
    evaluation::{Asked, OnPlatform},
    mistyped, output,
};
use crate::said;

const REPLICATES: u32 = 1_000;
const TOP_K: usize = 2;
const QUANTILE: f64 = 0.5;

/// What is evaluated, and how.
#[derive(Args)]
pub struct Arguments {
    /// A model version on the platform, `models:/NAME/3`, `models:/NAME/Stage` or `models:/NAME@alias`; predictions that
    /// are in the data need none.
    #[arg(value_name = "MODEL")]
    target_of: Option<String>,
    /// The table: a file in Parquet, CSV, JSON Lines or Arrow; on the platform also `dataset:NAME[@VERSION]`, a file of a
    /// run, `runs:/ID/path`, or the URI of a file of the artifact service, such as `mlflow-artifacts:/0/data/test.parquet`.
    #[arg(long, value_name = "FILE|DATASET|URI")]
    data: PathBuf,
    /// The format of the table, if neither name nor first bytes say it.
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    format: Option<Format>,
    #[command(flatten)]
    roles: RoleArguments,
    /// What the model does; inferred from the columns unless given.
    #[arg(long, value_parser = task, value_name = "classification|regression|ranking|text")]
    task: Option<Task>,
    #[command(flatten)]
    how: How,
    /// A demand such as `accuracy>=0.9`, `roc_auc.low>=0.8` or `log_loss<=baseline*1.05`; several are all demanded.
    /// On the platform also of a slice, `accuracy[plan=basic]>=0.8`.
    #[arg(long = "threshold", value_name = "CLAUSE")]
    thresholds: Vec<String>,
    /// The column of another model's predictions for the same rows.
    #[arg(long, value_name = "COLUMN")]
    baseline_prediction: Option<String>,
    /// The column of another model's probabilities, as `--probability`.
    #[arg(long, value_name = "COLUMN", value_parser = probability)]
    baseline_probability: Vec<Probability>,
    /// How the report looks.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// A folder for `report.json`, `report.html`, `rows.parquet` and the plots.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    platform: OnPlatform,
    #[command(flatten)]
    place: Place,
}

/// Which column is what.
#[derive(Args)]
struct RoleArguments {
    /// The column with what is true; in ranking how relevant an answer is.
    #[arg(long, value_name = "COLUMN")]
    target: Option<String>,
    /// The column with what was predicted; in ranking the score.
    #[arg(long, value_name = "COLUMN")]
    prediction: Option<String>,
    /// The column with the probability of the positive class, or one for each class as `CLASS=COLUMN`.
    #[arg(long, value_name = "[CLASS=]COLUMN", value_parser = probability)]
    probability: Vec<Probability>,
    /// The column with the weights of rows.
    #[arg(long, value_name = "COLUMN")]
    weight: Option<String>,
    /// A column whose values are also evaluated one by one.
    #[arg(long, value_name = "COLUMN")]
    slice: Vec<String>,
    /// The column that says which answers are ranked together.
    #[arg(long, value_name = "COLUMN")]
    query: Option<String>,
    /// The column with the text that is evaluated.
    #[arg(long, value_name = "COLUMN")]
    answer: Option<String>,
    /// The column with the text that the answer should be.
    #[arg(long, value_name = "COLUMN")]
    expected: Option<String>,
}

/// How it is evaluated.
#[derive(Args)]
struct How {
    /// Of all that is random.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Coverage of the intervals.
    #[arg(long, default_value_t = 0.95, value_name = "SHARE")]
    confidence: f64,
    /// Resamples of the bootstrap, which gives intervals of regression and of comparisons.
    #[arg(long, default_value_t = REPLICATES, value_name = "COUNT")]
    replicates: u32,
    /// The positive class.
    #[arg(long, value_name = "CLASS")]
    positive: Option<String>,
    /// Both classes, if the first 100,000 rows have only one.
    #[arg(long, value_name = "CLASS", value_delimiter = ',')]
    classes: Vec<String>,
    /// What precision, recall and F1 of more than two classes are: micro, macro or weighted.
    #[arg(long, value_parser = average, default_value = "macro")]
    average: Average,
    /// The k of NDCG, precision and recall of ranked answers.
    #[arg(long = "k", value_name = "K", default_values_t = [10])]
    ks: Vec<usize>,
    /// The k of top-k accuracy.
    #[arg(long, default_value_t = TOP_K, value_name = "K")]
    top_k: usize,
    /// How much more recall counts than precision in a further F score: 0.5 gives `fbeta_0.5`; repeatable.
    #[arg(long = "beta", value_name = "BETA")]
    betas: Vec<f64>,
    /// The quantile of the pinball loss.
    #[arg(long, default_value_t = QUANTILE, value_name = "SHARE")]
    quantile: f64,
    /// Leaves rows out that cannot be scored, and counts them, instead of ending with an error.
    #[arg(long)]
    skip_bad_rows: bool,
    /// A slice with fewer rows has no metrics.
    #[arg(long, default_value_t = 30, value_name = "ROWS")]
    slice_rows: u64,
}

impl How {
    /// Flags that were given and mean nothing on the platform.
    fn given(&self) -> Vec<&'static str> {
        let all = [
            ("--replicates", self.replicates != REPLICATES),
            ("--classes", !self.classes.is_empty()),
            ("--average", self.average != Average::Macro),
            ("--top-k", self.top_k != TOP_K),
            ("--quantile", self.quantile != QUANTILE),
            ("--skip-bad-rows", self.skip_bad_rows),
        ];
        let given = all.into_iter().filter(|(_, is_given)| *is_given);
        given.map(|(flag, _)| flag).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// A table.
    Table,
    /// JSON.
    Json,
    /// A page.
    Html,
}

impl Arguments {
    /// Whether the platform is needed: for a model, an endpoint, an LLM, or data that are there.
    pub fn is_on_platform(&self) -> bool {
        let data = self.data.to_string_lossy();
        self.target_of.is_some()
            || self.platform.is_asked()
            || data.starts_with("dataset:")
            || data.contains(":/")
    }
}

/// Evaluates on the platform.
pub async fn on_platform(arguments: Arguments) -> Done {
    let format = match arguments.output {
        Output::Table => output::Format::Table,
        Output::Json => output::Format::Json,
        Output::Html => {
            return Err(mistyped(
                "on the platform the page is an artifact of the run; use table or json",
            ));
        }
    };
    if arguments.out.is_some() || arguments.format.is_some() {
        return Err(mistyped(
            "`--out` and `--format` are for files without a platform",
        ));
    }
    let mut given = arguments.how.given();
    if !arguments.baseline_probability.is_empty() {
        given.push("--baseline-probability");
    }
    if !given.is_empty() {
        return Err(mistyped(format!(
            "on the platform there is no use for {}",
            given.join(", ")
        )));
    }
    let client = Client::at(&arguments.place, format)?;
    let (roles, how) = (arguments.roles, arguments.how);
    let probabilities = roles
        .probability
        .into_iter()
        .map(|probability| wire::ProbabilityColumn {
            class: probability.class.unwrap_or_default(),
            column: probability.column,
        });
    let given = |text: Option<String>| text.unwrap_or_default();
    let asked = Asked {
        model: arguments.target_of,
        data: arguments.data.to_string_lossy().into_owned(),
        roles: wire::ColumnRoles {
            target: given(roles.target),
            prediction: given(roles.prediction),
            probabilities: probabilities.collect(),
            weight: given(roles.weight),
            slices: roles.slice,
            query: given(roles.query),
            answer: given(roles.answer),
            expected_answer: given(roles.expected),
            ..wire::ColumnRoles::default()
        },
        task: match arguments.task {
            None => wire::Task::Unspecified,
            Some(Task::Classification) => wire::Task::Classification,
            Some(Task::Regression) => wire::Task::Regression,
            Some(Task::Ranking) => wire::Task::Ranking,
            Some(Task::Text) => wire::Task::Text,
        },
        thresholds: arguments.thresholds,
        baseline_prediction: arguments.baseline_prediction,
        positive: given(how.positive),
        ks: how.ks,
        betas: how.betas,
        seed: how.seed,
        confidence: how.confidence,
        slice_rows: how.slice_rows,
    };
    arguments.platform.run(asked, &client).await
}

/// The data or the command line is wrong.
const WRONG: u8 = 2;

/// Why there is no result, in one line for the user.
#[derive(Debug)]
enum Fault {
    /// The data or the command line is wrong.
    Wrong(String),
    /// The result cannot be written.
    Unwritten(String),
}

impl From<String> for Fault {
    fn from(why: String) -> Self {
        Self::Wrong(why)
    }
}

/// Evaluates.
pub fn run(arguments: &Arguments) -> ExitCode {
    let (why, code) = match evaluate(arguments) {
        Err(Fault::Wrong(why)) => (why, ExitCode::from(WRONG)),
        Err(Fault::Unwritten(why)) => (why, ExitCode::FAILURE),
        Ok((text, passed)) => match crate::say(text.trim_end()) {
            Ok(()) if passed => return ExitCode::SUCCESS,
            Ok(()) => return ExitCode::FAILURE,
            Err(error) => (said::chain(error.as_ref()), ExitCode::FAILURE),
        },
    };
    crate::complain(&format!("lodeway: {}", said::plain(&why)));
    code
}

/// The report as it is shown, and whether all thresholds hold.
fn evaluate(arguments: &Arguments) -> Result<(String, bool), Fault> {
    let given = arguments.platform.given();
    if !given.is_empty() {
        return Err(Fault::Wrong(format!(
            "without a platform there is no use for {}: name a model, an endpoint, an LLM, a judge, `dataset:NAME` or the URI of \
             a file",
            given.join(", ")
        )));
    }
    if let Some(of_slice) = arguments.thresholds.iter().find(|text| text.contains('[')) {
        return Err(Fault::Wrong(format!(
            "`{of_slice}` is of a slice, which only the platform bounds; leave out `[…]`"
        )));
    }
    let clauses = arguments.thresholds.iter().map(|text| clause(text));
    let clauses = clauses.collect::<Result<Vec<_>, _>>()?;
    let plan = plan(arguments);
    let has_baseline = arguments.baseline_prediction.is_some() || !arguments.baseline_probability.is_empty();
    if !has_baseline && clauses.iter().any(Clause::is_relative) {
        let why = "a threshold names the baseline; give --baseline-prediction or --baseline-probability";
        return Err(Fault::Wrong(why.to_owned()));
    }
    let table = Opened::of(arguments)?;
    let out = arguments.out.as_deref().map(Folder::begin).transpose();
    let mut out = out.map_err(Fault::Unwritten)?;
    let mut report = table.report(&plan, out.as_mut().map(Folder::rows))?;
    let mut baseline = None;
    if has_baseline {
        let mut other = plan.clone();
        other.roles.prediction.clone_from(&arguments.baseline_prediction);
        other
            .roles
            .probabilities
            .clone_from(&arguments.baseline_probability);
        other.task = Some(report.task);
        baseline = Some(table.report(&other, None)?);
        let told = Plan {
            task: Some(report.task),
            ..plan.clone()
        };
        report.comparison = Some(table.compare(&told, &other.roles)?);
    }
    if !clauses.is_empty() {
        let thresholds = Thresholds { clauses };
        report.verdict = Some(thresholds.judge(&report, baseline.as_ref()));
    }
    if let Some(mut folder) = out {
        let written = folder.put(&title(&arguments.data), &report);
        written.and_then(|()| folder.finish()).map_err(Fault::Unwritten)?;
    }
    let text = match arguments.output {
        Output::Json => report.to_json().map_err(|error| told(&error))?,
        Output::Html => plots::html(&title(&arguments.data), &report),
        Output::Table => show::table(&report),
    };
    Ok((text, report.verdict.is_none_or(|verdict| verdict.passed)))
}

fn plan(arguments: &Arguments) -> Plan {
    let (roles, how) = (&arguments.roles, &arguments.how);
    Plan {
        task: arguments.task,
        roles: Roles {
            target: roles.target.clone(),
            prediction: roles.prediction.clone(),
            probabilities: roles.probability.clone(),
            weight: roles.weight.clone(),
            slices: roles.slice.clone(),
            query: roles.query.clone(),
            answer: roles.answer.clone(),
            expected: roles.expected.clone(),
            ..Roles::default()
        },
        options: PlanOptions {
            seed: how.seed,
            confidence: how.confidence,
            replicates: how.replicates,
            positive: how.positive.clone(),
            classes: how.classes.clone(),
            average: how.average,
            betas: how.betas.clone(),
            ks: how.ks.clone(),
            top_k: how.top_k,
            quantile: how.quantile,
            slice_rows: how.slice_rows,
            bad_rows: if how.skip_bad_rows {
                BadRows::Skip
            } else {
                BadRows::Fail
            },
            ..PlanOptions::default()
        },
    }
}

/// The table of the command.
struct Opened<'a> {
    path: &'a Path,
    source: Source,
    format: Format,
    options: Options,
}

impl<'a> Opened<'a> {
    fn of(arguments: &'a Arguments) -> Result<Self, String> {
        let path = arguments.data.as_path();
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        if path.is_dir() {
            return Err(format!("{}: is a folder; name a file", path.display()));
        }
        let source = File::open(path).and_then(Source::try_from).map_err(failed)?;
        let head = source.read_up_to(0, 64).map_err(failed)?;
        let name = path.to_string_lossy();
        let format = arguments.format.or_else(|| Format::detect(&name, &head));
        let format = format.ok_or_else(|| format!("{name}: is no table that can be read; say --format"))?;
        let is_tabs = name.to_ascii_lowercase().ends_with(".tsv");
        Ok(Self {
            path,
            source,
            format,
            options: Options {
                delimiter: if is_tabs { b'\t' } else { b',' },
                batch_rows: 1 << 14,
                ..Options::default()
            },
        })
    }

    fn said(&self, error: impl Into<Error>) -> String {
        format!("{}: {}", self.path.display(), told(&error.into()))
    }

    /// A reader of the columns of a plan, and of all of them first where that says better which one is missing.
    fn read(&self, plan: &Plan) -> Result<Reader, String> {
        let columns = Options {
            columns: Some(plan.columns()),
            ..self.options.clone()
        };
        let opened = Reader::open(self.source.clone(), self.format, &columns);
        let error = match opened {
            Ok(reader) => return Ok(reader),
            Err(error) => error,
        };
        if let Ok(reader) = Reader::open(self.source.clone(), self.format, &self.options) {
            plan.check(reader.schema()).map_err(|error| self.said(error))?;
        }
        Err(self.said(error))
    }

    fn report(&self, plan: &Plan, rows: Option<Rows>) -> Result<Report, Fault> {
        let mut reader = self.read(plan)?;
        let mut evaluator =
            Evaluator::new(plan.clone(), reader.schema()).map_err(|error| self.said(error))?;
        // Rows that cannot be written come back as errors of the evaluator.
        let failed = |error: Error| match rows.as_ref().and_then(Rows::failure) {
            Some(why) => Fault::Unwritten(why),
            None => Fault::Wrong(self.said(error)),
        };
        if let Some(rows) = &rows {
            let rows = rows.clone();
            evaluator = evaluator.rows_to(move |batch| rows.put(batch));
        }
        for batch in reader.by_ref() {
            let batch = batch.map_err(|error| self.said(error))?;
            evaluator.push(&batch).map_err(failed)?;
        }
        let report = evaluator.finish().map_err(failed)?;
        if let Some(rows) = &rows {
            rows.end().map_err(Fault::Unwritten)?;
        }
        Ok(report)
    }

    fn compare(
        &self,
        plan: &Plan,
        other: &Roles,
    ) -> Result<std::collections::BTreeMap<String, lodeway_scorers::Compared>, String> {
        let mut both = plan.clone();
        both.roles
            .slices
            .clone_from(&other.prediction.iter().cloned().collect());
        both.roles.slices.extend(
            other
                .probabilities
                .iter()
                .map(|probability| probability.column.clone()),
        );
        let mut reader = self.read(&both)?;
        let comparator = Comparator::new(
            plan,
            other.prediction.clone(),
            other.probabilities.clone(),
            reader.schema(),
        );
        let mut comparator = comparator.map_err(|error| self.said(error))?;
        for batch in reader.by_ref() {
            let batch = batch.map_err(|error| self.said(error))?;
            comparator.push(&batch).map_err(|error| self.said(error))?;
        }
        comparator.finish().map_err(|error| self.said(error))
    }
}

fn title(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    format!("Evaluation of {}", name.to_string_lossy())
}

/// An error in one line.
fn told(error: &Error) -> String {
    match error {
        Error::Invalid(violations) => {
            let each = violations.iter().map(|violation| {
                let column = violation
                    .field
                    .strip_prefix("columns[\"")
                    .and_then(|field| field.strip_suffix("\"]"));
                match column {
                    Some(column) => format!("column `{column}`: {}", violation.description),
                    None => format!("{}: {}", violation.field, violation.description),
                }
            });
            each.collect::<Vec<_>>().join("; ")
        }
        Error::Internal(cause) => cause.to_string(),
        other => other.to_string(),
    }
    .replace('\n', " ")
}

fn probability(text: &str) -> Result<Probability, String> {
    Ok(match text.split_once('=') {
        Some((class, column)) => Probability {
            class: Some(class.to_owned()),
            column: column.to_owned(),
        },
        None => Probability {
            class: None,
            column: text.to_owned(),
        },
    })
}

fn clause(text: &str) -> Result<Clause, String> {
    text.parse().map_err(|error| told(&error))
}

fn task(text: &str) -> Result<Task, String> {
    Ok(match text {
        "classification" => Task::Classification,
        "regression" => Task::Regression,
        "ranking" => Task::Ranking,
        "text" => Task::Text,
        _ => return Err("is none of classification, regression, ranking and text".to_owned()),
    })
}

fn average(text: &str) -> Result<Average, String> {
    Ok(match text {
        "micro" => Average::Micro,
        "macro" => Average::Macro,
        "weighted" => Average::Weighted,
        _ => return Err("is none of micro, macro and weighted".to_owned()),
    })
}

fn format(text: &str) -> Result<Format, String> {
    let known = Format::ALL.iter().copied();
    known
        .into_iter()
        .find(|format| format.as_str() == text)
        .ok_or_else(|| "is none of parquet, csv, jsonl and arrow".to_owned())
}
