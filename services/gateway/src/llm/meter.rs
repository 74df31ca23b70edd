//! What calls used, and how they ended.

use std::time::{Duration, Instant};

use lodeway_domain::{Error, caller::Workspace, llm::LlmTarget};
use lodeway_rpc::status;
use metrics::{counter, histogram};
use serde_json::Value;

/// Tokens of a call.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Usage {
    /// Of the input.
    pub(crate) input_tokens: u64,
    /// Of the answer.
    pub(crate) output_tokens: u64,
    /// At the target's prices.
    pub(crate) cost: Option<f64>,
}

impl Usage {
    /// Reads the `usage` of an answer; none if it has none.
    pub(crate) fn read(answer: &Value, target: &LlmTarget) -> Option<Self> {
        let usage = answer.get("usage")?.as_object()?;
        let tokens = |name: &str| usage.get(name).and_then(Value::as_u64);
        let input_tokens = tokens("prompt_tokens")?;
        let output_tokens = tokens("completion_tokens").unwrap_or_default();
        Some(Self {
            input_tokens,
            output_tokens,
            cost: target.cost(input_tokens, output_tokens),
        })
    }
}

/// One call from its begin to its end; dropped before its end it counts as cancelled.
pub(super) struct Meter {
    workspace: String,
    route: String,
    target: String,
    begun: Instant,
    is_done: bool,
}

impl Meter {
    /// A call of this route begins.
    pub(super) fn begin(workspace: &Workspace, route: &str) -> Self {
        Self {
            workspace: workspace.as_str().to_owned(),
            route: route.to_owned(),
            target: String::new(),
            begun: Instant::now(),
            is_done: false,
        }
    }

    /// Which target answers.
    pub(super) fn answered_by(&mut self, at: usize) {
        self.target = at.to_string();
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Counts what an answer used.
    pub(super) fn used(&self, usage: &Usage) {
        for (direction, tokens) in [("input", usage.input_tokens), ("output", usage.output_tokens)] {
            let labels = [
                ("workspace", self.workspace.clone()),
                ("route", self.route.clone()),
                ("target", self.target.clone()),
                ("direction", direction.to_owned()),
            ];
            counter!("lodeway_llm_tokens_total", &labels).increment(tokens);
        }
        if let Some(cost) = usage.cost {
            let labels = [
                ("workspace", self.workspace.clone()),
                ("route", self.route.clone()),
                ("target", self.target.clone()),
            ];
            // Counters are whole numbers. `as` saturates, and a cost is never negative.
            counter!("lodeway_llm_cost_millionths_total", &labels).increment((cost * 1e6).round() as u64);
        }
    }

    /// A further attempt.
    pub(super) fn retried(&self, at: usize) {
        let labels = [
            ("workspace", self.workspace.clone()),
            ("route", self.route.clone()),
            ("target", at.to_string()),
        ];
        counter!("lodeway_llm_retries_total", &labels).increment(1);
    }

    /// Counts the end; a second one is ignored.
    pub(super) fn end(&mut self, outcome: Result<(), &Error>) {
        self.count(match outcome {
            Ok(()) => "OK",
            Err(error) => match status::code_of(error) {
                tonic::Code::InvalidArgument => "INVALID_ARGUMENT",
                tonic::Code::NotFound => "NOT_FOUND",
                tonic::Code::FailedPrecondition => "FAILED_PRECONDITION",
                tonic::Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
                tonic::Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
                tonic::Code::Unavailable => "UNAVAILABLE",
                _ => "INTERNAL",
            },
        });
    }

    fn count(&mut self, outcome: &'static str) {
        if std::mem::replace(&mut self.is_done, true) {
            return;
        }
        let labels = [
            ("workspace", self.workspace.clone()),
            ("route", self.route.clone()),
            ("target", self.target.clone()),
            ("outcome", outcome.to_owned()),
        ];
        counter!("lodeway_llm_calls_total", &labels).increment(1);
        histogram!("lodeway_llm_duration_seconds", &labels).record(self.begun.elapsed().as_secs_f64());
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.count("CANCELLED");
    }
}
