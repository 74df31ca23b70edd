//! Drift alarms: told once when values of a target shift from what they are compared with, and once when they have come
//! back.
//!
//! Every gateway looks for itself, at what all of them measured: in the background, one endpoint after another, over the
//! span that has just passed. What it reads is what guards of rollouts read, the population stability index beyond chance.
//! Which alarms stand is known to the process alone: one that begins anew tells again of those that still stand.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lodeway_domain::{
    monitor::{AlarmRule, Columns, Shift},
    serving::{EndpointKey, TargetName},
    time::Timestamp,
};
use metrics::{Gauge, counter, gauge};

use super::{
    Endpoints,
    monitor::{Counted, Measured, Reference},
    table::Route,
};

/// Shifted columns that one message names; the rest is counted.
const MAX_NAMED: usize = 8;
/// After each endpoint so many times as long as it took is left to others.
const REST: u32 = 4;

/// Which values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// What was predicted.
    Predictions,
    /// What came in.
    Features,
}

impl Side {
    const ALL: [Self; 2] = [Self::Predictions, Self::Features];

    /// As a label of metrics.
    fn as_str(self) -> &'static str {
        match self {
            Self::Predictions => "predictions",
            Self::Features => "features",
        }
    }

    /// One column of it, in words.
    fn word(self) -> &'static str {
        match self {
            Self::Predictions => "prediction",
            Self::Features => "input",
        }
    }
}

/// The alarms that stand.
#[derive(Default)]
pub(crate) struct Alarms(Mutex<HashMap<EndpointKey, Vec<Watched>>>);

impl Alarms {
    fn lock(&self) -> MutexGuard<'_, HashMap<EndpointKey, Vec<Watched>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when an alarm of this column stands.
    pub(crate) fn since(
        &self,
        key: EndpointKey,
        (target, version): (&TargetName, &str),
        (side, column): (Side, &str),
    ) -> Option<Timestamp> {
        let alarms = self.lock();
        let mut all = alarms.get(&key)?.iter();
        let watched = all.find(|one| one.target == *target && one.version == version)?;
        let stands = watched.standing.get(&(side, column.to_owned()))?;
        Some(stands.since)
    }
}

/// One target and version as it is watched.
struct Watched {
    target: TargetName,
    version: String,
    standing: BTreeMap<(Side, String), Standing>,
    gauges: [Gauge; 2],
}

/// An alarm that stands.
struct Standing {
    since: Timestamp,
    /// When it was last seen that it does.
    seen: Timestamp,
}

/// What is to be told of one target.
struct News {
    target: TargetName,
    version: String,
    message: String,
    begins: bool,
}

/// How one look judges.
#[derive(Clone, Copy)]
struct Look {
    rule: AlarmRule,
    now: Timestamp,
    span: Duration,
}

impl Endpoints {
    /// Looks for drift again and again.
    pub(crate) fn begin_looking_for_drift(&self) {
        if self.0.config.drift_psi <= 0.0 {
            return;
        }
        let this = self.clone();
        self.0.tasks.spawn_until_stop(async move {
            loop {
                tokio::time::sleep(this.0.config.drift_every).await;
                this.look_for_drift().await;
            }
        });
    }

    /// One look at every endpoint.
    async fn look_for_drift(&self) {
        let config = &self.0.config;
        let rule = AlarmRule {
            max_psi: config.drift_psi,
            min_samples: config.drift_min_samples.max(1),
        };
        if let Err(error) = self.flush().await {
            tracing::warn!(%error, "measurements could not be written");
        }
        let routes = self.0.table.all();
        let keys: HashSet<_> = routes.iter().map(|route| route.key).collect();
        self.0.drift.lock().retain(|key, watched| {
            let stays = keys.contains(key);
            if !stays {
                watched.iter().for_each(Watched::quiet);
            }
            stays
        });
        for route in routes {
            let began = tokio::time::Instant::now();
            let look = Look {
                rule,
                now: self.0.clock.now(),
                span: config.drift_window,
            };
            let since = look.now.minus(look.span);
            let until = look.now.plus(Duration::from_millis(1));
            match self
                .written(route.key, (since, until), Counted::Calls, false)
                .await
            {
                Ok(found) => self.look_at(&route, &found, look),
                Err(error) => tracing::warn!(
                    endpoint.name = %route.record.endpoint.name,
                    %error,
                    "drift cannot be looked for"
                ),
            }
            // However many endpoints there are, this takes a part of one core.
            tokio::time::sleep(began.elapsed() * REST).await;
        }
    }

    /// Judges what was measured of an endpoint, and tells what is new.
    fn look_at(&self, route: &Route, found: &[Measured], look: Look) {
        let news = {
            let mut alarms = self.0.drift.lock();
            let watched = alarms.entry(route.key).or_default();
            let mut news = leave(watched, route);
            for one in found
                .iter()
                .filter(|one| serves(route, &one.target, &one.version))
            {
                let reference = Reference::of(one, found, Some(route), look.rule.min_reference());
                let mut known = watched.extract_if(.., |watched| watched.is_of(one));
                let mut own = known.next().unwrap_or_else(|| Watched::new(route, one));
                drop(known);
                news.extend(own.look(route, one, reference.as_ref(), look));
                watched.push(own);
            }
            let is_found = |w: &Watched| found.iter().any(|one| w.is_of(one));
            watched
                .iter()
                .filter(|one| !is_found(one))
                .for_each(Watched::quiet);
            news.extend(watched.iter_mut().filter_map(|one| one.expire(look)));
            news
        };
        for one in news {
            self.tell_drift(route, one);
        }
    }

