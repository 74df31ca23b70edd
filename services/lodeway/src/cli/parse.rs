//! What people write shorter than the contract does: targets, weights, shares, spans of time, rules, steps, limits.

use lodeway_proto::gateway::v1::{MatchRule, MetricGuard, match_rule::Condition};
use lodeway_rpc::config::{ByteSize, HumanDuration};

/// What can answer, written `[TARGET=]MODEL`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Named {
    /// The target's name; empty: the platform makes one from the reference.
    pub name: String,
    /// `models:/NAME/3`, `models:/NAME@alias`, or an address.
    pub reference: String,
}

impl Named {
    /// The name, or the one that the platform makes: `v3`, `production`, `champion`.
    ///
    /// Only for finding what a flag means; a reference that is none has no name, and the platform says so.
    pub fn known_as(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        let Some(path) = self.reference.strip_prefix("models:/") else {
            return String::new();
        };
        if let Some((_, alias)) = path.rsplit_once('@') {
            return alias.to_owned();
        }
        match path.rsplit_once('/') {
            Some((_, version)) if version.parse::<u64>().is_ok() => format!("v{version}"),
            Some((_, stage)) => stage.to_ascii_lowercase(),
            None => String::new(),
        }
    }
}

/// Reads `[TARGET=]MODEL`.
pub fn named(text: &str) -> Result<Named, String> {
    // Names of models may have an `=`, names of targets have neither `:` nor `/`.
    let (name, reference) = match text.split_once('=') {
        Some((name, reference)) if !name.contains([':', '/']) => (name, reference),
        _ => ("", text),
    };
    if reference.is_empty() || (name.is_empty() && text.starts_with('=')) {
        return Err(format!("`{text}` is not MODEL or TARGET=MODEL"));
    }
    Ok(Named {
        name: name.to_owned(),
        reference: reference.to_owned(),
    })
}

/// A target's part of the traffic, written `[TARGET=]N`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weight {
    /// Whose; none: of the model at the same place.
    pub target: Option<String>,
    /// Parts of the sum of all weights.
    pub parts: u32,
}

/// Reads `[TARGET=]N`.
pub fn weight(text: &str) -> Result<Weight, String> {
    let (target, parts) = match text.split_once('=') {
        Some((target, parts)) => (Some(target), parts),
        None => (None, text),
    };
    if target == Some("") {
        return Err(format!("`{text}` names no target; write TARGET=N"));
    }
    let parts = parts.parse();
    Ok(Weight {
        target: target.map(str::to_owned),
        parts: parts.map_err(|_| format!("`{text}` is not N or TARGET=N with a whole number N"))?,
    })
}

/// Reads a share of the whole, `10%` or `0.1`, into a number from 0 to 1.
pub fn share(text: &str) -> Result<f64, String> {
    let (number, whole) = match text.strip_suffix('%') {
        Some(percent) => (percent, 100.0),
        None => (text, 1.0),
    };
    let share = number.trim().parse::<f64>().ok().map(|number| number / whole);
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| format!("`{text}` is not a share such as `10%` or `0.1`"))
}

/// Reads a share that a limit can be: one of the whole is none.
pub fn limit_share(text: &str) -> Result<f64, String> {
    match share(text)? {
        1.0 => Err(format!(
            "`{text}` can never be exceeded; give less than 100%, or leave the flag out"
        )),
        share => Ok(share),
    }
}

/// Reads a population stability index that a limit can be.
pub fn limit_psi(text: &str) -> Result<f64, String> {
    let psi = text.parse::<f64>().ok();
    psi.filter(|psi| *psi > 0.0 && psi.is_finite())
        .ok_or_else(|| format!("`{text}` is not a number above 0, such as 0.25"))
}

/// Reads `TARGET=SHARE`.
pub fn shadow(text: &str) -> Result<(String, f64), String> {
    match text.split_once('=') {
        Some((target, of)) if !target.is_empty() => Ok((target.to_owned(), share(of)?)),
        _ => Err(format!("`{text}` is not TARGET=SHARE, such as `v7=10%`")),
    }
}

