//! Which target answers a call: rules first, then the split over the caller's key.

use http::HeaderMap;
use lodeway_domain::{
    Error, Result,
    serving::{BreakerState, CallOutcome, Pass, StickyKey},
    time::Timestamp,
};

use super::table::{Ready, Route, Standing, TargetRoute};

/// What of a call decides its target.
pub(crate) struct Asked<'a> {
    /// Headers, or metadata.
    pub(crate) headers: &'a HeaderMap,
    /// A target or version that the caller pins; empty: none.
    pub(crate) version: &'a str,
    /// The first value of an input, for a split that sticks to one.
    pub(crate) input: &'a (dyn Fn(&str) -> Option<Vec<u8>> + Sync),
}

/// A target with leave to call it.
pub(crate) struct Chosen {
    pub(crate) place: usize,
    pub(crate) target: std::sync::Arc<TargetRoute>,
    pub(crate) ready: std::sync::Arc<Ready>,
    pass: Option<Pass>,
    chosen: Timestamp,
}

impl Chosen {
    /// How the call went. A failure counts only while another target could take the calls: the last one is not left alone
    /// for its failures, since that would fail every caller for what may be the fault of a few. True if that changed
    /// whether the target gets calls.
    pub(crate) fn judge(&mut self, route: &Route, now: Timestamp, outcome: CallOutcome) -> bool {
        let outcome = match outcome {
            CallOutcome::Failure if !route.has_other(self.place) => CallOutcome::Unknown,
            outcome => outcome,
        };
        self.settle(now, outcome)
    }

    fn settle(&mut self, now: Timestamp, outcome: CallOutcome) -> bool {
        self.pass
            .take()
            .is_some_and(|pass| self.target.record(now, pass, outcome))
    }
}

impl Drop for Chosen {
    /// A call that was not made, or whose caller has left, says nothing; a probe must not be waited for then.
    fn drop(&mut self) {
        self.settle(self.chosen, CallOutcome::Unknown);
    }
}

impl Route {
    /// The target for this call.
    ///
    /// One that is not ready, whose model cannot be loaded or that is left alone for its failures gets no call; then the
    /// call goes to another that the split gives traffic, unless a rule or the caller named the target. Where there is no
    /// other, one that was ready once is called all the same. `tried` are not chosen again.
    ///
    /// Errors: `INVALID_FIELD` for a version that is no target's, `BACKEND_UNAVAILABLE` if no target can be called.
    pub(crate) fn choose(&self, asked: &Asked<'_>, tried: &[usize], now: Timestamp) -> Result<Chosen> {
        if !asked.version.is_empty() {
            let place = self.pinned(asked.version)?;
            return self.open_or_last(place, now);
        }
        if let Some(place) = self.ruled(asked.headers) {
            return self.open_or_last(place, now);
        }
        let split = &self.revision().split;
        let name = match self.key(asked) {
            Some(key) => split.choose(&key),
            None => split.at(fastrand::u32(..)),
        };
        let first = self.target(name).map(|(place, _)| place);
        if let Some(place) = first.filter(|place| !tried.contains(place))
            && let Some(chosen) = self.open(place, now)
        {
            return Ok(chosen);
        }
        // Another that gets traffic, from a random place on, so that a failing target's share is spread.
        let weights = split.weights();
        let start = fastrand::usize(..weights.len().max(1));
        let others = weights.iter().cycle().skip(start).take(weights.len());
        let others = others
            .filter(|weight| weight.weight > 0)
            .filter_map(|weight| Some(self.target(&weight.target)?.0))
            .filter(|place| Some(*place) != first && !tried.contains(place));
        let open = others.clone().find_map(|place| self.open(place, now));
        let first_too = first.filter(|place| !tried.contains(place));
        open.or_else(|| {
            let mut any = first_too.into_iter().chain(others);
            any.find_map(|place| self.open_last(place, now))
        })
        .ok_or_else(|| self.closed(first))
    }

    /// Whether the call could go to a target that was not tried.
    pub(crate) fn has_untried(&self, asked: &Asked<'_>, tried: &[usize], now: Timestamp) -> bool {
        let next = self.choose(asked, tried, now);
        next.is_ok_and(|next| !tried.contains(&next.place))
    }

