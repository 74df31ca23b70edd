//! Edit distance.

use std::collections::HashMap;

/// The fewest insertions, deletions and substitutions of one character that turn `a` into `b`.
///
/// Takes |a| · |b| / 64 steps. Source: Myers 1999, "A Fast Bit-Vector Algorithm for Approximate String Matching Based on
/// Dynamic Programming", <https://doi.org/10.1145/316542.316550>, in blocks as Hyyrö 2003.
pub fn levenshtein(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let prefix = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[prefix..], &b[prefix..]);
    let suffix = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .take_while(|(x, y)| x == y)
        .count();
    let (a, b) = (&a[..a.len() - suffix], &b[..b.len() - suffix]);
    if a.is_empty() || b.is_empty() {
        return a.len().max(b.len());
    }
    let blocks = a.len().div_ceil(64);
    let mut places: HashMap<char, Vec<u64>> = HashMap::new();
    for (at, &c) in a.iter().enumerate() {
        places.entry(c).or_insert_with(|| vec![0; blocks])[at / 64] |= 1 << (at % 64);
    }
    let nowhere = vec![0; blocks];
    // Bits of the column: where the next cell down is one more, one less.
    let (mut more, mut less) = (vec![u64::MAX; blocks], vec![0_u64; blocks]);
    let last = 1_u64 << ((a.len() - 1) % 64);
    let mut distance = a.len();
    for c in b {
        let places = places.get(c).unwrap_or(&nowhere);
        // The row above the table grows by one with each column.
        let (mut more_in, mut less_in) = (1_u64, 0_u64);
        for block in 0..blocks {
            let (up, down) = (more[block], less[block]);
            let same = places[block] | less_in;
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
            let vertical = places[block] | down;
            more[block] = horizontal_less | !(vertical | horizontal_more);
            less[block] = horizontal_more & vertical;
            (more_in, less_in) = carry;
        }
    }
    distance
}

/// 1 − distance / length of the longer text, in [0, 1]; 1 for two empty texts.
pub fn levenshtein_ratio(a: &str, b: &str) -> f64 {
    let longer = a.chars().count().max(b.chars().count());
    if longer == 0 {
        return 1.0;
    }
    1.0 - levenshtein(a, b) as f64 / longer as f64
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
