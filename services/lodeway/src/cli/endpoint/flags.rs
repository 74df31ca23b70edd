//! Flags that say what is to be behind an endpoint, shared by the commands that make revisions and rollouts.

use clap::{Args, builder::PossibleValuesParser};
use lodeway_proto::gateway::v1::{
    MatchRule, Resilience, RevisionSpec, Shadow, StickyKey, Target, TargetSettings, sticky_key::Source,
};

use crate::cli::parse::{self, Named};

/// How the model host runs what a command adds.
#[derive(Args)]
pub struct Settings {
    /// What runs the model: natively what can be, or in Python.
    #[arg(long, value_parser = PossibleValuesParser::new(["auto", "native", "python"]))]
    runtime: Option<String>,
    /// Python processes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    workers: Option<i32>,
    /// Where the packages of a Python model come from.
    #[arg(long, value_parser = PossibleValuesParser::new(["local", "uv", "virtualenv"]))]
    env_manager: Option<String>,
    /// What one Python process may hold, for example `2GiB`.
    #[arg(long, value_name = "SIZE", value_parser = parse::bytes)]
    memory_limit: Option<i64>,
    /// Lets a Python model open network connections.
    #[arg(long)]
    allow_network: bool,
    /// Has a natively scored model's own framework score the input example too, and compares the answers.
    #[arg(long)]
    check_parity: bool,
    /// How long one attempt on what the command adds may take, for example `2s`; of all others `--default-timeout` says it.
    #[arg(long, value_name = "SPAN", value_parser = parse::span)]
    timeout: Option<prost_types::Duration>,
}

impl Settings {
    /// The target with these settings and this weight.
    pub fn target(&self, of: &Named, weight: u32) -> Target {
        let settings = TargetSettings {
            runtime: self.runtime.clone().unwrap_or_default(),
            workers: self.workers.unwrap_or_default(),
            env_manager: self.env_manager.clone().unwrap_or_default(),
            memory_limit_bytes: self.memory_limit.unwrap_or_default(),
            allow_network: self.allow_network,
            check_parity: self.check_parity,
            ..TargetSettings::default()
        };
        Target {
            name: of.name.clone(),
            reference: of.reference.clone(),
            weight,
            settings: (settings != TargetSettings::default()).then_some(settings),
            timeout: self.timeout,
        }
    }

    /// True if none is given.
    pub fn is_empty(&self) -> bool {
        self.target(&parse::Named::default(), 0) == Target::default()
    }
}

/// Who gets which target, besides the split, and what is kept of calls.
#[derive(Args)]
pub struct Routing {
    /// Callers with the same value of this header (metadata key) stay with a target.
    #[arg(long, value_name = "HEADER", conflicts_with = "sticky_input")]
    sticky_header: Option<String>,
    /// Calls with the same first value of this input stay with a target.
    #[arg(long, value_name = "INPUT")]
    sticky_input: Option<String>,
    /// A copy of this share of the calls goes to a target whose answers nobody gets.
    #[arg(long, value_name = "TARGET=SHARE", value_parser = parse::shadow)]
    shadow: Option<(String, f64)>,
    /// Calls with this header go to one target: `x-beta=yes->v7`, `x-user=test-*->v7` for a beginning, `x-beta->v7`
    /// for any value; repeatable, looked at in order before the split, in place of the rules before.
    #[arg(long = "rule", value_name = "HEADER=VALUE->TARGET", value_parser = parse::rule)]
    rules: Vec<MatchRule>,
    /// Keeps this share of the calls whole, with request and answer, such as `10%`; all are recorded with their prediction.
    #[arg(long, value_name = "SHARE", value_parser = parse::share)]
    log_share: Option<f64>,
    /// An input or output whose values are left out of what is kept; repeatable, in place of those before.
    #[arg(long, value_name = "FIELD")]
    log_redact: Vec<String>,
    /// An input whose first value is kept beside every prediction, to tell slices of the traffic apart; repeatable, in
    /// place of those before.
    #[arg(long, value_name = "INPUT")]
    log_slice: Vec<String>,
    /// What one gateway keeps a second of calls that are kept whole, before compression, for example `4MiB`.
    #[arg(long, value_name = "SIZE", value_parser = parse::bytes)]
    log_max_bytes_per_second: Option<i64>,
}

impl Routing {
    /// The target that gets copies.
    pub fn shadow_target(&self) -> Option<&str> {
        self.shadow.as_ref().map(|(target, _)| target.as_str())
    }

