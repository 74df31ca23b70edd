//! Counting n-grams that two texts have in common.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// Numbers of the n-grams of one order. An n-gram is that of its first n − 1 symbols and one symbol more, so the place of
/// its number follows from the number of its beginning.
trait Numbers {
    /// The number at a place, 0 if there is none.
    fn get(&self, place: usize) -> u32;

    /// The number at a place, `next` from now on if there was none.
    fn get_or(&mut self, place: usize, next: u32) -> u32;

    /// Forgets all numbers.
    fn clear(&mut self);
}

/// All places side by side.
#[derive(Debug, Default)]
struct Side {
    numbers: Vec<u32>,
    taken: Vec<usize>,
}

/// Taken places only, for long texts.
#[derive(Debug, Default)]
struct Sparse(HashMap<usize, u32, BuildHasherDefault<Mix>>);

/// The most places that may lie side by side: 4 MiB.
const MOST_PLACES: usize = 1 << 20;

/// Matches n-grams of a text with those of references; made to be used again for the next texts.
#[derive(Debug, Default)]
pub(super) struct Grams {
    side: Side,
    sparse: Sparse,
    counts: Counts,
}

/// The n-grams of one order after another.
#[derive(Debug, Default)]
struct Counts {
    /// The number of the n-gram that begins at each symbol, of the references one after another and of the text.
    of_references: Vec<u32>,
    of_text: Vec<u32>,
    /// How often a text may still have each n-gram: the most that one reference has it.
    left: Vec<u32>,
    /// The same of one reference that is not the first.
    further: Vec<u32>,
}

impl Grams {
    /// How many n-grams of orders 1, 2, … of `text` a reference has too, each as often as in the reference that has it
    /// most.
    ///
    /// Symbols of references are numbers from 1 to `symbols`; those of `text` that no reference has are 0.
    pub(super) fn matches<const ORDER: usize>(
        &mut self,
        text: &[u32],
        references: &[&[u32]],
        symbols: usize,
    ) -> [u64; ORDER] {
        let mut matches = [0; ORDER];
        let counts = &mut self.counts;
        counts.of_text.clear();
        counts.of_text.extend_from_slice(text);
        counts.of_references.clear();
        for reference in references {
            counts.of_references.extend_from_slice(reference);
        }
        let mut numbers = symbols;
        for (order, matches) in (1..).zip(&mut matches) {
            if order > 1 {
                let places = (numbers + 1) * (symbols + 1);
                numbers = if places <= MOST_PLACES {
                    if self.side.numbers.len() < places {
                        self.side.numbers.resize(places, 0);
                    }
                    counts.lengthen(&mut self.side, text, references, order, symbols)
                } else {
                    counts.lengthen(&mut self.sparse, text, references, order, symbols)
                };
            }
            *matches = counts.matches(references, order, numbers);
            if *matches == 0 {
                // Longer ones do not match either.
                break;
            }
        }
        matches
    }
}

/// How many n-grams of order `n` a text of so many symbols has.
pub(super) fn count(symbols: usize, n: usize) -> u64 {
    (symbols + 1).saturating_sub(n) as u64
}

impl Counts {
    /// Makes n-grams of order `order` out of those of the order below, and says how many differ.
    fn lengthen(
        &mut self,
        numbers: &mut impl Numbers,
        text: &[u32],
        references: &[&[u32]],
        order: usize,
        symbols: usize,
    ) -> usize {
        let (width, mut next, mut from) = (symbols + 1, 1, 0);
        for reference in references {
            let own = &mut self.of_references[from..from + reference.len()];
            from += reference.len();
            for (number, &symbol) in own.iter_mut().zip(reference.get(order - 1..).unwrap_or_default()) {
                *number = numbers.get_or(*number as usize * width + symbol as usize, next);
                next += u32::from(*number == next);
            }
        }
        // What did not match has number 0, and from there on no number is ever given.
        for (number, &symbol) in self
            .of_text
            .iter_mut()
            .zip(text.get(order - 1..).unwrap_or_default())
        {
            *number = numbers.get(*number as usize * width + symbol as usize);
        }
        numbers.clear();
        next as usize - 1
    }

