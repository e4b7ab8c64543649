//! Words that are one token: over half of the words seen for the first time are, and one look at memory tells.

use super::pairs::NONE;
use crate::engine::cache::{KEY_BYTES_BITS, Key};
use crate::memory::{Buffer, prefetch};

/// Longest word that is looked for.
pub const LONGEST_BYTES: usize = 13;

/// Bits of a word's bytes, of these and its length, and of an id.
const BYTES_BITS: u32 = 8 * LONGEST_BYTES as u32;
const WORD_BITS: u32 = BYTES_BITS + 4;
const ID_BITS: u32 = 128 - WORD_BITS;

/// A slot without a word.
const FREE: u128 = u128::MAX;

/// Bits of the filter for each slot of the table.
const FILTER_BITS: usize = 4;

/// The ids of tokens by their bytes, where the token is what becomes of these bytes.
#[derive(Debug)]
pub struct Entries {
    /// The bytes, their number and the id of the token, from the lowest bits up; linear probing.
    slots: Buffer<u128>,
    shift: u32,
    /// A bit for each word there is, by its hash, and some that are shared: of the words that are new to a process that has read much, two
    /// thirds are no tokens, and this lies in a nearer cache than the table.
    filter: Box<[u64]>,
}

/// The bytes and length of a short word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word(u128);

impl Word {
    /// In place of a word that is too long to be looked for.
    pub const TOO_LONG: Self = Self(0);

    /// Of no more than [`LONGEST_BYTES`].
    #[inline]
    pub fn new(word: &[u8]) -> Self {
        let half = |bytes: &[u8]| u64::from_le_bytes(std::array::from_fn(|i| bytes.get(i).copied().unwrap_or_default()));
        let bytes = match (word.first_chunk::<8>(), word.last_chunk::<8>()) {
            (Some(first), Some(last)) => {
                u128::from(u64::from_le_bytes(*first)) | u128::from(u64::from_le_bytes(*last)) << (8 * (word.len() - 8))
            }
            _ => match (word.first_chunk::<4>(), word.last_chunk::<4>()) {
                (Some(first), Some(last)) => {
                    u128::from(u32::from_le_bytes(*first)) | u128::from(u32::from_le_bytes(*last)) << (8 * (word.len() - 4))
                }
                _ => u128::from(half(word)),
            },
        };
        Self(bytes | (word.len() as u128) << BYTES_BITS)
    }

    /// Of the key that the cache knows it by; None where it is too long.
    #[inline]
    pub fn of_key(key: Key) -> Option<Self> {
        let n_bytes = key >> KEY_BYTES_BITS;
        (n_bytes <= LONGEST_BYTES as u128).then_some(Self(key & ((1 << BYTES_BITS) - 1) | n_bytes << BYTES_BITS))
    }

    /// Both, one after the other.
    pub fn joined(self, other: Self) -> Self {
        let n_bytes = self.n_bytes() + other.n_bytes();
        if self == Self::TOO_LONG || other == Self::TOO_LONG || n_bytes as usize > LONGEST_BYTES {
            return Self::TOO_LONG;
        }
        Self(self.bytes() | other.bytes() << (8 * self.n_bytes()) | u128::from(n_bytes) << BYTES_BITS)
    }

    fn bytes(self) -> u128 {
        self.0 & ((1 << BYTES_BITS) - 1)
    }

    fn n_bytes(self) -> u32 {
        (self.0 >> BYTES_BITS) as u32
    }
}

impl Entries {
    /// No words, with room for these.
    pub fn new(n_words: usize) -> Self {
        let n_slots = (n_words + n_words / 2).next_power_of_two().max(16);
        Self {
            slots: Buffer::filled(n_slots, FREE),
            shift: 64 - n_slots.trailing_zeros(),
            filter: vec![0; n_slots * FILTER_BITS / 64].into(),
        }
    }

    /// A word that is not there yet; one whose id does not fit is left out.
    pub fn insert(&mut self, word: Word, id: u32) {
        if id >= (1 << ID_BITS) - 1 {
            return;
        }
        let hash = hash(word);
        let (number, bit) = self.filter_bit(hash);
        self.filter[number] |= bit;
        let mut slot = self.first_slot(hash);
        while self.slots[slot] != FREE {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = word.0 | u128::from(id) << WORD_BITS;
    }

    /// Asks for the memory where the word would be, if it may be there. Without a branch, which would mispredict.
    #[inline]
    pub fn expect(&self, word: Word) {
        let hash = hash(word);
        prefetch(&self.slots[self.first_slot(hash) * usize::from(self.may_be_there(hash))]);
    }

    /// The id of the token that is this word, or [`NONE`].
    #[inline]
    pub fn get(&self, word: Word) -> u32 {
        let hash = hash(word);
        if !self.may_be_there(hash) {
            return NONE;
        }
        let mut slot = self.first_slot(hash);
        loop {
            let found = self.slots[slot];
            if found & ((1 << WORD_BITS) - 1) == word.0 {
                return (found >> WORD_BITS) as u32;
            }
            if found == FREE {
                return NONE;
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    #[inline]
    fn may_be_there(&self, hash: u64) -> bool {
        let (number, bit) = self.filter_bit(hash);
        self.filter[number] & bit != 0
    }

    /// Where in the filter the bit of a word is.
    #[inline]
    fn filter_bit(&self, hash: u64) -> (usize, u64) {
        let bit = hash >> (self.shift - FILTER_BITS.trailing_zeros());
        (bit as usize / 64, 1 << (bit % 64))
    }

    #[inline]
    fn first_slot(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }
}

#[inline]
fn hash(word: Word) -> u64 {
    let product = u128::from(word.0 as u64 ^ 0x9E37_79B9_7F4A_7C15) * u128::from((word.0 >> 64) as u64 ^ 0xD1B5_4A32_D192_ED03);
    (product as u64 ^ (product >> 64) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::cache::{NO_KEY, key};

    #[test]
    fn a_word_is_found_and_no_other_is() {
        let bytes: Vec<u8> = (0..LONGEST_BYTES as u8).collect();
        let mut entries = Entries::new(LONGEST_BYTES);
        (1..=LONGEST_BYTES).for_each(|length| entries.insert(Word::new(&bytes[..length]), length as u32));
        for length in 1..=LONGEST_BYTES {
            assert_eq!(entries.get(Word::new(&bytes[..length])), length as u32);
            assert_eq!(entries.get(Word::new(&bytes[1..length])), NONE);
        }
        assert_eq!(entries.get(Word::new(b"\0\0")), NONE, "zeros count");
    }

    #[test]
    fn a_words_key_tells_it() {
        let bytes: Vec<u8> = (1..=15).collect();
        for length in 1..=15 {
            let expected = (length <= LONGEST_BYTES).then(|| Word::new(&bytes[..length]));
            assert_eq!(Word::of_key(bytemuck::cast(key(&bytes, 0, length))), expected);
        }
        assert_eq!(Word::of_key(NO_KEY), None);
    }

    #[test]
    fn words_join_as_their_bytes_do() {
        let bytes: Vec<u8> = (1..=14).collect();
        for start in 1..13 {
            for end in start + 1..=14 {
                let joined = Word::new(&bytes[..start]).joined(Word::new(&bytes[start..end]));
                assert_eq!(joined, if end <= LONGEST_BYTES { Word::new(&bytes[..end]) } else { Word::TOO_LONG });
            }
        }
    }
}