    fn tell_drift(&self, route: &Route, news: News) {
        let endpoint = route.record.endpoint.name.as_str();
        let (target, version) = (news.target.as_str(), news.version.as_str());
        if news.begins {
            tracing::warn!(
                endpoint.name = endpoint,
                target,
                model.version = version,
                shifts = news.message,
                "values of a target have shifted"
            );
            let labels = [
                ("workspace", route.workspace.as_str().to_owned()),
                ("endpoint", endpoint.to_owned()),
                ("target", target.to_owned()),
                ("version", version.to_owned()),
            ];
            counter!("lodeway_endpoint_drift_alarms_total", &labels).increment(1);
        }
        self.tell(route.key, &news.target, "drift", news.message);
    }
}

/// Whether a version is what a target of the endpoint means now.
fn serves(route: &Route, target: &TargetName, version: &str) -> bool {
    let serving = route.target(target).map(|(_, target)| route.version(target));
    serving.is_some_and(|serving| serving.unwrap_or_default() == version)
}

/// Lets go of what serves no more.
fn leave(watched: &mut Vec<Watched>, route: &Route) -> Vec<News> {
    let gone = watched.extract_if(.., |one| !serves(route, &one.target, &one.version));
    let ended = gone.filter_map(|mut one| {
        one.quiet();
        one.end_all("it serves no more", |_| true)
    });
    ended.collect()
}

impl Watched {
    fn new(route: &Route, of: &Measured) -> Self {
        let gauges = Side::ALL.map(|side| {
            let labels = [
                ("workspace", route.workspace.as_str().to_owned()),
                ("endpoint", route.record.endpoint.name.to_string()),
                ("target", of.target.to_string()),
                ("version", of.version.clone()),
                ("values", side.as_str().to_owned()),
            ];
            gauge!("lodeway_endpoint_drift_psi", &labels)
        });
        Self {
            target: of.target.clone(),
            version: of.version.clone(),
            standing: BTreeMap::new(),
            gauges,
        }
    }

    fn is_of(&self, of: &Measured) -> bool {
        self.target == of.target && self.version == of.version
    }

    /// Its figures are not known any more.
    fn quiet(&self) {
        self.gauges.iter().for_each(|gauge| gauge.set(f64::NAN));
    }

    /// Judges one look: what has shifted since the last one, and what has come back.
    fn look(
        &mut self,
        route: &Route,
        of: &Measured,
        reference: Option<&Reference<'_>>,
        look: Look,
    ) -> Vec<News> {
        let Some(reference) = reference else {
            self.quiet();
            return Vec::new();
        };
        let (mut begun, mut ended) = (Vec::new(), Vec::new());
        let summary = &of.summary;
        let sides = [
            (Side::Predictions, reference.predictions(), summary.predictions()),
            (Side::Features, reference.features(), summary.features()),
        ];
        for ((side, theirs, own), place) in sides.into_iter().zip(0..) {
            let mut worst = f64::NAN;
            let is_key = |shift: &Shift| side == Side::Features && route.is_sticky(&shift.column);
            for shift in Columns::shifts(theirs, own).filter(|shift| !is_key(shift)) {
                let column = (side, shift.column.clone());
                let standing = self.standing.get_mut(&column);
                let Some(is_alarm) = look.rule.judge(standing.is_some(), &shift) else {
                    continue;
                };
                worst = worst.max(shift.psi);
                match (standing, is_alarm) {
                    (Some(standing), true) => standing.seen = look.now,
                    (Some(_), false) => {
                        self.standing.remove(&column);
                        ended.push(said(side, &shift));
                    }
                    (None, true) => {
                        let (since, seen) = (look.now, look.now);
                        self.standing.insert(column, Standing { since, seen });
                        begun.push(said(side, &shift));
                    }
                    (None, false) => {}
                }
            }
            if let Some(gauge) = self.gauges.get(place) {
                gauge.set(worst);
            }
        }
        let against = format!("compared with {}", reference.label());
        let begins = listed(&begun).map(|list| {
            let limit = format!("more than {} beyond chance", look.rule.max_psi);
            self.news(true, format!("{list}; {limit}, {against}"))
        });
        let ends = listed(&ended).map(|list| self.news(false, format!("no longer: {list}; {against}")));
        begins.into_iter().chain(ends).collect()
    }

    /// Ends alarms of which nothing was heard for a whole span: nobody can say whether they still hold.
    fn expire(&mut self, look: Look) -> Option<News> {
        let oldest = look.now.minus(look.span);
        self.end_all("there are too few values to tell", |standing| {
            standing.seen < oldest
        })
    }

    fn end_all(&mut self, why: &str, is_over: impl Fn(&Standing) -> bool) -> Option<News> {
        let over = self.standing.extract_if(.., |_, standing| is_over(standing));
        let names: Vec<_> = over
            .map(|((side, column), _)| format!("{} `{column}`", side.word()))
            .collect();
        let list = listed(&names)?;
        Some(self.news(false, format!("no longer: {list}; {why}")))
    }

    fn news(&self, begins: bool, message: String) -> News {
        News {
            target: self.target.clone(),
            version: self.version.clone(),
            message,
            begins,
        }
    }
}

fn said(side: Side, shift: &Shift) -> String {
    format!(
        "{} `{}` (PSI {:.3} over {} values)",
        side.word(),
        shift.column,
        shift.psi,
        shift.samples
    )
}

/// Some in words; none of none.
fn listed(all: &[String]) -> Option<String> {
    if all.is_empty() {
        return None;
    }
    let mut text = all[..all.len().min(MAX_NAMED)].join(", ");
    let rest = all.len().saturating_sub(MAX_NAMED);
    if rest > 0 {
        text.push_str(&format!(" and {rest} more"));
    }
    Some(text)
}
