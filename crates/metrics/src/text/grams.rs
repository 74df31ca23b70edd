//! Counting n-grams by sorting once.
//!
//! Every position is packed with what follows it into 128 bits, first symbol on top. Sorted, all n-grams of every order lie
//! side by side as prefixes, so one sort serves all orders, and two sorted lists are compared by one walk.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// The n-grams of a sequence, up to an order.
pub(super) struct Grams {
    sorted: Vec<u128>,
    symbols: usize,
    bits: u32,
    order: u32,
}

impl Grams {
    /// Of `symbols`, each from 1 to 2^`bits` − 1; `bits · order` is at most 128. 0 stands for "past the end".
    pub(super) fn new(symbols: &[u32], bits: u32, order: u32) -> Self {
        let mask = u128::MAX >> (128 - bits * order);
        let mut window = 0;
        // From the end, so that each step shifts one symbol in on top.
        let mut sorted: Vec<u128> = symbols
            .iter()
            .rev()
            .map(|&symbol| {
                window = (window >> bits) | (u128::from(symbol) << (bits * (order - 1)));
                window & mask
            })
            .collect();
        sorted.sort_unstable();
        Self {
            sorted,
            symbols: symbols.len(),
            bits,
            order,
        }
    }

    /// How many n-grams of order `n`.
    pub(super) fn count(&self, n: u32) -> u64 {
        (self.symbols + 1).saturating_sub(n as usize) as u64
    }

    /// The n-grams of order `n` in ascending order, repeated as often as they occur.
    fn of_order(&self, n: u32) -> impl Iterator<Item = u128> {
        let last = (1_u128 << self.bits) - 1;
        let shift = self.bits * (self.order - n);
        let grams = self.sorted.iter().map(move |gram| gram >> shift);
        grams.filter(move |gram| gram & last != 0)
    }

    /// How many n-grams of order `n` both have, each as often as in the one that has fewer.
    pub(super) fn matches(&self, other: &Self, n: u32) -> u64 {
        let (mut own, mut others) = (self.of_order(n), other.of_order(n));
        let (mut a, mut b) = (own.next(), others.next());
        let mut matches = 0;
        while let (Some(x), Some(y)) = (a, b) {
            matches += u64::from(x == y);
            if x <= y {
                a = own.next();
            }
            if y <= x {
                b = others.next();
            }
        }
        matches
    }

    /// How many n-grams of order `n` have a match in any of `others`, each as often as in the one that has it most.
    pub(super) fn matches_any(&self, others: &[Self], n: u32) -> u64 {
        if let [other] = others {
            return self.matches(other, n);
        }
        let counts = |grams: &Self| {
            let mut counts: HashMap<u128, u64, BuildHasherDefault<Mix>> = HashMap::default();
            grams
                .of_order(n)
                .for_each(|gram| *counts.entry(gram).or_default() += 1);
            counts
        };
        let others: Vec<_> = others.iter().map(counts).collect();
        let matched = counts(self).into_iter().map(|(gram, count)| {
            let most = others.iter().filter_map(|other| other.get(&gram)).max();
            count.min(most.copied().unwrap_or(0))
        });
        matched.sum()
    }
}

/// Numbers words in the order of appearance, from 1.
#[derive(Default)]
pub(super) struct Vocabulary<'a>(HashMap<&'a str, u32, BuildHasherDefault<Mix>>);

impl<'a> Vocabulary<'a> {
    pub(super) fn numbers(&mut self, words: impl IntoIterator<Item = &'a str>) -> Vec<u32> {
        let words = words.into_iter();
        words
            .map(|word| {
                let next = self.0.len() as u32 + 1;
                *self.0.entry(word).or_insert(next)
            })
            .collect()
    }
}

/// A hash for short words; nothing depends on it but speed, and one pair of texts makes one small table.
#[derive(Default)]
pub(super) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        let rest = rest
            .iter()
            .fold(rest.len() as u64, |sum, byte| (sum << 8) | u64::from(*byte));
        self.write_u64(rest);
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_u128(&mut self, value: u128) {
        self.write_u64(value as u64);
        self.write_u64((value >> 64) as u64);
    }
}
