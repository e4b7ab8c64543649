//! Which merge takes a pair of tokens.
//!
//! Tokens have a number of their own here: a byte its value, and what a merge makes 256 and the rank of the (first) merge that makes it.
//! So one number is rank and result, and a pair with its merge fits into 8 bytes: merging waits for this table to come from memory, and
//! half the bytes are half the waiting.

use crate::memory::{Buffer, prefetch};

/// Numbers of the tokens that merges make start here.
pub const FIRST_MERGE: u32 = 256;

/// Bits of a number: three of them fit into a slot.
pub const NUMBER_BITS: u32 = 21;

/// No merge; all numbers are below.
pub const NONE: u32 = (1 << NUMBER_BITS) - 1;

/// Bits of the filter for each slot of the table.
const FILTER_BITS: usize = 4;

/// A slot without a pair, whose merge is [`NONE`].
const FREE: u64 = u64::MAX;

/// The merges by their pairs.
#[derive(Debug)]
pub struct Pairs {
    /// By left and right byte: most look-ups are of two bytes.
    of_bytes: Box<[u32]>,
    /// Left, right and merge, from the highest bits down; linear probing.
    slots: Buffer<u64>,
    shift: u32,
    /// A bit for each pair there is, by its hash, and some that are shared: most pairs that are asked for do not exist, and this lies in a
    /// nearer cache than the table.
    filter: Box<[u64]>,
}

/// A first look at the slot where a pair should be.
struct Look {
    pair: u64,
    slot: usize,
    content: u64,
}

impl Pairs {
    /// A table without pairs, for up to `n_pairs`. Numbers of tokens and merges are below [`NONE`].
    pub fn new(n_pairs: usize) -> Self {
        let n_slots = (n_pairs + n_pairs / 2).next_power_of_two().max(16);
        Self {
            of_bytes: vec![NONE; 1 << 16].into(),
            slots: Buffer::filled(n_slots, FREE),
            shift: 64 - n_slots.trailing_zeros(),
            filter: vec![0; n_slots * FILTER_BITS / 64].into(),
        }
    }

    /// Of equal pairs the last counts.
    pub fn insert(&mut self, left: u32, right: u32, merge: u32) {
        if (left | right) < FIRST_MERGE {
            self.of_bytes[(left << 8 | right) as usize] = merge;
            return;
        }
        let pair = pair(left, right);
        let mut slot = self.first_slot(pair);
        let (word, bit) = self.filter_bit(pair);
        self.filter[word] |= bit;
        while self.slots[slot] != FREE && self.slots[slot] >> NUMBER_BITS != pair {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = pair << NUMBER_BITS | u64::from(merge);
    }

    /// The merge of a pair, or [`NONE`].
    #[inline(always)]
    pub fn get(&self, left: u32, right: u32) -> u32 {
        if (left | right) < FIRST_MERGE { self.of_bytes[(left << 8 | right) as usize] } else { self.found(self.look(left, right)) }
    }

    /// The merges of two pairs that are not of bytes only: both are on their way from memory before either is looked at.
    #[inline(always)]
    pub fn get_both(&self, one: [u32; 2], other: [u32; 2]) -> [u32; 2] {
        let looks = [self.look(one[0], one[1]), self.look(other[0], other[1])];
        looks.map(|look| self.found(look))
    }

    /// Asks for the memory that the merge of a pair is in, if there is one. Without a branch, which would mispredict.
    #[inline(always)]
    pub fn expect(&self, left: u32, right: u32) {
        let pair = pair(left, right);
        let (word, bit) = self.filter_bit(pair);
        let is_there = self.filter[word] & bit != 0;
        prefetch(&self.slots[self.first_slot(pair) * usize::from(is_there)]);
    }

    /// The merge of a pair of bytes, or [`NONE`].
    #[inline(always)]
    pub fn of_bytes(&self, left: u8, right: u8) -> u32 {
        self.of_bytes[usize::from(left) << 8 | usize::from(right)]
    }

    #[inline(always)]
    fn look(&self, left: u32, right: u32) -> Look {
        let pair = pair(left, right);
        let (word, bit) = self.filter_bit(pair);
        if self.filter[word] & bit == 0 {
            return Look { pair, slot: 0, content: FREE };
        }
        let slot = self.first_slot(pair);
        Look { pair, slot, content: self.slots[slot] }
    }

    #[inline(always)]
    fn found(&self, Look { pair, mut slot, mut content }: Look) -> u32 {
        while content >> NUMBER_BITS != pair && content != FREE {
            slot = (slot + 1) & (self.slots.len() - 1);
            content = self.slots[slot];
        }
        content as u32 & NONE
    }

    /// Where in the filter the bit of a pair is.
    #[inline(always)]
    fn filter_bit(&self, pair: u64) -> (usize, u64) {
        let bit = pair.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (self.shift - FILTER_BITS.trailing_zeros());
        (bit as usize / 64, 1 << (bit % 64))
    }

    #[inline(always)]
    fn first_slot(&self, pair: u64) -> usize {
        (pair.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize
    }
}

#[inline(always)]
fn pair(left: u32, right: u32) -> u64 {
    u64::from(left) << NUMBER_BITS | u64::from(right)
}
