//! What must hold before a version may have a stage or an alias: rules, what they look at, and the check.
//!
//! A tour: [`Rule`] says what a [`Target`] demands in [`Clause`]s; [`Verdict`] is what evaluation found, [`Approval`] what a
//! person said; [`check`] compares them and gives one [`Finding`] per demand, [`Report`] holds those of all rules.
//!
//! 2026-11: a rule is bound to the *name* of a model, verdicts and approvals to its immutable uid. Who uses a model asks
//! for it by name, so a name that was deleted and made again is as gated as before, and inherits no verdict.

mod check;
mod record;
mod rule;

pub use check::{CONTENT_DIGEST, DEFINITION_FORM, Facts, Finding, Holder, Report, check, measuring};
pub use record::{Approval, JudgedClause, MeasuredMetric, NewVerdict, Verdict};
pub use rule::{
    ApprovalsClause, Clause, EvaluationClause, FormatsClause, IntervalEnd, MAX_RULES, MetricThreshold,
    NewRule, Rule, RuleName, Target,
};

/// Numbers as texts: JSON knows neither NaN nor infinities, and a text reads back to the same bits.
mod exact {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// As [`exact`], for numbers that may be absent.
mod exact_opt {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[expect(clippy::ref_option, reason = "the signature that serde calls")]
    pub(super) fn serialize<S: Serializer>(value: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.collect_str(value),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(D::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests;
