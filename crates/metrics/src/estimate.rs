//! A metric with its interval.

use std::fmt;

/// The version of every metric: it changes when the same rows would give another number.
pub const METRIC_VERSION: u32 = 2;

/// How an interval was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// Wilson's score interval of a proportion.
    Wilson,
    /// Wilson's formula for a metric with a range, with as many rows as the variance of the metric's linear
    /// part is worth.
    WilsonDelta,
    /// Wilson's formula for the area under a ROC curve, with as many rows as DeLong's variance is worth.
    WilsonDeLong,
    /// The adjusted interval of Bonett and Price for the difference of two paired proportions.
    BonettPrice,
    /// DeLong's variance of the difference of two areas under ROC curves.
    DeLong,
    /// The delta method: the variance of the metric's linear part, with Student's t for up to 1,000 rows.
    Delta,
    /// The order statistics between which a median lies.
    OrderStatistics,
    /// Percentiles of seeded resamples.
    Bootstrap,
    /// The variance between random groups of the rows.
    RandomGroups,
    /// There is a value but no interval for it, for example for the largest error of a sample.
    NoInterval,
    /// The metric is not defined on these rows, and its value is NaN, for example ROC AUC with one class.
    Undefined,
}

impl Method {
    /// The method as one word in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wilson => "wilson",
            Self::WilsonDelta => "wilson_delta",
            Self::WilsonDeLong => "wilson_delong",
            Self::BonettPrice => "bonett_price",
            Self::DeLong => "delong",
            Self::Delta => "delta",
            Self::OrderStatistics => "order_statistics",
            Self::Bootstrap => "bootstrap",
            Self::RandomGroups => "random_groups",
            Self::NoInterval => "none",
            Self::Undefined => "undefined",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The value of a metric on a sample and an interval for its value on all such rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The value on the sample; NaN if the metric is not defined there.
    pub value: f64,
    /// The lower end; NaN where there is no interval.
    pub low: f64,
    /// The upper end; NaN where there is no interval.
    pub high: f64,
    /// How the interval was found.
    pub method: Method,
}

impl Estimate {
    /// A value without an interval; [`Method::Undefined`] if it is NaN.
    pub fn point(value: f64) -> Self {
        Self {
            value,
            low: f64::NAN,
            high: f64::NAN,
            method: if value.is_nan() {
                Method::Undefined
            } else {
                Method::NoInterval
            },
        }
    }

    /// A value between two ends; a [`Estimate::point`] if any of the three is NaN.
    pub fn between(value: f64, low: f64, high: f64, method: Method) -> Self {
        if value.is_nan() || low.is_nan() || high.is_nan() {
            return Self::point(value);
        }
        Self {
            value,
            low,
            high,
            method,
        }
    }

    /// `value ± z · error`, cut to `[least, most]`, the range of the metric; a [`Estimate::point`] if the
    /// error is 0, for rows that do not differ do not tell how far others may.
    pub fn around(value: f64, error: f64, z: f64, range: (f64, f64), method: Method) -> Self {
        if error == 0.0 {
            return Self::point(value);
        }
        let (least, most) = range;
        Self::between(
            value,
            (value - z * error).max(least),
            (value + z * error).min(most),
            method,
        )
    }

    /// The same interval through an increasing function, for example the root for RMSE.
    pub fn map(self, increasing: impl Fn(f64) -> f64) -> Self {
        Self {
            value: increasing(self.value),
            low: increasing(self.low),
            high: increasing(self.high),
            method: self.method,
        }
    }

    /// The metric has a value on these rows.
    pub fn is_defined(&self) -> bool {
        !self.value.is_nan()
    }
}

/// Wilson's score interval for `value`, a share of `rows` independent rows (an effective number if they have weights).
///
/// Has its coverage near 0 and 1 too, where the normal interval has none. NaN in, or no rows, gives a point.
/// Source: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference",
/// <https://doi.org/10.1080/01621459.1927.10502953>.
pub fn wilson(value: f64, rows: f64, z: f64) -> Estimate {
    if rows.is_nan() || rows <= 0.0 {
        return Estimate::point(value);
    }
    let share = z * z / rows;
    let centre = (value + 0.5 * share) / (1.0 + share);
    let spread = value * (1.0 - value) / rows + 0.25 * share / rows;
    let half = z / (1.0 + share) * spread.max(0.0).sqrt();
    // At 0 and 1 the end is exact, and rounding must not put it on the wrong side of the value.
    let low = (centre - half).max(0.0).min(value);
    let high = (centre + half).min(1.0).max(value);
    Estimate::between(value, low, high, Method::Wilson)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_matches_published_values() {
        // Newcombe 1998, table I: 81 of 263, and 0 of 20.
        let some = wilson(81.0 / 263.0, 263.0, 1.959_964);
        assert!((some.low - 0.2553).abs() < 5e-5 && (some.high - 0.3662).abs() < 5e-5);
        let none = wilson(0.0, 20.0, 1.959_964);
        assert!(none.low == 0.0 && (none.high - 0.1611).abs() < 5e-5);
        assert_eq!(wilson(1.0, 20.0, 1.959_964).high, 1.0);
        assert_eq!(wilson(0.5, 0.0, 2.0).method, Method::NoInterval);
    }

    #[test]
    fn what_has_no_interval_says_so() {
        assert_eq!(Estimate::point(f64::NAN).method, Method::Undefined);
        let certain = Estimate::around(1.0, 0.0, 2.0, (0.0, 1.0), Method::Delta);
        assert_eq!((certain.value, certain.method), (1.0, Method::NoInterval));
        assert!(!wilson(f64::NAN, 0.0, 2.0).is_defined());
    }
}
