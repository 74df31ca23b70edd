//! What an objective does to the sums of the trees.
//!
//! Source: the `ConvertOutput` functions in `src/objective` of LightGBM 4.

/// The transformation, which several objectives share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Objective {
    /// None.
    Identity,
    /// The square with its sign, for models trained on square roots.
    Square,
    /// A logarithm to its number.
    Exponential,
    /// Log-odds, scaled by the sigmoid parameter, to a probability; for several classes each by itself.
    Logistic(f64),
    /// A probability for each class.
    Softmax,
    /// `ln(1 + e^x)`, the intensity of `cross_entropy_lambda`.
    Softplus,
}

impl Objective {
    /// Reads a line such as `binary sigmoid:1`; `None` for an objective that is not known here.
    pub(super) fn of(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let name = words.next()?;
        let has_root = words.clone().any(|word| word == "sqrt");
        let sigmoid = || {
            let value: f64 = words
                .clone()
                .find_map(|word| word.strip_prefix("sigmoid:"))?
                .parse()
                .ok()?;
            (value > 0.0).then_some(Self::Logistic(value))
        };
        match name {
            "regression" | "regression_l1" | "quantile" | "fair" | "mape" if has_root => Some(Self::Square),
            "regression" | "regression_l1" | "quantile" | "fair" | "mape" | "huber" | "lambdarank"
            | "rank_xendcg" | "custom" => Some(Self::Identity),
            "poisson" | "gamma" | "tweedie" => Some(Self::Exponential),
            "binary" | "multiclassova" => sigmoid(),
            "cross_entropy" => Some(Self::Logistic(1.0)),
            "cross_entropy_lambda" => Some(Self::Softplus),
            "multiclass" => Some(Self::Softmax),
            _ => None,
        }
    }

    /// Transforms sums, `[rows, outputs]`, into predictions, in place.
    pub(super) fn transform(self, sums: &mut [f64], outputs: usize) {
        let each = |sums: &mut [f64], transform: &dyn Fn(f64) -> f64| {
            sums.iter_mut().for_each(|sum| *sum = transform(*sum));
        };
        match self {
            Self::Identity => {}
            Self::Square => each(sums, &|x| sign(x) * x * x),
            Self::Exponential => each(sums, &f64::exp),
            Self::Logistic(sigmoid) => each(sums, &|x| 1.0 / (1.0 + (-sigmoid * x).exp())),
            Self::Softplus => each(sums, &|x| x.exp().ln_1p()),
            Self::Softmax => sums.chunks_exact_mut(outputs.max(1)).for_each(softmax),
        }
    }
}

/// -1, 0 or 1; unlike [`f64::signum`], zero has none.
fn sign(x: f64) -> f64 {
    f64::from(i8::from(x > 0.0) - i8::from(x < 0.0))
}

fn softmax(row: &mut [f64]) {
    let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut total = 0.0;
    for value in row.iter_mut() {
        *value = (*value - highest).exp();
        total += *value;
    }
    row.iter_mut().for_each(|value| *value /= total);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_are_read_with_their_parameters() {
        assert_eq!(
            Objective::of("binary sigmoid:0.5"),
            Some(Objective::Logistic(0.5))
        );
        assert_eq!(Objective::of("binary"), None);
        assert_eq!(Objective::of("binary sigmoid:-1"), None);
        assert_eq!(
            Objective::of("multiclassova num_class:3 sigmoid:2"),
            Some(Objective::Logistic(2.0))
        );
        assert_eq!(Objective::of("regression sqrt"), Some(Objective::Square));
        assert_eq!(Objective::of("huber sqrt"), Some(Objective::Identity));
        assert_eq!(Objective::of("something_else"), None);
        assert_eq!(Objective::of(""), None);
    }

    #[test]
    fn sums_are_transformed() {
        let mut sums = [-2.0, 0.0, 3.0];
        Objective::Square.transform(&mut sums, 1);
        assert_eq!(sums, [-4.0, 0.0, 9.0]);
        let mut sums = [1.0, 1.0];
        Objective::Softmax.transform(&mut sums, 2);
        assert_eq!(sums, [0.5, 0.5]);
        let mut sums = [0.0];
        Objective::Logistic(3.0).transform(&mut sums, 1);
        assert_eq!(sums, [0.5]);
    }
}
