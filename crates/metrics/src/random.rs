//! The random numbers of the bootstrap: the same for a seed on every machine and in every release.
//!
//! A library's generator may change with its version, and then a stored evaluation could not be recomputed; so the
//! generator is here and its first numbers stand in a test.

/// SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators",
/// <https://doi.org/10.1145/2660193.2660195>).
#[derive(Debug, Clone)]
pub struct Random(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// A stream of its own for each pair of seed and stream number.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(mix(
            mix(seed.wrapping_add(GOLDEN)) ^ mix(stream.wrapping_mul(GOLDEN).wrapping_add(1))
        ))
    }

    /// The next 64 random bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number below `bound`, or 0 if that is 0. The bias is below bound / 2⁶⁴.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// Two draws of the Poisson distribution with mean 1, each from 32 bits.
    #[inline]
    pub fn poisson_pair(&mut self) -> [u32; 2] {
        let bits = self.bits();
        [poisson(bits as u32), poisson((bits >> 32) as u32)]
    }

    /// A draw of the Poisson distribution with a whole mean, as the sum of so many draws with mean 1 has it.
    ///
    /// Source: Hörmann 1993, "The transformed rejection method for generating Poisson random variables",
    /// <https://doi.org/10.1016/0167-6687(93)90997-4>, algorithm PTRS.
    pub(crate) fn poisson(&mut self, mean: u64) -> u64 {
        const FEW: u64 = 32;
        if mean <= FEW {
            let pairs: u32 = (0..mean / 2).flat_map(|_| self.poisson_pair()).sum();
            let last = if mean % 2 == 1 { self.poisson_pair()[0] } else { 0 };
            return u64::from(pairs + last);
        }
        let mean = mean as f64;
        let b = 0.931 + 2.53 * mean.sqrt();
        let a = -0.059 + 0.02483 * b;
        let alpha = 1.1239 + 1.1328 / (b - 3.4);
        let sure = 0.9277 - 3.6224 / (b - 2.0);
        loop {
            let (u, v) = (self.unit() - 0.5, self.unit());
            let left = 0.5 - u.abs();
            let draw = ((2.0 * a / left + b) * u + mean + 0.43).floor();
            if left >= 0.07 && v <= sure {
                return draw as u64;
            }
            if draw < 0.0 || (left < 0.013 && v > left) {
                continue;
            }
            let density = draw * mean.ln() - mean - ln_factorial(draw);
            if (v * alpha / (a / (left * left) + b)).ln() <= density {
                return draw as u64;
            }
        }
    }

    /// As many draws of the same, of the last pair perhaps one.
    pub(crate) fn fill_poisson(&mut self, counts: &mut [u32]) {
        let (pairs, last) = counts.as_chunks_mut::<2>();
        for pair in pairs {
            *pair = self.poisson_pair();
        }
        if let [last] = last {
            [*last, _] = self.poisson_pair();
        }
    }
}

#[inline]
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// P(X ≤ k) of the Poisson distribution with mean 1 in units of 2⁻³², for k = 0, 1, …; past the last, X is 12.
const POISSON: [u32; 12] = [
    1_580_030_168,
    3_160_060_337,
    3_950_075_421,
    4_213_413_783,
    4_279_248_373,
    4_292_415_291,
    4_294_609_777,
    4_294_923_276,
    4_294_962_463,
    4_294_966_817,
    4_294_967_252,
    4_294_967_292,
];

/// ln k! of a whole k, by Stirling's series where its error is below 1e-9.
fn ln_factorial(k: f64) -> f64 {
    if k < 10.0 {
        return (2..=k as u32).map(|i| f64::from(i).ln()).sum();
    }
    let inverse = 1.0 / k;
    let square = inverse * inverse;
    (k + 0.5) * k.ln() - k
        + 0.5 * std::f64::consts::TAU.ln()
        + inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square / 1260.0))
}

/// The draw by its highest 12 bits; [`STEPS`] where a step lies between numbers that begin with them.
const BY_HIGHEST: [u8; 4096] = {
    let mut draws = [0; 4096];
    let mut highest = 0;
    while highest < 4096 {
        let low = (highest as u32) << 20;
        let (first, last) = (steps(low), steps(low | 0xf_ffff));
        draws[highest] = if first == last { first as u8 } else { STEPS };
        highest += 1;
    }
    draws
};
const STEPS: u8 = u8::MAX;

