//! Byte-pair encoding of one word.
//!
//! Tokens have a number of their own here: a byte its value, and what a merge makes 256 and the rank of the (first) merge that makes it.
//! So the table of pairs has one number for rank and result.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// No merge.
pub const NONE: u32 = u32::MAX;

/// In place of the id of a byte that is in no text.
pub const UNUSED: u32 = u32::MAX;

/// Numbers of the tokens that merges make start here.
pub const FIRST_MERGE: u32 = 256;

/// Longest word that is merged by looking for the best pair again and again: quadratic, but without any memory but the stack.
const SHORT_BYTES: usize = 64;

/// The merges of a model.
#[derive(Debug)]
pub struct Merges {
    /// By left and right byte: most look-ups are of two bytes.
    of_bytes: Box<[u32]>,
    of_others: PairTable,
    /// By merge: the number of what it makes.
    made: Vec<u32>,
    /// By number: the id in the vocabulary.
    ids: Vec<u32>,
    /// Every token is made by one merge at most, so that numbers say when they are made.
    is_unique: bool,
}

/// A flat hash table from pairs of tokens to merges.
#[derive(Debug)]
struct PairTable {
    slots: Vec<(u64, u32)>,
    shift: u32,
}

const FREE: u64 = u64::MAX;

impl PairTable {
    fn new(n_pairs: usize) -> Self {
        let n_slots = (n_pairs * 2).next_power_of_two().max(16);
        Self { slots: vec![(FREE, NONE); n_slots], shift: 64 - n_slots.trailing_zeros() }
    }

