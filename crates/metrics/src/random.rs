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