/// Nearly always by the table, so there is no branch to predict.
#[inline]
fn poisson(bits: u32) -> u32 {
    match BY_HIGHEST[(bits >> 20) as usize] {
        STEPS => steps(bits),
        draw => u32::from(draw),
    }
}

/// How many steps are at or below `bits`.
const fn steps(bits: u32) -> u32 {
    let (mut at, mut draw) = (0, 0);
    while at < POISSON.len() {
        draw += (bits >= POISSON[at]) as u32;
        at += 1;
    }
    draw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_forever() {
        let mut random = Random::new(42, 7);
        let first: Vec<u64> = (0..3).map(|_| random.bits()).collect();
        let expected = [
            14_926_210_598_623_928_425,
            16_049_625_164_622_507_140,
            9_493_071_200_150_059_406,
        ];
        assert_eq!(first, expected);
    }

    #[test]
    fn steps_are_those_of_the_poisson_distribution() {
        let mut probability = (-1.0_f64).exp();
        let mut cumulative = 0.0;
        for (k, &step) in POISSON.iter().enumerate() {
            cumulative += probability;
            probability /= (k + 1) as f64;
            assert!(
                (f64::from(step) - cumulative * 2_f64.powi(32)).abs() <= 1.0,
                "{k}"
            );
        }
    }

    #[test]
    fn the_table_gives_what_comparing_does() {
        let mut random = Random::new(3, 3);
        let near = POISSON
            .iter()
            .flat_map(|step| (0..5).map(move |by| step.wrapping_add(by).wrapping_sub(2)));
        for bits in near.chain((0..100_000).map(|_| random.bits() as u32)) {
            assert_eq!(
                poisson(bits),
                POISSON.iter().filter(|step| bits >= **step).count() as u32
            );
        }
        assert_eq!((poisson(0), poisson(u32::MAX)), (0, 12));
    }

    #[test]
    fn factorials_are_those_of_their_factors() {
        let mut sum = 0.0;
        for k in 1..200 {
            sum += f64::from(k).ln();
            assert!((ln_factorial(f64::from(k)) - sum).abs() < 1e-9, "{k}");
        }
    }

    #[test]
    fn many_at_once_are_distributed_as_one_by_one() {
        const DRAWS: usize = 200_000;
        let mut random = Random::new(11, 1);
        for mean in [0_u64, 1, 7, 32, 33, 100, 40_000] {
            let draws: Vec<f64> = (0..DRAWS).map(|_| random.poisson(mean) as f64).collect();
            let expected = mean as f64;
            let moment = |power| draws.iter().map(|d| (d - expected).powi(power)).sum::<f64>() / DRAWS as f64;
            // Mean, variance and third moment are the mean; five standard errors.
            let error = 5.0 / (DRAWS as f64).sqrt();
            let spread = |power: f64| error * expected.powf(power / 2.0).max(expected.sqrt());
            assert!(moment(1).abs() <= spread(1.0), "{mean}: {}", moment(1));
            assert!(
                (moment(2) - expected).abs() <= 2.0 * spread(2.0),
                "{mean}: {}",
                moment(2)
            );
            assert!(
                (moment(3) - expected).abs() <= 5.0 * spread(3.0),
                "{mean}: {}",
                moment(3)
            );
        }
        // The share of each value beside its probability.
        let mean = 40.0_f64;
        let mut counts = [0_u32; 100];
        for _ in 0..DRAWS {
            if let Some(count) = counts.get_mut(random.poisson(40) as usize) {
                *count += 1;
            }
        }
        for (k, count) in counts.into_iter().enumerate() {
            let probability = (k as f64 * mean.ln() - mean - ln_factorial(k as f64)).exp();
            let deviation = (probability * DRAWS as f64).sqrt();
            assert!(
                (f64::from(count) - probability * DRAWS as f64).abs() <= 5.0 * deviation + 3.0,
                "{k}: {count}"
            );
        }
    }

    #[test]
    fn draws_have_mean_and_variance_one() {
        let mut random = Random::new(1, 2);
        let draws: Vec<f64> = (0..200_000)
            .flat_map(|_| random.poisson_pair())
            .map(f64::from)
            .collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!((mean - 1.0).abs() < 0.01 && (variance - 1.0).abs() < 0.02);
        assert!((0..1000).all(|_| random.below(7) < 7));
    }
}