    #[inline]
    fn slot(&self, key: u64) -> usize {
        let mut slot = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize;
        while self.slots[slot].0 != key && self.slots[slot].0 != FREE {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        slot
    }

    fn insert(&mut self, left: u32, right: u32, merge: u32) {
        let key = pair_key(left, right);
        let slot = self.slot(key);
        self.slots[slot] = (key, merge);
    }

    #[inline]
    fn get(&self, left: u32, right: u32) -> u32 {
        self.slots[self.slot(pair_key(left, right))].1
    }
}

fn pair_key(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

impl Merges {
    /// From ids of bytes, and of left part, right part and result of the merges in the order of their ranks. Of equal pairs the last
    /// counts. Ids are below `n_ids`.
    pub fn new(byte_ids: &[u32; 256], merges: &[[u32; 3]], n_ids: usize) -> Self {
        let mut numbers = vec![NONE; n_ids];
        for (&id, byte) in byte_ids.iter().zip(0..) {
            if id != UNUSED {
                numbers[id as usize] = byte;
            }
        }
        let (mut ids, mut made, mut is_unique) = (byte_ids.to_vec(), Vec::with_capacity(merges.len()), true);
        for (&[_, _, id], number) in merges.iter().zip(FIRST_MERGE..) {
            is_unique &= numbers[id as usize] == NONE;
            if numbers[id as usize] == NONE {
                numbers[id as usize] = number;
            }
            made.push(numbers[id as usize]);
            ids.push(id);
        }
        let mut all = Self { of_bytes: vec![NONE; 1 << 16].into(), of_others: PairTable::new(merges.len()), made, ids, is_unique };
        for (&[left, right, _], number) in merges.iter().zip(FIRST_MERGE..) {
            // What no merge makes cannot be merged.
            match (numbers[left as usize], numbers[right as usize]) {
                (NONE, _) | (_, NONE) => {}
                (left @ 0..FIRST_MERGE, right @ 0..FIRST_MERGE) => all.of_bytes[(left << 8 | right) as usize] = number,
                (left, right) => all.of_others.insert(left, right, number),
            }
        }
        all
    }

    /// The merge of a pair, as 256 and its rank.
    #[inline]
    fn get(&self, left: u32, right: u32) -> u32 {
        if (left | right) < FIRST_MERGE { self.of_bytes[(left << 8 | right) as usize] } else { self.of_others.get(left, right) }
    }

    /// What a merge makes.
    fn made(&self, merge: u32) -> u32 {
        self.made[(merge - FIRST_MERGE) as usize]
    }

    /// Calls `emit` with the id and length of every token of a word.
    #[inline]
    pub fn merge(&self, word: &[u8], mut emit: impl FnMut(u32, usize)) {
        if word.len() <= SHORT_BYTES && self.is_unique {
            self.merge_short(word, &mut emit);
        } else {
            self.merge_any(word, &mut emit);
        }
    }

    /// The best pair, leftmost of equals, until there is none. For unique results only, where merges are in order of their results.
    fn merge_short(&self, word: &[u8], emit: &mut impl FnMut(u32, usize)) {
        let (mut tokens, mut starts, mut merges) = ([0_u32; SHORT_BYTES], [0_u8; SHORT_BYTES + 1], [NONE; SHORT_BYTES]);
        let mut n = word.len();
        for (i, &byte) in word.iter().enumerate() {
            (tokens[i], starts[i]) = (u32::from(byte), i as u8);
        }
        for i in 1..n {
            merges[i - 1] = self.of_bytes[usize::from(word[i - 1]) << 8 | usize::from(word[i])];
        }
        starts[n] = n as u8;
        loop {
            let (mut best, mut at) = (NONE, 0);
            for (i, &merge) in merges[..n].iter().enumerate() {
                if merge < best {
                    (best, at) = (merge, i);
                }
            }
            if best == NONE {
                break;
            }
            tokens[at] = best;
            tokens.copy_within(at + 2..n, at + 1);
            merges.copy_within(at + 1..n, at);
            starts.copy_within(at + 2..=n, at + 1);
            n -= 1;
            if at > 0 {
                merges[at - 1] = self.get(tokens[at - 1], best);
            }
            merges[at] = if at + 1 < n { self.get(best, tokens[at + 1]) } else { NONE };
        }
        for i in 0..n {
            emit(self.ids[tokens[i] as usize], usize::from(starts[i + 1] - starts[i]));
        }
    }

    /// As `Word::merge_all` of `tokenizers`, stale entries of its queue included: one that would make the same token of other parts counts.
    fn merge_any(&self, word: &[u8], emit: &mut impl FnMut(u32, usize)) {
        let mut symbols = Symbols::new(word);
        let mut queue = BinaryHeap::new();
        for at in 1..word.len() {
            let merge = self.get(u32::from(word[at - 1]), u32::from(word[at]));
            if merge != NONE {
                queue.push(Reverse((merge, at as u32 - 1)));
            }
        }
        while let Some(Reverse((merge, at))) = queue.pop() {
            let next = symbols.next(at);
            if symbols.tokens[at as usize] == NONE || next as usize >= word.len() {
                continue;
            }
            let token = self.made(merge);
            let current = self.get(symbols.tokens[at as usize], symbols.tokens[next as usize]);
            if current == NONE || self.made(current) != token {
                continue;
            }
            symbols.join(at, next, token);
            if let Some(before) = symbols.before(at) {
                let merge = self.get(symbols.tokens[before as usize], token);
                if merge != NONE {
                    queue.push(Reverse((merge, before)));
                }
            }
            let after = symbols.next(at);
            if (after as usize) < word.len() {
                let merge = self.get(token, symbols.tokens[after as usize]);
                if merge != NONE {
                    queue.push(Reverse((merge, at)));
                }
            }
        }
        symbols.each(|token, length| emit(self.ids[token as usize], length));
    }
}

/// The tokens of a word by the byte they start at, and how long they are: at the first byte, for the next, and at the last byte, for the
/// one before.
struct Symbols {
    tokens: Vec<u32>,
    lengths: Vec<u32>,
}

impl Symbols {
    fn new(word: &[u8]) -> Self {
        Self { tokens: word.iter().map(|&byte| u32::from(byte)).collect(), lengths: vec![1; word.len()] }
    }

    fn next(&self, at: u32) -> u32 {
        at + self.lengths[at as usize]
    }

    fn before(&self, at: u32) -> Option<u32> {
        (at > 0).then(|| at - self.lengths[at as usize - 1])
    }

    fn join(&mut self, left: u32, right: u32, token: u32) {
        let end = self.next(right);
        self.tokens[right as usize] = NONE;
        self.tokens[left as usize] = token;
        self.lengths[left as usize] = end - left;
        self.lengths[end as usize - 1] = end - left;
    }

    fn each(&self, mut emit: impl FnMut(u32, usize)) {
        let mut at = 0;
        while (at as usize) < self.tokens.len() {
            emit(self.tokens[at as usize], self.lengths[at as usize] as usize);
            at = self.next(at);
        }
    }
}
