//! Plans: the steps of a rollout and what must hold.

use serde::{Deserialize, Serialize};

use super::super::{
    Check, ErrorLimit, Guard, LatencyLimit, TargetRef, WHOLE_SHARE,
    guard::{MAX_GUARDS, MAX_SAMPLES, Situation},
    revision::MAX_SHADOW_IN_FLIGHT,
};
use crate::{
    Error, Result,
    error::Violations,
    registry::{AliasName, ModelName, ModelRef, Stage},
};

/// The most steps of one plan.
pub const MAX_STEPS: usize = 32;

/// The longest time of one step, in milliseconds: 30 days.
pub const MAX_STEP_MS: u64 = 30 * 24 * 3_600_000;

/// What the candidate gets in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepKind {
    /// Copies of calls; nobody gets its answers.
    Shadow {
        /// How many calls are copied, in ten-thousandths: 1 to 10,000.
        share: u16,
        /// Copies under way at once: 1 to 10,000.
        max_in_flight: u32,
    },
    /// This part of the keys, in ten-thousandths: 1 to 10,000.
    Share(u16),
}

impl StepKind {
    /// What guards must know of the step.
    pub fn situation(self) -> Situation {
        Situation {
            is_shadow: matches!(self, Self::Shadow { .. }),
            is_whole: self == Self::Share(WHOLE_SHARE),
        }
    }
}

/// One step of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What the candidate gets.
    pub kind: StepKind,
    /// How long the step lasts at least, in milliseconds: at most 30 days. Pauses count, since traffic flows in them.
    pub min_duration_ms: u64,
    /// How long it lasts at most, in milliseconds, pauses not counted: from `min_duration_ms` and 1 to 30 days. Whoever
    /// cannot go on by then is rolled back.
    pub max_duration_ms: u64,
    /// Calls of the candidate before the step can end: at most 10^9.
    pub min_samples: u64,
}

/// What is done in the registry when the last step has ended well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnSuccess {
    /// A version changes its stage.
    TransitionStage {
        /// The registered model.
        model: ModelName,
        /// The version, at least 1.
        version: i64,
        /// Its new stage.
        stage: Stage,
        /// True if the versions that are in this stage go to Archived.
        archive_existing: bool,
    },
    /// An alias moves to a version.
    MoveAlias {
        /// The registered model.
        model: ModelName,
        /// The alias.
        alias: AliasName,
        /// The version, at least 1.
        version: i64,
    },
}

impl OnSuccess {
    /// Whether a target follows what this moves.
    pub fn moves(&self, reference: &TargetRef) -> bool {
        match (self, reference) {
            (
                Self::TransitionStage { model, stage, .. },
                TargetRef::Model(ModelRef::Stage { name, stage: of }),
            ) => model == name && stage == of,
            (Self::MoveAlias { model, alias, .. }, TargetRef::Model(ModelRef::Alias { name, alias: of })) => {
                model == name && alias == of
            }
            _ => false,
        }
    }

    /// The version that it is about.
    pub fn version(&self) -> i64 {
        match self {
            Self::TransitionStage { version, .. } | Self::MoveAlias { version, .. } => *version,
        }
    }
}

/// A plan as a caller gives it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutSpec {
    /// The steps: shadow steps first, then ascending shares, 10,000 as the last; 1 to 32.
    pub steps: Vec<Step>,
    /// What must hold in every step; at most 32. None at all means that time and samples alone decide.
    pub guards: Vec<Guard>,
    /// What is done in the registry at the end, if anything. The registry's own gates hold for it.
    pub on_success: Option<OnSuccess>,
}

/// Copies first, then 1, 5, 25 and 100 % of the keys, each for at least 10 minutes (the copies 5) and at most a day,
/// with 100, 100, 500, 1,000 and 1,000 calls.
///
/// Guards: at most 10 % of calls failed, and at most 1 % more than of the baseline; a 95th percentile of at most 1.5
/// times the baseline's; and, if there are enough predictions to say, a PSI of at most 0.25 (above it the credit
/// industry's rule of thumb calls a shift significant; Siddiqi 2006).
impl Default for RolloutSpec {
    fn default() -> Self {
        const MINUTE: u64 = 60_000;
        let step = |kind, minutes, min_samples| Step {
            kind,
            min_duration_ms: minutes * MINUTE,
            max_duration_ms: 24 * 60 * MINUTE,
            min_samples,
        };
        let copies = StepKind::Shadow {
            share: WHOLE_SHARE,
            max_in_flight: 16,
        };
        let guard = |check, min_samples, is_required| Guard {
            check,
            min_samples,
            is_required,
        };
        Self {
            steps: vec![
                step(copies, 5, 100),
                step(StepKind::Share(100), 10, 100),
                step(StepKind::Share(500), 10, 500),
                step(StepKind::Share(2_500), 10, 1_000),
                step(StepKind::Share(WHOLE_SHARE), 10, 1_000),
            ],
            guards: vec![
                guard(Check::ErrorRate(ErrorLimit::Absolute(0.1)), 100, true),
                guard(Check::ErrorRate(ErrorLimit::OverBaseline(0.01)), 100, true),
                guard(Check::LatencyP95(LatencyLimit::TimesBaseline(1.5)), 100, true),
                guard(Check::PredictionShift { max_psi: 0.25 }, 500, false),
            ],
            on_success: None,
        }
    }
}

