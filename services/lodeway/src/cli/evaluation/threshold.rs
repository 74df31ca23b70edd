//! What must hold, as people write it: `accuracy>=0.9`, `f1>=baseline-0.01`, `rmse<=baseline*1.05`,
//! `accuracy.low[plan=basic]>=0.8`.

use lodeway_proto::evaluation::v1::{Bound, Threshold};

/// Reads `METRIC[.low|.high][[COLUMN=VALUE]]>=LIMIT` or `<=LIMIT`, where a limit is a number, `baseline`,
/// `baseline+N`, `baseline-N` or `baseline*N`.
pub fn threshold(text: &str) -> Result<Threshold, String> {
    let wrong =
        |why: &str| format!("`{text}` {why}; write for example `accuracy>=0.9` or `f1>=baseline-0.01`");
    let (left, is_least, limit) = if let Some((left, limit)) = text.split_once(">=") {
        (left.trim(), true, limit.trim())
    } else if let Some((left, limit)) = text.split_once("<=") {
        (left.trim(), false, limit.trim())
    } else {
        return Err(wrong("has neither `>=` nor `<=`"));
    };
    let (left, slice) = match left.split_once('[') {
        None => (left, ""),
        Some((left, slice)) => (
            left.trim(),
            slice.strip_suffix(']').ok_or_else(|| wrong("lacks a `]`"))?,
        ),
    };
    let (metric, bound) = match left.rsplit_once('.') {
        Some((metric, "low")) => (metric, Bound::Low),
        Some((metric, "high")) => (metric, Bound::High),
        _ => (left, Bound::Unspecified),
    };
    if metric.is_empty() {
        return Err(wrong("names no metric"));
    }
    let mut threshold = Threshold {
        metric: metric.to_owned(),
        slice: slice.to_owned(),
        bound: bound.into(),
        ..Threshold::default()
    };
    let number = |text: &str| {
        text.trim()
            .parse::<f64>()
            .map_err(|_| wrong("has a limit that is no number"))
    };
    let Some(rest) = limit.strip_prefix("baseline") else {
        let number = number(limit)?;
        if is_least {
            threshold.min = Some(number);
        } else {
            threshold.max = Some(number);
        }
        return Ok(threshold);
    };
    let rest = rest.trim();
    // How much more than the baseline is demanded at least (or allowed at most); a loss is its opposite.
    let side = if is_least { -1.0 } else { 1.0 };
    match rest.split_at_checked(1) {
        None => threshold.max_loss = Some(0.0),
        Some(("+", more)) => threshold.max_loss = Some(side * number(more)?),
        Some(("-", less)) => threshold.max_loss = Some(-side * number(less)?),
        Some(("*", times)) => threshold.max_relative_loss = Some(side * (number(times)? - 1.0)),
        Some(_) => return Err(wrong("has something else than `+`, `-` or `*` after `baseline`")),
    }
    Ok(threshold)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_read_as_written() {
        let one = threshold("accuracy >= 0.9").unwrap();
        assert_eq!(
            (one.metric.as_str(), one.min, one.max),
            ("accuracy", Some(0.9), None)
        );
        let one = threshold("accuracy.low[plan=a]>=0.8").unwrap();
        assert_eq!(
            (one.metric.as_str(), one.slice.as_str(), one.bound()),
            ("accuracy", "plan=a", Bound::Low)
        );
        assert_eq!(threshold("rmse<=2").unwrap().max, Some(2.0));
        assert_eq!(threshold("f1>=baseline").unwrap().max_loss, Some(0.0));
        assert_eq!(threshold("f1>=baseline-0.01").unwrap().max_loss, Some(0.01));
        assert_eq!(threshold("f1>=baseline+0.5").unwrap().max_loss, Some(-0.5));
        assert_eq!(threshold("rmse<=baseline+0.5").unwrap().max_loss, Some(0.5));
        assert_eq!(
            threshold("rmse<=baseline*1.25").unwrap().max_relative_loss,
            Some(0.25)
        );
        assert_eq!(
            threshold("f1>=baseline*0.75").unwrap().max_relative_loss,
            Some(0.25)
        );
        for wrong in ["accuracy", ">=1", "a>=b", "a>=baseline/2", "a[b>=1", "a=1"] {
            assert!(threshold(wrong).is_err(), "{wrong}");
        }
    }
}