/// Reads `HEADER=VALUE->TARGET`; `VALUE*` is a beginning, no `=VALUE` any value.
pub fn rule(text: &str) -> Result<MatchRule, String> {
    let wrong =
        || format!("`{text}` is not HEADER=VALUE->TARGET, HEADER=BEGINNING*->TARGET or HEADER->TARGET");
    let (matched, target) = text.rsplit_once("->").ok_or_else(wrong)?;
    let (header, condition) = match matched.split_once('=') {
        None => (matched, Condition::Present(true)),
        Some((header, value)) => match value.trim().strip_suffix('*') {
            Some(prefix) => (header, Condition::Prefix(prefix.to_owned())),
            None => (header, Condition::Equals(value.trim().to_owned())),
        },
    };
    let (header, target) = (header.trim(), target.trim());
    if header.is_empty() || target.is_empty() {
        return Err(wrong());
    }
    Ok(MatchRule {
        header: header.to_ascii_lowercase(),
        condition: Some(condition),
        target: target.to_owned(),
    })
}

/// Reads a step of a rollout, `shadow` or a share above 0, into its share; 0 is a shadow.
pub fn step(text: &str) -> Result<f64, String> {
    match text.trim() {
        "shadow" => Ok(0.0),
        other => share(other)
            .ok()
            .filter(|&share| share > 0.0)
            .ok_or_else(|| format!("`{other}` is neither `shadow` nor a share such as `5%`")),
    }
}

/// Up to where a latency is good.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LatencyLimit {
    /// So long.
    Span(prost_types::Duration),
    /// So many times that of the old targets.
    Ratio(f64),
}

/// The longest latency that a limit can be, and the greatest multiple.
const MAX_LATENCY_SECONDS: i64 = 600;
const MAX_RATIO: f64 = 1_000.0;

/// Reads `200ms` or `1.5x`.
pub fn latency(text: &str) -> Result<LatencyLimit, String> {
    let Some(ratio) = text.strip_suffix('x') else {
        let span = span(text)?;
        let is_limit =
            (span.seconds, span.nanos) > (0, 0) && (span.seconds, span.nanos) <= (MAX_LATENCY_SECONDS, 0);
        return match is_limit {
            true => Ok(LatencyLimit::Span(span)),
            false => Err(format!(
                "`{text}` is not above 0 and at most {MAX_LATENCY_SECONDS} s"
            )),
        };
    };
    let ratio = ratio.trim().parse::<f64>().ok();
    ratio
        .filter(|ratio| (1.0..=MAX_RATIO).contains(ratio))
        .map(LatencyLimit::Ratio)
        .ok_or_else(|| format!("`{text}` is not a multiple from 1 to {MAX_RATIO} such as `1.5x`"))
}

/// Reads a span of time: `30s`, `250ms`, `5m`, `24h`.
pub fn span(text: &str) -> Result<prost_types::Duration, String> {
    let span: HumanDuration = text.parse()?;
    prost_types::Duration::try_from(span.get()).map_err(|_| format!("`{text}` is too long"))
}

/// Reads `METRIC>=VALUE` or `METRIC<=VALUE`.
pub fn metric_guard(text: &str) -> Result<MetricGuard, String> {
    let wrong = || format!("`{text}` is not METRIC>=VALUE or METRIC<=VALUE");
    let (name, value, is_least) = match (text.split_once(">="), text.split_once("<=")) {
        (Some((name, value)), None) => (name, value, true),
        (None, Some((name, value))) => (name, value, false),
        _ => return Err(wrong()),
    };
    let value = value.trim().parse::<f64>().map_err(|_| wrong())?;
    if name.trim().is_empty() || !value.is_finite() {
        return Err(wrong());
    }
    Ok(MetricGuard {
        name: name.trim().to_owned(),
        min: is_least.then_some(value),
        max: (!is_least).then_some(value),
    })
}

/// Reads a number of bytes: `512MiB`, `2GB`.
pub fn bytes(text: &str) -> Result<i64, String> {
    let size: ByteSize = text.parse()?;
    i64::try_from(size.0).map_err(|_| format!("`{text}` is too large"))
}