/// A plan that can be carried out; by default that of [`RolloutSpec::default`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "RolloutSpec", into = "RolloutSpec")]
pub struct RolloutPlan(RolloutSpec);

impl RolloutPlan {
    /// Checks a plan. Errors: `INVALID_FIELD` for every bad field, such as `steps[2].kind`.
    pub fn new(spec: RolloutSpec) -> Result<Self> {
        let mut found = Violations::new();
        check_steps(&spec.steps, &mut found);
        if spec.guards.len() > MAX_GUARDS {
            let text = format!("has {} guards; give at most {MAX_GUARDS}", spec.guards.len());
            found.add("guards", text);
        }
        for (i, guard) in spec.guards.iter().enumerate().take(MAX_GUARDS) {
            guard.check(&format!("guards[{i}]"), &mut found);
        }
        if let Some(OnSuccess::TransitionStage { version, .. } | OnSuccess::MoveAlias { version, .. }) =
            spec.on_success
            && version < 1
        {
            found.add("on_success.version", format!("{version} is not at least 1"));
        }
        found.finish()?;
        Ok(Self(spec))
    }

    /// The steps, 1 to 32.
    pub fn steps(&self) -> &[Step] {
        &self.0.steps
    }

    /// A step, from 0.
    pub fn step(&self, number: u16) -> Option<&Step> {
        self.0.steps.get(usize::from(number))
    }

    /// Whether a step is the last.
    pub fn is_last(&self, number: u16) -> bool {
        usize::from(number) + 1 == self.0.steps.len()
    }

    /// What must hold in every step.
    pub fn guards(&self) -> &[Guard] {
        &self.0.guards
    }

    /// What is done in the registry at the end.
    pub fn on_success(&self) -> Option<&OnSuccess> {
        self.0.on_success.as_ref()
    }
}

impl TryFrom<RolloutSpec> for RolloutPlan {
    type Error = Error;

    fn try_from(spec: RolloutSpec) -> Result<Self> {
        Self::new(spec)
    }
}

impl From<RolloutPlan> for RolloutSpec {
    fn from(plan: RolloutPlan) -> Self {
        plan.0
    }
}

fn check_steps(steps: &[Step], found: &mut Violations) {
    if steps.is_empty() || steps.len() > MAX_STEPS {
        found.add(
            "steps",
            format!("has {} steps; give 1 to {MAX_STEPS}", steps.len()),
        );
        return;
    }
    let mut reached = 0;
    for (i, step) in steps.iter().enumerate() {
        let mut bad = |name: &str, text: String| found.add(format!("steps[{i}].{name}"), text);
        match step.kind {
            StepKind::Shadow { share, max_in_flight } => {
                if reached > 0 {
                    bad("kind", "copies after a share; put shadow steps first".to_owned());
                }
                if !(1..=WHOLE_SHARE).contains(&share) {
                    bad("kind.share", format!("{share} is not from 1 to {WHOLE_SHARE}"));
                }
                if !(1..=MAX_SHADOW_IN_FLIGHT).contains(&max_in_flight) {
                    let text = format!("{max_in_flight} is not from 1 to {MAX_SHADOW_IN_FLIGHT}");
                    bad("kind.max_in_flight", text);
                }
            }
            StepKind::Share(share) => {
                if share <= reached || share > WHOLE_SHARE {
                    let text = format!(
                        "{share} is not above the share before, {reached}, and at most {WHOLE_SHARE}"
                    );
                    bad("kind", text);
                }
                reached = reached.max(share);
            }
        }
        if !(step.min_duration_ms.max(1)..=MAX_STEP_MS).contains(&step.max_duration_ms) {
            let text = format!(
                "{} is not from `min_duration_ms`, {}, and 1 to {MAX_STEP_MS}",
                step.max_duration_ms, step.min_duration_ms
            );
            bad("max_duration_ms", text);
        }
        if step.min_samples > MAX_SAMPLES {
            bad(
                "min_samples",
                format!("{} is more than {MAX_SAMPLES}", step.min_samples),
            );
        }
    }
    if reached != WHOLE_SHARE {
        let text = format!("must end with a share of {WHOLE_SHARE}, all keys");
        found.add("steps", text);
    }
}
