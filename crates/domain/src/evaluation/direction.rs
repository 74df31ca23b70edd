//! Which way of a metric is the better one.

/// Metrics of which less is better; of all others more is.
const LESS_IS_BETTER: [&str; 19] = [
    "log_loss",
    "brier",
    "calibration_error",
    "mae",
    "mse",
    "rmse",
    "mape",
    "smape",
    "max_error",
    "median_absolute_error",
    "mean_pinball_loss",
    "mean_poisson_deviance",
    "levenshtein",
    "edit_distance",
    "toxicity",
    "latency_ms",
    "cost",
    "tokens",
    "failed_share",
];

/// Whether more of a metric is better; of `scorer/metric` the last part counts.
pub fn more_is_better(metric: &str) -> bool {
    let name = metric.rsplit('/').next().unwrap_or(metric);
    !LESS_IS_BETTER.contains(&name)
}