/// Reads a moment in RFC 3339, such as `2026-11-25T14:00:00Z`.
pub fn moment(text: &str) -> Result<prost_types::Timestamp, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not a time such as `2026-11-25T14:00:00Z`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_a_name_only_if_one_is_given() {
        let target = named("v2=models:/iris/2").unwrap();
        assert_eq!(
            (target.name.as_str(), target.reference.as_str()),
            ("v2", "models:/iris/2")
        );
        for (text, known_as) in [
            ("models:/iris@champion", "champion"),
            ("models:/iris/Production", "production"),
            ("models:/a=b/12", "v12"),
            ("new=models:/iris/3", "new"),
            ("grpc://host:8001/iris", ""),
            ("models:/iris", ""),
        ] {
            assert_eq!(named(text).unwrap().known_as(), known_as, "{text}");
        }
        for bad in ["", "v2=", "=models:/iris/2"] {
            assert!(named(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn weights_are_whole_numbers() {
        let whose = |text| weight(text).map(|w| (w.target, w.parts));
        assert_eq!(whose("90"), Ok((None, 90)));
        assert_eq!(whose("v7=10"), Ok((Some("v7".to_owned()), 10)));
        for bad in ["", "=10", "v7=", "v7=-1", "v7=1.5", "v7=10%", "4294967296"] {
            assert!(weight(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_are_below_the_whole() {
        assert_eq!(limit_share("5%"), Ok(0.05));
        for whole in ["1", "100%", "1.0"] {
            assert!(limit_share(whole).is_err_and(|e| e.contains("never be exceeded")));
        }
    }

    #[test]
    fn shares_are_percent_or_fractions() {
        for (text, of_whole) in [
            ("10%", 0.1),
            ("0.1", 0.1),
            ("100%", 1.0),
            ("1", 1.0),
            ("0", 0.0),
            ("12.5 %", 0.125),
        ] {
            assert_eq!(share(text), Ok(of_whole), "{text}");
        }
        for bad in ["", "%", "101%", "10", "-1%", "NaN", "inf"] {
            assert!(share(bad).is_err(), "{bad}");
        }
        assert_eq!(shadow("v7=10%"), Ok(("v7".to_owned(), 0.1)));
        assert!(shadow("10%").is_err());
    }

    #[test]
    fn rules_say_header_value_and_target() {
        let parts = |text| rule(text).map(|r| (r.header, r.condition.unwrap(), r.target));
        let expected =
            |header: &str, condition, target: &str| Ok((header.to_owned(), condition, target.to_owned()));
        assert_eq!(
            parts("X-Beta=yes->v7"),
            expected("x-beta", Condition::Equals("yes".to_owned()), "v7")
        );
        assert_eq!(
            parts("x-user = test-* -> v7"),
            expected("x-user", Condition::Prefix("test-".to_owned()), "v7")
        );
        assert_eq!(
            parts("x-beta -> v7"),
            expected("x-beta", Condition::Present(true), "v7")
        );
        // The last arrow counts, so that a value may have one.
        assert_eq!(
            parts("x-path=a->b->v7"),
            expected("x-path", Condition::Equals("a->b".to_owned()), "v7")
        );
        for bad in ["", "x-beta=yes", "=yes->v7", "x-beta=yes->", "->"] {
            assert!(rule(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn steps_are_shadow_or_shares_above_zero() {
        assert_eq!(step("shadow"), Ok(0.0));
        assert_eq!(step(" 5%"), Ok(0.05));
        assert_eq!(step("1"), Ok(1.0));
        for bad in ["", "0", "0%", "200%", "Shadow"] {
            assert!(step(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn latencies_are_spans_or_multiples() {
        let span = prost_types::Duration {
            seconds: 0,
            nanos: 200_000_000,
        };
        assert_eq!(latency("200ms"), Ok(LatencyLimit::Span(span)));
        assert_eq!(latency("1.5x"), Ok(LatencyLimit::Ratio(1.5)));
        for bad in ["", "x", "200", "-1x", "0x", "NaNx"] {
            assert!(latency(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_moments_read() {
        assert_eq!(bytes("512MiB"), Ok(512 << 20));
        assert!(bytes("half").is_err());
        assert_eq!(moment("1970-01-01T00:01:00Z").unwrap().seconds, 60);
        assert!(moment("yesterday").is_err());
    }
}
