//! Metrics of what is deployed, as far as outcomes are known.

use std::collections::BTreeMap;

use lodeway_domain::{
    Error, Result,
    evaluation::{Join, Outcome, OutcomeValue, slice_name, slice_value},
    serving::{EndpointKey, EndpointUid, PredictionId},
    time::Timestamp,
};
use lodeway_metrics::{Column, Columns, Estimate, Options, Task, evaluate, infer_task};
use lodeway_proto::gateway::v1::QueryMonitorRequest;
use lodeway_rpc::{CallContext, status};
use lodeway_store::evaluation::{OutcomeQuery, OutcomeStore as _};

use super::Outcomes;
use crate::evaluations::render::time;

/// Rows measured by one call.
const MAX_ROWS: usize = 1_000_000;
/// Days measured by one call.
const MAX_DAYS: i64 = 366;
/// Outcomes read from the database at a time.
const PAGE: usize = 2_000;
const DAY_MS: i64 = 24 * 3_600_000;

/// Which metrics are wanted.
pub(super) struct Wanted {
    pub(super) outcomes: OutcomeQuery,
    pub(super) slice: Option<String>,
    pub(super) daily: bool,
    pub(super) task: Option<Task>,
}

/// What outcomes are measured together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    pub(super) target: String,
    pub(super) model_version: String,
    /// The beginning of the day, if each is measured for itself.
    pub(super) day_ms: Option<i64>,
    /// `column=value`; none: all.
    pub(super) slice: Option<String>,
}

/// Metrics of one group.
pub(super) struct Live {
    pub(super) group: Group,
    /// Predictions that were given; of a slice only those whose outcome is known are counted.
    pub(super) predictions: u64,
    pub(super) labelled: u64,
    /// Labelled, while it is not known yet what was predicted.
    pub(super) pending: u64,
    /// Labelled, and it will not be known what was predicted.
    pub(super) unjoined: u64,
    pub(super) rows: u64,
    /// What was measured of the others. Errors: labels of several kinds, or a task that they do not have.
    pub(super) metrics: Result<BTreeMap<String, Estimate>>,
}

impl Live {
    /// Labelled predictions that are measured.
    pub(super) fn joined(&self) -> u64 {
        self.labelled
            .saturating_sub(self.pending)
            .saturating_sub(self.unjoined)
    }

    /// The share of predictions that have no label.
    pub(super) fn unlabelled_share(&self) -> f64 {
        let unlabelled = self.predictions.saturating_sub(self.labelled);
        match self.predictions {
            0 => 0.0,
            predictions => unlabelled as f64 / predictions as f64,
        }
    }
}

/// Predictions that were given, by target, version and day.
type Given = BTreeMap<(String, String, Option<i64>), u64>;

#[derive(Default)]
struct Pairs {
    calls: u64,
    pending: u64,
    unjoined: u64,
    labels: Vec<OutcomeValue>,
    predictions: Vec<OutcomeValue>,
}

impl Outcomes {
    /// Measures what is known. Errors: `LIMIT_EXCEEDED` for more than this measures at once.
    pub(super) async fn live(&self, cx: &CallContext, wanted: Wanted) -> Result<Vec<Live>> {
        let (start, end) = (wanted.outcomes.start.millis(), wanted.outcomes.end.millis());
        if wanted.daily && (end - start) / DAY_MS > MAX_DAYS {
            let why = format!("leaves more than {MAX_DAYS} days; ask for fewer, or not for each");
            return Err(Error::invalid("start_time", why));
        }
        let (given, endpoint) = self.given(cx, &wanted).await?;
        let mut groups = self.groups(cx, &wanted, endpoint).await?;
        // Where nothing is labelled yet, that is what is known.
        for (target, model_version, day_ms) in given.keys().cloned() {
            let group = Group {
                target,
                model_version,
                day_ms,
                slice: None,
            };
            groups.entry(group).or_default();
        }
        let measure = move || {
            let task = wanted.task.or_else(|| told_task(&groups));
            let all = groups.into_iter().map(|(group, pairs)| {
                let metrics = measured(&pairs, task);
                let key = (group.target.clone(), group.model_version.clone(), group.day_ms);
                let of_all = given.get(&key).copied().unwrap_or_default().max(pairs.calls);
                Live {
                    predictions: if group.slice.is_some() {
                        pairs.calls
                    } else {
                        of_all
                    },
                    group,
                    labelled: pairs.calls,
                    pending: pairs.pending,
                    unjoined: pairs.unjoined,
                    rows: pairs.labels.len() as u64,
                    metrics,
                }
            });
            all.collect()
        };
        self.site
            .tasks
            .spawn_blocking(measure)
            .await
            .map_err(Error::internal)
    }

