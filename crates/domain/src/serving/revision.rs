//! Revisions: the numbered, unchanging states of an endpoint.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{
    DeploymentSettings, EndpointUid, MatchRule, RequestLog, Resilience, RolloutId, StickyKey, TargetName,
    TargetRef, TrafficSplit, Weight, resilience::check_timeout,
};
use crate::{Error, Result, error::Violations, registry::check_comment, time::Timestamp};

/// The most rules of one revision; each is tried on each call.
pub const MAX_RULES: usize = 64;

/// Shares are counted in ten-thousandths; this many are everything.
pub const WHOLE_SHARE: u16 = 10_000;

/// The most mirrored calls under way at once.
pub const MAX_SHADOW_IN_FLIGHT: u32 = 10_000;

/// What can answer calls of an endpoint. How many it gets is in the split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its name, unique in the revision; from one revision to the next, the same name is the same target.
    pub name: TargetName,
    /// What it is.
    pub reference: TargetRef,
    /// How long an attempt on it may take, in milliseconds; none: the endpoint's [`Resilience::timeout_ms`].
    pub timeout_ms: Option<u32>,
    /// How the model host runs it; of no meaning for a model on another server.
    #[serde(default)]
    pub settings: DeploymentSettings,
}

/// Copies a part of the calls to a target whose answers nobody gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadow {
    /// Who gets the copies; it may also have a weight in the split.
    pub target: TargetName,
    /// How many calls are copied, in ten-thousandths: 1 to 10,000.
    pub share: u16,
    /// Copies under way at once; beyond it calls are not copied, and counted as left out: 1 to 10,000.
    pub max_in_flight: u32,
}

/// Why there is a new revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevisionReason {
    /// The endpoint was created.
    Created,
    /// Somebody changed it.
    Updated,
    /// Somebody went back to an earlier revision.
    RolledBack {
        /// The number of that revision.
        to: u32,
    },
    /// A rollout entered a step.
    RolloutStep {
        /// The rollout's id.
        rollout: RolloutId,
        /// The step, from 0.
        step: u16,
    },
    /// A rollout gave the traffic back.
    RolloutRestored {
        /// The rollout's id.
        rollout: RolloutId,
        /// The number of the revision it began with.
        to: u32,
    },
    /// A rollout moved what the targets of the revision before it follow to its candidate's version, so that they have
    /// their traffic again.
    RolloutFollowed {
        /// The rollout's id.
        rollout: RolloutId,
        /// The number of the revision it began with.
        to: u32,
    },
}

/// Who makes a revision, when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorship {
    /// Who.
    pub principal: String,
    /// True if a credential proved who it was.
    pub principal_verified: bool,
    /// When.
    pub created: Timestamp,
    /// Why, in their words.
    pub comment: String,
    /// Why, in ours.
    pub reason: RevisionReason,
}

/// A target as a caller gives it, with its weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightedTarget {
    /// The target.
    pub target: Target,
    /// Its part of the sum of all weights; 0 gets only what rules and the shadow send it.
    pub weight: u32,
}

/// What a caller asks a revision to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RevisionSpec {
    /// The targets, 1 to 64.
    pub targets: Vec<WeightedTarget>,
    /// Rules that go before the split, in order; at most 64.
    pub rules: Vec<MatchRule>,
    /// What keeps a caller on one target.
    pub sticky: StickyKey,
    /// Who gets copies.
    pub shadow: Option<Shadow>,
    /// Timeouts, retries and bounds.
    pub resilience: Resilience,
    /// What is kept of single calls.
    pub request_log: RequestLog,
}

/// One numbered state of an endpoint; it never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// From 1, without gaps.
    pub number: u32,
    /// The targets, in the order of the split's weights; a target's place is its index in prediction ids.
    pub targets: Vec<Target>,
    /// Which target a key gets. Kept with its map, so that every key is read back where it was.
    pub split: TrafficSplit,
    /// Rules that go before the split, in order.
    pub rules: Vec<MatchRule>,
    /// What keeps a caller on one target.
    pub sticky: StickyKey,
    /// Who gets copies.
    pub shadow: Option<Shadow>,
    /// Timeouts, retries and bounds.
    pub resilience: Resilience,
    /// What is kept of single calls.
    #[serde(default)]
    pub request_log: RequestLog,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it.
    pub principal: String,
    /// True if a credential proved who it was.
    pub principal_verified: bool,
    /// Why, in their words.
    pub comment: String,
    /// Why, in ours.
    pub reason: RevisionReason,
}

impl RevisionSpec {
    /// The first revision of an endpoint. Errors: `INVALID_FIELD` for every bad field.
    pub fn first(self, endpoint: &EndpointUid, author: Authorship) -> Result<Revision> {
        let salt = endpoint.salt();
        self.build(1, |weights| TrafficSplit::new(salt, weights), author)
    }

    /// The revision after `previous`; as few keys as possible move. Errors: `INVALID_FIELD` for every bad field;
    /// `LIMIT_EXCEEDED` if the numbers are used up.
    pub fn following(self, previous: &Revision, author: Authorship) -> Result<Revision> {
        let number = next_number(previous)?;
        self.build(number, |weights| previous.split.followed_by(weights), author)
    }

