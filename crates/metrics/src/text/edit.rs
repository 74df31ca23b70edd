//! Edit distance.

use std::collections::HashMap;

/// The fewest insertions, deletions and substitutions of one character that turn `a` into `b`.
///
/// Takes |a| · |b| / 64 steps. Source: Myers 1999, "A Fast Bit-Vector Algorithm for Approximate String Matching Based on
/// Dynamic Programming", <https://doi.org/10.1145/316542.316550>, in blocks as Hyyrö 2003.
pub fn levenshtein(a: &str, b: &str) -> usize {
    EditScorer::default().distance(a, b)
}

/// Computes edit distances; made to be used again for the next texts.
#[derive(Debug, Default)]
pub(super) struct EditScorer {
    a: Vec<char>,
    b: Vec<char>,
    /// Where in `a` each of the first 128 characters is: bits in blocks of 64, one character after another.
    ascii: Vec<u64>,
    others: HashMap<char, Vec<u64>>,
    more: Vec<u64>,
    less: Vec<u64>,
}

impl EditScorer {
    pub(super) fn distance(&mut self, a: &str, b: &str) -> usize {
        self.a.clear();
        self.a.extend(a.chars());
        self.b.clear();
        self.b.extend(b.chars());
        let (a, b) = differing(&self.a, &self.b);
        if a.is_empty() || b.is_empty() {
            return a.len().max(b.len());
        }
        let blocks = a.len().div_ceil(64);
        self.ascii.clear();
        self.ascii.resize(128 * blocks, 0);
        self.others.clear();
        for (at, &c) in a.iter().enumerate() {
            let places = match self.ascii.get_mut(c as usize * blocks..(c as usize + 1) * blocks) {
                Some(places) => places,
                None => self.others.entry(c).or_insert_with(|| vec![0; blocks]),
            };
            places[at / 64] |= 1 << (at % 64);
        }
        // Bits of the column: where the next cell down is one more, one less.
        for (bits, all) in [(&mut self.more, u64::MAX), (&mut self.less, 0)] {
            bits.clear();
            bits.resize(blocks, all);
        }
        let last = 1_u64 << ((a.len() - 1) % 64);
        let mut distance = a.len();
        for &c in b {
            let places = match self.ascii.get(c as usize * blocks..(c as usize + 1) * blocks) {
                Some(places) => places,
                None => self.others.get(&c).map_or(&[][..], Vec::as_slice),
            };
            // The row above the table grows by one with each column.
            let (mut more_in, mut less_in) = (1_u64, 0_u64);
            let column = self.more.iter_mut().zip(&mut self.less).enumerate();
            for (block, (more, less)) in column {
                let (up, down) = (*more, *less);
                let place = places.get(block).copied().unwrap_or(0);
                let same = place | less_in;
                let diagonal = ((same & up).wrapping_add(up) ^ up) | same | down;
                let mut horizontal_more = down | !(diagonal | up);
                let mut horizontal_less = up & diagonal;
                if block + 1 == blocks {
                    distance += usize::from(horizontal_more & last != 0);
                    distance -= usize::from(horizontal_less & last != 0);
                }
                let carry = (horizontal_more >> 63, horizontal_less >> 63);
                horizontal_more = (horizontal_more << 1) | more_in;
                horizontal_less = (horizontal_less << 1) | less_in;
                let vertical = place | down;
                *more = horizontal_less | !(vertical | horizontal_more);
                *less = horizontal_more & vertical;
                (more_in, less_in) = carry;
            }
        }
        distance
    }

    /// See [`levenshtein_ratio`].
    pub(super) fn ratio(&mut self, a: &str, b: &str) -> f64 {
        let distance = self.distance(a, b);
        match self.a.len().max(self.b.len()) {
            0 => 1.0,
            longer => 1.0 - distance as f64 / longer as f64,
        }
    }
}

/// Both without what they begin and end with alike.
fn differing<'a>(a: &'a [char], b: &'a [char]) -> (&'a [char], &'a [char]) {
    let prefix = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[prefix..], &b[prefix..]);
    let pairs = a.iter().rev().zip(b.iter().rev());
    let suffix = pairs.take_while(|(x, y)| x == y).count();
    (&a[..a.len() - suffix], &b[..b.len() - suffix])
}

/// 1 − distance / length of the longer text, in [0, 1]; 1 for two empty texts.
pub fn levenshtein_ratio(a: &str, b: &str) -> f64 {
    EditScorer::default().ratio(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    fn by_table(a: &[char], b: &[char]) -> usize {
        let mut row: Vec<usize> = (0..=b.len()).collect();
        for (i, x) in a.iter().enumerate() {
            let mut diagonal = row[0];
            row[0] = i + 1;
            for (j, y) in b.iter().enumerate() {
                let cell = (diagonal + usize::from(x != y))
                    .min(row[j] + 1)
                    .min(row[j + 1] + 1);
                diagonal = row[j + 1];
                row[j + 1] = cell;
            }
        }
        row[b.len()]
    }

    #[test]
    fn distances_are_those_of_the_table() {
        let mut random = Random::new(5, 5);
        for case in 0..1500 {
            let mut text = || -> Vec<char> {
                let length = random.below(if case % 3 == 0 { 300 } else { 20 });
                (0..length)
                    .map(|_| ['a', 'b', 'c', 'é'][random.below(4) as usize])
                    .collect()
            };
            let (a, b) = (text(), text());
            let found = levenshtein(&a.iter().collect::<String>(), &b.iter().collect::<String>());
            assert_eq!(found, by_table(&a, &b), "{a:?} {b:?}");
        }
        assert_eq!(levenshtein("kitten", "sitting"), 3);
        assert_eq!(levenshtein_ratio("", ""), 1.0);
        assert_eq!(levenshtein_ratio("abc", ""), 0.0);
    }
}