    /// The outcomes of an endpoint, and not of one before it that had its name.
    async fn groups(
        &self,
        cx: &CallContext,
        wanted: &Wanted,
        endpoint: Option<EndpointKey>,
    ) -> Result<BTreeMap<Group, Pairs>> {
        let (mut groups, mut rows) = (BTreeMap::<Group, Pairs>::new(), 0);
        let mut last: Option<(Timestamp, String)> = None;
        loop {
            let after = last.as_ref().map(|(at, id)| (*at, id.as_str()));
            let workspace = &cx.caller.workspace;
            let page = self
                .site
                .store
                .outcomes(workspace, &wanted.outcomes, after, PAGE)
                .await?;
            let is_last = page.len() < PAGE;
            last = page.last().map(|one| (one.predicted, one.prediction_id.clone()));
            for outcome in page.into_iter().filter(|outcome| is_of(outcome, endpoint)) {
                rows += outcome.labels.len();
                if rows > MAX_ROWS {
                    return Err(Error::Exhausted {
                        message: format!(
                            "there are outcomes of more than {MAX_ROWS} rows; ask for a shorter span"
                        ),
                        retry_after: None,
                    });
                }
                add(&mut groups, wanted, outcome);
            }
            if is_last {
                return Ok(groups);
            }
        }
    }

    /// How many predictions were given, by target, version and day; and which endpoint has the name, if the gateway says it.
    async fn given(&self, cx: &CallContext, wanted: &Wanted) -> Result<(Given, Option<EndpointKey>)> {
        let (start, end) = (wanted.outcomes.start.millis(), wanted.outcomes.end.millis());
        let mut spans = Vec::new();
        if wanted.daily {
            let mut from = start;
            while from < end {
                let day = from.div_euclid(DAY_MS) * DAY_MS;
                spans.push((from, end.min(day + DAY_MS), Some(day)));
                from = day + DAY_MS;
            }
        } else {
            spans.push((start, end, None));
        }
        let mut monitor = self.monitor()?;
        let (mut given, mut endpoint) = (Given::new(), None);
        for (from, until, day) in spans {
            let request = QueryMonitorRequest {
                endpoint: wanted.outcomes.endpoint.clone(),
                target: wanted.outcomes.target.clone().unwrap_or_default(),
                start_time: Some(time(Timestamp::from_millis(from))),
                end_time: Some(time(Timestamp::from_millis(until))),
            };
            let reply = monitor.query_monitor(cx.request(request)).await;
            let reply = reply.map_err(|s| status::into_error(&s))?.into_inner();
            let uid = EndpointUid::parse(&reply.endpoint_uid).ok();
            endpoint = uid.map(|uid| uid.key()).or(endpoint);
            for one in reply.targets {
                let count = one.outcomes.get("ok").copied().unwrap_or_default();
                let count = u64::try_from(count).unwrap_or_default();
                if count > 0 {
                    *given.entry((one.target, one.model_version, day)).or_default() += count;
                }
            }
        }
        Ok((given, endpoint))
    }
}

/// Whether an outcome is of this endpoint, as its prediction id says, which the gateway signed.
fn is_of(outcome: &Outcome, endpoint: Option<EndpointKey>) -> bool {
    let said = PredictionId::parse(&outcome.prediction_id).ok();
    match (said, endpoint) {
        (Some((_, fields)), Some(endpoint)) => fields.endpoint == endpoint,
        _ => true,
    }
}