    /// Whether calls could go to a target other than this one, by the split and by how it stands.
    fn has_other(&self, place: usize) -> bool {
        let weights = self.revision().split.weights().iter();
        let mut others = weights
            .filter(|weight| weight.weight > 0)
            .filter_map(|weight| self.target(&weight.target))
            .filter(|(other, _)| *other != place);
        others.any(|(_, target)| {
            target.callable().is_some() && matches!(target.breaker(), BreakerState::Closed { .. })
        })
    }

    /// A target that a rule or the caller named.
    fn open_or_last(&self, place: usize, now: Timestamp) -> Result<Chosen> {
        self.open(place, now)
            .or_else(|| self.open_last(place, now))
            .ok_or_else(|| self.closed(Some(place)))
    }

    /// A target that is left alone or whose model cannot be loaded, if there is no other: the host of such a model says
    /// why, or tries to load it again. Its outcome decides nothing; the probe that follows does.
    fn open_last(&self, place: usize, now: Timestamp) -> Option<Chosen> {
        if self.has_other(place) {
            return None;
        }
        let target = self.targets.get(place)?;
        Some(Chosen {
            place,
            target: target.clone(),
            ready: target.known()?,
            pass: None,
            chosen: now,
        })
    }

    /// A target, if it can be called now.
    fn open(&self, place: usize, now: Timestamp) -> Option<Chosen> {
        let target = self.targets.get(place)?;
        let ready = target.callable()?;
        let pass = target.admit(now)?;
        Some(Chosen {
            place,
            target: target.clone(),
            ready,
            pass: Some(pass),
            chosen: now,
        })
    }

    /// A target by its name or by the version that it means now.
    fn pinned(&self, version: &str) -> Result<usize> {
        let by_name = self
            .targets
            .iter()
            .position(|t| t.target.name.as_str() == version);
        let means = |t: &TargetRoute| self.version(t).as_deref() == Some(version);
        by_name
            .or_else(|| self.targets.iter().position(|t| means(t)))
            .ok_or_else(|| {
                let names = self
                    .targets
                    .iter()
                    .map(|t| t.target.name.as_str())
                    .collect::<Vec<_>>()
                    .join("`, `");
                let why = format!(
                    "`{version}` is no target of `{}`; there are `{names}`",
                    self.record.endpoint.name
                );
                Error::invalid("model_version", why)
            })
    }

    fn ruled(&self, headers: &HeaderMap) -> Option<usize> {
        let rule = self.revision().rules.iter().find(|rule| {
            let value = headers
                .get(rule.header.as_str())
                .and_then(|value| value.to_str().ok());
            rule.condition.holds(value)
        })?;
        self.target(&rule.target).map(|(place, _)| place)
    }

    fn key(&self, asked: &Asked<'_>) -> Option<Vec<u8>> {
        match &self.revision().sticky {
            StickyKey::None => None,
            StickyKey::Header(name) => asked
                .headers
                .get(name.as_str())
                .map(|value| value.as_bytes().to_vec()),
            StickyKey::InputField(name) => (asked.input)(name),
        }
    }

    fn closed(&self, place: Option<usize>) -> Error {
        let why = place.and_then(|place| self.targets.get(place)).map(|target| {
            let trouble = target.trouble();
            let why = if trouble.is_empty() {
                "fails and is left alone for a while"
            } else {
                &trouble
            };
            format!("target `{}`: {why}", target.target.name)
        });
        let endpoint = &self.record.endpoint.name;
        let mut message = format!("endpoint `{endpoint}` has no target that can answer now");
        // A fault of the model and not of this platform: the caller may know what to do about it.
        let failed = place
            .and_then(|place| self.targets.get(place))
            .map(|target| target.standing());
        if let (Some(Standing::Failed(_)), Some(why)) = (failed.as_deref(), &why) {
            message = format!("{message}: {why}");
        }
        Error::unavailable(message, why.unwrap_or_else(|| "all targets are tried".to_owned()))
    }
}