    /// True if none is given.
    pub fn is_empty(&self) -> bool {
        let is_sticky = self.sticky_header.is_some() || self.sticky_input.is_some();
        !is_sticky && self.shadow.is_none() && self.rules.is_empty() && !self.is_logged()
    }

    fn is_logged(&self) -> bool {
        self.log_share.is_some()
            || self.log_max_bytes_per_second.is_some()
            || !(self.log_redact.is_empty() && self.log_slice.is_empty())
    }

    /// Puts what is given into `spec`, in place of what was there.
    pub fn apply(&self, spec: &mut RevisionSpec) {
        let header = self.sticky_header.clone().map(Source::Header);
        if let Some(source) = header.or_else(|| self.sticky_input.clone().map(Source::Input)) {
            spec.sticky_key = Some(StickyKey { source: Some(source) });
        }
        if let Some((target, share)) = self.shadow.clone() {
            spec.shadow = Some(Shadow {
                target,
                share,
                max_active_calls: 0,
            });
        }
        if !self.rules.is_empty() {
            spec.rules.clone_from(&self.rules);
        }
        if self.is_logged() {
            let log = spec.request_log.get_or_insert_default();
            log.sample_share = self.log_share.unwrap_or(log.sample_share);
            log.max_bytes_per_second = self.log_max_bytes_per_second.unwrap_or(log.max_bytes_per_second);
            if !self.log_redact.is_empty() {
                log.redacted_fields.clone_from(&self.log_redact);
            }
            if !self.log_slice.is_empty() {
                log.slice_fields.clone_from(&self.log_slice);
            }
        }
    }
}

/// What is done about slow and failing targets.
#[derive(Args)]
pub struct Care {
    /// How long one attempt may take on targets without a timeout of their own.
    #[arg(long, value_name = "SPAN", value_parser = parse::span)]
    default_timeout: Option<prost_types::Duration>,
    /// Asks a second target, or the same once more, when there is no answer after this; `0s`: never.
    #[arg(long, value_name = "SPAN", value_parser = parse::span)]
    hedge_after: Option<prost_types::Duration>,
    /// Retries in hundredths of the calls of the last ten seconds; 0: none but those of `--retry-min-per-second`.
    #[arg(long, value_name = "N")]
    retry_percent: Option<u32>,
    /// Retries a second that are allowed whatever the calls.
    #[arg(long, value_name = "N")]
    retry_min_per_second: Option<u32>,
    /// Retries of one call, the second attempt of `--hedge-after` included; 0: none.
    #[arg(long, value_name = "N")]
    max_retries: Option<u32>,
    /// Failures in a row after which a target gets no calls for a while.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    ejection_failures: Option<u32>,
    /// For how long at first, doubled each time.
    #[arg(long, value_name = "SPAN", value_parser = parse::span)]
    ejection_time: Option<prost_types::Duration>,
    /// For how long at most.
    #[arg(long, value_name = "SPAN", value_parser = parse::span)]
    max_ejection_time: Option<prost_types::Duration>,
    /// Calls in flight on the endpoint at most, on all its targets together; beyond it calls are refused.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_active_calls: Option<u32>,
}

impl Care {
    /// True if none is given.
    pub fn is_empty(&self) -> bool {
        self.applied(Resilience::default()) == Resilience::default()
    }

    /// Puts what is given into `spec`, in place of what was there.
    pub fn apply(&self, spec: &mut RevisionSpec) {
        if !self.is_empty() {
            let before = spec.resilience.take().unwrap_or_default();
            spec.resilience = Some(self.applied(before));
        }
    }

    fn applied(&self, to: Resilience) -> Resilience {
        Resilience {
            timeout: self.default_timeout.or(to.timeout),
            retry_percent: self.retry_percent.or(to.retry_percent),
            retry_min_per_second: self.retry_min_per_second.or(to.retry_min_per_second),
            max_retries: self.max_retries.or(to.max_retries),
            hedge_after: self.hedge_after.or(to.hedge_after),
            ejection_failures: self.ejection_failures.unwrap_or(to.ejection_failures),
            ejection_time: self.ejection_time.or(to.ejection_time),
            max_ejection_time: self.max_ejection_time.or(to.max_ejection_time),
            max_active_calls: self.max_active_calls.unwrap_or(to.max_active_calls),
        }
    }
}
