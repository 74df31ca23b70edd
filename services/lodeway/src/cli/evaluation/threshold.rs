//! What must hold, as people write it: `accuracy>=0.9`, `f1>=baseline-0.01`, `rmse<=baseline*1.05`,
//! `accuracy[plan=basic].low>=0.8`.

use lodeway_proto::evaluation::v1::{Bound, Threshold};

/// Reads `METRIC[.low|.high][[COLUMN=VALUE]][.low|.high]>=LIMIT` or `<=LIMIT`, where a limit is a number, `baseline`,
/// `baseline+N`, `baseline-N` or `baseline*N`.
pub fn threshold(text: &str) -> Result<Threshold, String> {
    let wrong =
        |why: &str| format!("`{text}` {why}; write for example `accuracy>=0.9` or `f1>=baseline-0.01`");
    let (before, slice, rest) = match text.split_once('[') {
        // What stands in the brackets may hold any sign.
        Some((before, rest)) if !before.contains(['<', '>']) => {
            let (slice, rest) = rest.rsplit_once(']').ok_or_else(|| wrong("lacks a `]`"))?;
            (before, slice, rest)
        }
        _ => ("", "", text),
    };
    let (after, is_least, limit) = if let Some((after, limit)) = rest.split_once(">=") {
        (after.trim(), true, limit.trim())
    } else if let Some((after, limit)) = rest.split_once("<=") {
        (after.trim(), false, limit.trim())
    } else {
        return Err(wrong("has neither `>=` nor `<=`"));
    };
    let left = match before.trim() {
        "" => after.to_owned(),
        before => format!("{before}{after}"),
    };
    let (metric, bound) = match left.rsplit_once('.') {
        Some((metric, "low")) => (metric, Bound::Low),
        Some((metric, "high")) => (metric, Bound::High),
        _ => (left.as_str(), Bound::Unspecified),
    };
    if !slice.is_empty() && !matches!(after, "" | ".low" | ".high") {
        return Err(wrong("has something else than `.low` or `.high` after its `]`"));
    }
    if metric.ends_with(".low") || metric.ends_with(".high") {
        return Err(wrong("names an end of the interval twice"));
    }
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
        let number = text
            .trim()
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite());
        number.ok_or_else(|| wrong("has a limit that is neither a number nor relative to `baseline`"))
    };
    // One sign is enough: `baseline+-0.01` may be a slip for either.
    let amount = |text: &str| match text.trim_start().starts_with(['+', '-']) {
        true => Err(wrong("has two signs after `baseline`")),
        false => number(text),
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
        Some(("+", more)) => threshold.max_loss = Some(side * amount(more)?),
        Some(("-", less)) => threshold.max_loss = Some(-side * amount(less)?),
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
        for written in ["accuracy[plan=a].low>=0.8", "accuracy[plan=a] .low >= 0.8"] {
            assert_eq!(threshold(written).unwrap(), one, "{written}");
        }
        let odd = threshold("f1[age=>=30[x]].high<=baseline+0.1").unwrap();
        assert_eq!((odd.slice.as_str(), odd.bound()), ("age=>=30[x]", Bound::High));
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
        let wrongs = [
            "accuracy",
            ">=1",
            "a>=b",
            "a>=baseline/2",
            "a[b>=1",
            "a=1",
            "a>=nan",
            "a>=last+-0.01",
            "a>=baseline+-0.01",
            "a>=baseline--0.01",
            "a[b=1].mean>=1",
            "a.low[b=1].high>=1",
            "[b=1]>=1",
        ];
        for wrong in wrongs {
            assert!(threshold(wrong).is_err(), "{wrong}");
        }
    }
}