fn add(groups: &mut BTreeMap<Group, Pairs>, wanted: &Wanted, outcome: Outcome) {
    let day = outcome.predicted.millis().div_euclid(DAY_MS) * DAY_MS;
    let group = Group {
        target: outcome.target,
        model_version: outcome.model_version,
        day_ms: wanted.daily.then_some(day),
        slice: None,
    };
    let mut put = |group: Group| {
        let pairs = groups.entry(group).or_default();
        pairs.calls += 1;
        match outcome.join {
            Join::Joined => {
                pairs.labels.extend_from_slice(&outcome.labels);
                pairs.predictions.extend_from_slice(&outcome.predictions);
            }
            Join::Pending => pairs.pending += 1,
            Join::Unjoined { .. } => pairs.unjoined += 1,
        }
    };
    if let Some(column) = &wanted.slice {
        let value = outcome.slices.get(column).map(|value| slice_value(value));
        if value.is_some() || outcome.missing.contains(column) {
            put(Group {
                slice: Some(slice_name(column, value)),
                ..group.clone()
            });
        }
    }
    put(group);
}

/// One column of one kind.
enum Kept<'a> {
    Flags(Vec<bool>),
    Numbers(Vec<f64>),
    Texts(Vec<&'a str>),
}

impl<'a> Kept<'a> {
    /// Errors: values of several kinds.
    fn of(values: &'a [OutcomeValue]) -> Result<Self> {
        let mixed = || {
            Error::invalid(
                "endpoint",
                "its labels or predictions in this span are of several kinds",
            )
        };
        match values.first() {
            Some(OutcomeValue::Flag(_)) => {
                let flag = |value: &OutcomeValue| match value {
                    OutcomeValue::Flag(flag) => Some(*flag),
                    _ => None,
                };
                let all: Option<_> = values.iter().map(flag).collect();
                all.map(Kept::Flags).ok_or_else(mixed)
            }
            Some(OutcomeValue::Number(_)) => {
                let number = |value: &OutcomeValue| match value {
                    OutcomeValue::Number(number) => Some(*number),
                    _ => None,
                };
                let all: Option<_> = values.iter().map(number).collect();
                all.map(Kept::Numbers).ok_or_else(mixed)
            }
            _ => {
                let text = |value: &'a OutcomeValue| match value {
                    OutcomeValue::Text(text) => Some(text.as_str()),
                    _ => None,
                };
                let all: Option<_> = values.iter().map(text).collect();
                all.map(Kept::Texts).ok_or_else(mixed)
            }
        }
    }

    fn column(&self) -> Column<'_> {
        match self {
            Self::Flags(all) => Column::Bools(all),
            Self::Numbers(all) => Column::Floats(all),
            Self::Texts(all) => Column::Texts(all),
        }
    }
}

/// What the labels are of all versions and days together, so that a slice with few of them is measured as the whole is.
/// None if they are of several kinds.
fn told_task(groups: &BTreeMap<Group, Pairs>) -> Option<Task> {
    let whole = || groups.iter().filter(|(group, _)| group.slice.is_none());
    let all = |of: fn(&Pairs) -> &Vec<OutcomeValue>| -> Vec<OutcomeValue> {
        whole().flat_map(|(_, pairs)| of(pairs)).cloned().collect()
    };
    let (labels, predictions) = (all(|pairs| &pairs.labels), all(|pairs| &pairs.predictions));
    let (labels, predictions) = (Kept::of(&labels).ok()?, Kept::of(&predictions).ok()?);
    Some(infer_task(&Columns::new(labels.column(), predictions.column())))
}

fn measured(pairs: &Pairs, task: Option<Task>) -> Result<BTreeMap<String, Estimate>> {
    if pairs.labels.is_empty() {
        return Ok(BTreeMap::new());
    }
    let (labels, predictions) = (Kept::of(&pairs.labels)?, Kept::of(&pairs.predictions)?);
    let columns = Columns::new(labels.column(), predictions.column());
    let task = task.unwrap_or_else(|| infer_task(&columns));
    evaluate(task, &columns, &Options::default())
}