    fn matches(&mut self, references: &[&[u32]], order: usize, numbers: usize) -> u64 {
        self.left.clear();
        self.left.resize(numbers + 1, 0);
        let mut from = 0;
        for (at, reference) in references.iter().enumerate() {
            let to = from + (reference.len() + 1).saturating_sub(order);
            let own = &self.of_references[from..to];
            from += reference.len();
            if at == 0 {
                own.iter().for_each(|&number| self.left[number as usize] += 1);
                continue;
            }
            self.further.clear();
            self.further.resize(numbers + 1, 0);
            own.iter().for_each(|&number| self.further[number as usize] += 1);
            for (most, further) in self.left.iter_mut().zip(&self.further) {
                *most = (*most).max(*further);
            }
        }
        let own = (self.of_text.len() + 1).saturating_sub(order);
        let mut matches = 0;
        for &number in &self.of_text[..own] {
            let left = &mut self.left[number as usize];
            let one = u32::from(*left > 0);
            *left -= one;
            matches += u64::from(one);
        }
        matches
    }
}

impl Numbers for Side {
    #[inline]
    fn get(&self, place: usize) -> u32 {
        self.numbers[place]
    }

    #[inline]
    fn get_or(&mut self, place: usize, next: u32) -> u32 {
        let number = &mut self.numbers[place];
        if *number == 0 {
            *number = next;
            self.taken.push(place);
        }
        *number
    }

    fn clear(&mut self) {
        for place in self.taken.drain(..) {
            self.numbers[place] = 0;
        }
    }
}

impl Numbers for Sparse {
    fn get(&self, place: usize) -> u32 {
        self.0.get(&place).copied().unwrap_or(0)
    }

    fn get_or(&mut self, place: usize, next: u32) -> u32 {
        *self.0.entry(place).or_insert(next)
    }

    fn clear(&mut self) {
        self.0 = HashMap::default();
    }
}

/// A hash of places; nothing depends on it but speed.
#[derive(Debug, Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_usize(usize::from(*byte)));
    }

    fn write_usize(&mut self, value: usize) {
        self.0 = (self.0.rotate_left(23) ^ value as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    fn by_counting<const ORDER: usize>(text: &[u32], references: &[&[u32]]) -> [u64; ORDER] {
        std::array::from_fn(|at| {
            let counts = |symbols: &[u32]| {
                let mut counts: HashMap<Vec<u32>, u64> = HashMap::new();
                for gram in symbols.windows(at + 1) {
                    *counts.entry(gram.to_vec()).or_default() += 1;
                }
                counts
            };
            let references: Vec<_> = references.iter().map(|reference| counts(reference)).collect();
            let most = |gram: &Vec<u32>| {
                references
                    .iter()
                    .filter_map(|counts| counts.get(gram))
                    .max()
                    .copied()
            };
            let own = counts(text);
            own.iter()
                .map(|(gram, count)| most(gram).unwrap_or(0).min(*count))
                .sum()
        })
    }

    #[test]
    fn matches_are_those_of_counting() {
        let mut random = Random::new(9, 1);
        let mut grams = Grams::default();
        for case in 0..600 {
            // The long ones of many symbols have more places than may lie side by side.
            let (symbols, most) = if case % 100 == 0 {
                (900, 3000)
            } else {
                (1 + case % 7, 40)
            };
            let mut symbols_of = |low: u64| -> Vec<u32> {
                let length = random.below(most);
                (0..length)
                    .map(|_| (low + random.below(symbols)) as u32)
                    .collect()
            };
            let references: Vec<Vec<u32>> = (0..case % 4).map(|_| symbols_of(1)).collect();
            let references: Vec<&[u32]> = references.iter().map(Vec::as_slice).collect();
            let known = |symbol: u32| references.iter().any(|reference| reference.contains(&symbol));
            let text: Vec<u32> = symbols_of(1)
                .into_iter()
                .map(|symbol| if known(symbol) { symbol } else { 0 })
                .collect();
            let found = grams.matches::<6>(&text, &references, symbols as usize);
            assert_eq!(
                found,
                by_counting::<6>(&text, &references),
                "{text:?} {references:?}"
            );
        }
    }
}
