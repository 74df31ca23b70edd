//! Mixed moments of errors and targets, and the intervals of shares of variance that are made of them.

use super::RegressionSums;
use crate::{Estimate, Method, student::reach};

/// Mixed moments Σ w·eⁱ·uʲ, u = target − shift, that only intervals need; see `MOMENT`.
pub(super) const MOMENTS: usize = 11;
/// The powers (i, j).
const MOMENT: [(usize, usize); MOMENTS] = [
    (3, 0),
    (4, 0),
    (0, 1),
    (0, 2),
    (0, 3),
    (0, 4),
    (1, 1),
    (1, 2),
    (2, 1),
    (2, 2),
    (1, 0),
];

impl RegressionSums {
    /// 1 − A / B with A = mean (e − centre)² and B the target's variance: the variance of its linear part (A
    /// / B² · ((t − mean)² − B) − ((e − centre)² − A) / B) from mixed moments up to the fourth. None for a
    /// share of 1, for it has no errors to tell how far others may go.
    pub(super) fn ratio_estimate(&self, value: f64, centre: f64, z: f64) -> Estimate {
        if self.rows() < 2 || self.target_range.is_constant() || value == 1.0 {
            return Estimate::point(value);
        }
        let weight = self.weight();
        let mean = |at: usize| self.moments[at].value() / weight;
        let error2 = self.squared.value();
        let [e3, e4, u1, u2, u3, u4, eu, euu, eeu, eeuu, e1] = std::array::from_fn(mean);
        // (t − mean)² = u² − 2·u1·u + u1², (e − c)² = e² − 2·c·e + c².
        let (m, c) = (u1, centre);
        let spread = u2 - m * m;
        let residual = error2 - 2.0 * c * e1 + c * c;
        let spread2 = u4 - 4.0 * m * u3 + 6.0 * m * m * u2 - 4.0 * m * m * m * u1 + m.powi(4);
        let residual2 = e4 - 4.0 * c * e3 + 6.0 * c * c * error2 - 4.0 * c.powi(3) * e1 + c.powi(4);
        let with_square = |eiu0: f64, eiu1: f64, eiu2: f64| eiu2 - 2.0 * m * eiu1 + m * m * eiu0;
        let both = with_square(error2, eeu, eeuu) - 2.0 * c * with_square(e1, eu, euu)
            + c * c * with_square(1.0, u1, u2);
        let ratio = residual / spread;
        let variance = ratio * ratio * (spread2 - spread * spread) - 2.0 * ratio * (both - residual * spread)
            + (residual2 - residual * residual);
        let rows = self.effective_rows();
        let error = (variance.max(0.0)).sqrt() / spread / rows.sqrt();
        let range = (f64::NEG_INFINITY, 1.0);
        Estimate::around(value, error, reach(z, rows), range, Method::Delta)
    }

    /// The moments with u = target − `shift`.
    pub(super) fn moments_around(&self, shift: f64) -> [f64; MOMENTS] {
        let d = self.shift - shift;
        let at = |i: usize, j: usize| match (i, j) {
            (0, 0) => self.weight(),
            (2, 0) => self.squared_sum().value(),
            _ => MOMENT
                .iter()
                .position(|&powers| powers == (i, j))
                .map_or(0.0, |at| self.moments[at].value()),
        };
        const BINOMIAL: [[f64; 5]; 5] = [
            [1.0, 0.0, 0.0, 0.0, 0.0],
            [1.0, 1.0, 0.0, 0.0, 0.0],
            [1.0, 2.0, 1.0, 0.0, 0.0],
            [1.0, 3.0, 3.0, 1.0, 0.0],
            [1.0, 4.0, 6.0, 4.0, 1.0],
        ];
        MOMENT.map(|(i, j)| {
            let terms = (0..=j).map(|k| BINOMIAL[j][k] * d.powi((j - k) as i32) * at(i, k));
            terms.sum()
        })
    }
}