    fn build(
        self,
        number: u32,
        split: impl FnOnce(Vec<Weight>) -> Result<TrafficSplit>,
        author: Authorship,
    ) -> Result<Revision> {
        let mut found = Violations::new();
        self.check(&mut found);
        let _ = found.take("comment", check_comment(&author.comment));
        let weights = self.targets.iter().map(|t| Weight {
            target: t.target.name.clone(),
            weight: t.weight,
        });
        let split = found.take("targets", split(weights.collect()));
        found.finish()?;
        Ok(Revision {
            number,
            targets: self.targets.into_iter().map(|t| t.target).collect(),
            split: split.ok_or_else(|| Error::invalid("targets", "must be given"))?,
            rules: self.rules,
            sticky: self.sticky,
            shadow: self.shadow,
            resilience: self.resilience,
            request_log: self.request_log,
            created: author.created,
            principal: author.principal,
            principal_verified: author.principal_verified,
            comment: author.comment,
            reason: author.reason,
        })
    }

    /// Notes everything that is wrong beside the weights, which the split checks.
    fn check(&self, found: &mut Violations) {
        let is_known = |name: &TargetName| self.targets.iter().any(|t| t.target.name == *name);
        for (i, target) in self.targets.iter().enumerate() {
            let field = format!("targets[{i}].timeout_ms");
            if let Some(bad) = check_timeout(field, target.target.timeout_ms) {
                found.add(bad.field, bad.description);
            }
        }
        if self.rules.len() > MAX_RULES {
            found.add(
                "rules",
                format!("has {} rules; give at most {MAX_RULES}", self.rules.len()),
            );
        }
        let mut seen = HashMap::new();
        for (i, rule) in self.rules.iter().enumerate().take(MAX_RULES) {
            if !is_known(&rule.target) {
                found.add(format!("rules[{i}].target"), unknown(&rule.target));
            }
            let value = format!("rules[{i}].condition");
            let _ = found.take(&value, rule.condition.check(&value));
            if let Some(first) = seen.insert((&rule.header, &rule.condition), i) {
                let text = format!("asks the same as rule {first}, which always comes first");
                found.add(format!("rules[{i}]"), text);
            }
        }
        let _ = found.take("sticky", self.sticky.check("sticky"));
        if let Some(shadow) = &self.shadow {
            if !is_known(&shadow.target) {
                found.add("shadow.target", unknown(&shadow.target));
            }
            if !(1..=WHOLE_SHARE).contains(&shadow.share) {
                found.add(
                    "shadow.share",
                    format!("{} is not from 1 to {WHOLE_SHARE}", shadow.share),
                );
            }
            if !(1..=MAX_SHADOW_IN_FLIGHT).contains(&shadow.max_in_flight) {
                let text = format!("{} is not from 1 to {MAX_SHADOW_IN_FLIGHT}", shadow.max_in_flight);
                found.add("shadow.max_in_flight", text);
            }
        }
        let _ = found.take("resilience", self.resilience.check());
        self.request_log.check(found);
    }
}

fn unknown(target: &TargetName) -> String {
    format!("`{target}` is no target of this revision; add it to the targets, with weight 0 if need be")
}

fn next_number(previous: &Revision) -> Result<u32> {
    previous.number.checked_add(1).ok_or_else(|| Error::Exhausted {
        message: "the endpoint has had all its revisions; create another".to_owned(),
        retry_after: None,
    })
}

impl Revision {
    /// What it is, to be changed into a next one.
    pub fn spec(&self) -> RevisionSpec {
        let targets = self.targets.iter().map(|target| WeightedTarget {
            target: target.clone(),
            weight: self.weight(&target.name).unwrap_or(0),
        });
        RevisionSpec {
            targets: targets.collect(),
            rules: self.rules.clone(),
            sticky: self.sticky.clone(),
            shadow: self.shadow.clone(),
            resilience: self.resilience,
            request_log: self.request_log.clone(),
        }
    }

    /// The revision after this one that is as `earlier` was, its map included, so that every key goes back to where it
    /// was then. Both are of one endpoint. Errors: `INVALID_FIELD` for the comment; `LIMIT_EXCEEDED` as in
    /// [`RevisionSpec::following`].
    pub fn restore(&self, earlier: &Self, author: Authorship) -> Result<Self> {
        check_comment(&author.comment)?;
        Ok(Self {
            number: next_number(self)?,
            created: author.created,
            principal: author.principal,
            principal_verified: author.principal_verified,
            comment: author.comment,
            reason: author.reason,
            ..earlier.clone()
        })
    }

    /// The target of this name with its place.
    pub fn target(&self, name: &TargetName) -> Option<(u16, &Target)> {
        let place = self.targets.iter().position(|target| target.name == *name)?;
        Some((u16::try_from(place).ok()?, self.targets.get(place)?))
    }

    /// The target at a place, as prediction ids name it.
    pub fn target_at(&self, place: u16) -> Option<&Target> {
        self.targets.get(usize::from(place))
    }

    /// A target's weight.
    pub fn weight(&self, name: &TargetName) -> Option<u32> {
        let weight = self.split.weights().iter().find(|w| w.target == *name)?;
        Some(weight.weight)
    }

    /// How long an attempt on a target may take, in milliseconds.
    pub fn timeout_ms(&self, target: &Target) -> u32 {
        target.timeout_ms.unwrap_or(self.resilience.timeout_ms)
    }
}
