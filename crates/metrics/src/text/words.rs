//! Words as numbers.

/// Numbers words in the order of appearance, from 1; made to be used again for the next texts.
///
/// A small open hash table: nothing depends on its hash but speed, and one pair of texts makes one table.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// Numbers of words at the places of their hashes, 0 where there is none; a power of two of them.
    slots: Vec<u32>,
    hashes: Vec<u64>,
    /// The words one after another, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Words {
    /// Forgets all words.
    pub(super) fn clear(&mut self) {
        self.slots.fill(0);
        self.hashes.clear();
        self.bytes.clear();
        self.ends.clear();
    }

    /// How many words have a number.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The number of a word, the next one if it is new.
    pub(super) fn number(&mut self, word: &[u8]) -> u32 {
        if self.ends.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let hash = hash(word);
        let place = self.place(word, hash);
        if self.slots[place] == 0 {
            self.bytes.extend_from_slice(word);
            self.ends.push(self.bytes.len());
            self.hashes.push(hash);
            self.slots[place] = self.ends.len() as u32;
        }
        self.slots[place]
    }

    /// The number of a word, 0 if it has none.
    pub(super) fn find(&self, word: &[u8]) -> u32 {
        if self.slots.is_empty() {
            return 0;
        }
        self.slots[self.place(word, hash(word))]
    }

    /// Where the word is, or would be.
    fn place(&self, word: &[u8], hash: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut place = hash as usize & mask;
        loop {
            let number = self.slots[place] as usize;
            if number == 0 || (self.hashes[number - 1] == hash && self.word(number) == word) {
                return place;
            }
            place = (place + 1) & mask;
        }
    }

    fn word(&self, number: usize) -> &[u8] {
        let from = if number > 1 { self.ends[number - 2] } else { 0 };
        &self.bytes[from..self.ends[number - 1]]
    }

    fn grow(&mut self) {
        let slots = (self.slots.len() * 2).max(128);
        self.slots.clear();
        self.slots.resize(slots, 0);
        for (at, hash) in self.hashes.iter().enumerate() {
            let mut place = *hash as usize & (slots - 1);
            while self.slots[place] != 0 {
                place = (place + 1) & (slots - 1);
            }
            self.slots[place] = at as u32 + 1;
        }
    }
}

fn hash(word: &[u8]) -> u64 {
    let mix = |hash: u64, bits: u64| (hash.rotate_left(23) ^ bits).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (eights, rest) = word.as_chunks::<8>();
    let sum = eights
        .iter()
        .fold(0, |sum, eight| mix(sum, u64::from_le_bytes(*eight)));
    let last = rest
        .iter()
        .fold(rest.len() as u64, |sum, byte| (sum << 8) | u64::from(*byte));
    let sum = mix(sum, last);
    sum ^ (sum >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_numbers() {
        let mut words = Words::default();
        assert_eq!(words.find(b"one"), 0);
        for round in 0..2 {
            let texts: Vec<String> = (0..1000)
                .map(|i| format!("word number {}", i * (round + 1)))
                .collect();
            for (at, text) in texts.iter().enumerate() {
                assert_eq!(words.number(text.as_bytes()), at as u32 + 1);
            }
            for (at, text) in texts.iter().enumerate() {
                assert_eq!(words.number(text.as_bytes()), at as u32 + 1);
                assert_eq!(words.find(text.as_bytes()), at as u32 + 1);
            }
            assert_eq!((words.find(b""), words.len()), (0, 1000));
            words.clear();
            assert_eq!((words.find(b"word number 0"), words.len()), (0, 0));
        }
    }
}
