//! Byte-pair merges: which tokens a word is made of.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Symbols up to which the next merge is found by a search over all of them: in a word of usual length that is faster than a queue.
const SHORT_SYMBOLS: usize = 64;

/// The rank of a pair that does not merge.
const NEVER: u32 = u32::MAX;

/// What a pair of ids becomes, and when.
#[derive(Debug, Clone, Copy)]
struct Slot {
    left: u32,
    right: u32,
    rank: u32,
    id: u32,
}

const EMPTY: Slot = Slot { left: u32::MAX, right: u32::MAX, rank: NEVER, id: 0 };

/// Merges by pair: a flat table, at most half full, so that most look-ups touch one cache line.
#[derive(Debug)]
pub struct Merges {
    slots: Box<[Slot]>,
    byte_ids: [u32; 256],
}

/// A token: its id, and where it starts in the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub id: u32,
    pub start: u32,
}

impl Merges {
    /// `merges` are left id, right id and the id of both, the first to be done first. Of equal pairs the last counts.
    pub fn new(byte_ids: &[u32; 256], merges: &[(u32, u32, u32)]) -> Self {
        let mut table = Self { slots: vec![EMPTY; (merges.len() * 2).next_power_of_two().max(2)].into(), byte_ids: *byte_ids };
        for (rank, &(left, right, id)) in (0..).zip(merges) {
            let at = table.place(left, right);
            table.slots[at] = Slot { left, right, rank, id };
        }
        table
    }

    #[inline]
    fn place(&self, left: u32, right: u32) -> usize {
        let pair = u64::from(left) << 32 | u64::from(right);
        let mut at = (pair.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize & (self.slots.len() - 1);
        loop {
            let slot = &self.slots[at];
            if slot.left == left && slot.right == right || slot.left == EMPTY.left {
                return at;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    #[inline]
    fn find(&self, left: u32, right: u32) -> (u32, u32) {
        let slot = &self.slots[self.place(left, right)];
        (slot.rank, slot.id)
    }

    /// Calls `take` with the tokens of a word, one after the other.
    pub fn each_part(&self, word: &[u8], mut take: impl FnMut(Part)) {
        if word.len() > SHORT_SYMBOLS {
            return self.long_word(word).into_iter().for_each(take);
        }
        let mut parts = [Part { id: 0, start: 0 }; SHORT_SYMBOLS];
        let mut next = [(NEVER, 0); SHORT_SYMBOLS];
        for (at, &byte) in word.iter().enumerate() {
            parts[at] = Part { id: self.byte_ids[byte as usize], start: at as u32 };
        }
        for at in 1..word.len() {
            next[at - 1] = self.find(parts[at - 1].id, parts[at].id);
        }
        let n_parts = self.merge_short(&mut parts, &mut next, word.len());
        parts[..n_parts].iter().for_each(|&part| take(part));
    }

    /// Merges the first `n_parts` parts; `next` holds the merge of each with the one after it. Returns how many are left.
    fn merge_short(&self, parts: &mut [Part; SHORT_SYMBOLS], next: &mut [(u32, u32); SHORT_SYMBOLS], mut n_parts: usize) -> usize {
        while n_parts > 1 {
            let (mut at, mut rank) = (0, NEVER);
            for (i, &(found, _)) in next[..n_parts - 1].iter().enumerate() {
                if found < rank {
                    (at, rank) = (i, found);
                }
            }
            if rank == NEVER {
                break;
            }
            parts[at].id = next[at].1;
            parts.copy_within(at + 2..n_parts, at + 1);
            next.copy_within(at + 1..n_parts, at);
            n_parts -= 1;
            next[n_parts - 1].0 = NEVER;
            if at + 1 < n_parts {
                next[at] = self.find(parts[at].id, parts[at + 1].id);
            }
            if at > 0 {
                next[at - 1] = self.find(parts[at - 1].id, parts[at].id);
            }
        }
        n_parts
    }

    /// As the short way, with a queue of merges and links between the parts that are left.
    fn long_word(&self, word: &[u8]) -> Vec<Part> {
        let mut ids: Vec<u32> = word.iter().map(|&byte| self.byte_ids[byte as usize]).collect();
        let n_symbols = ids.len();
        let mut after: Vec<u32> = (1..=n_symbols as u32).collect();
        let mut before: Vec<u32> = (0..n_symbols as u32).map(|at| at.wrapping_sub(1)).collect();
        let pairs = (1..n_symbols).map(|right| (self.find(ids[right - 1], ids[right]).0, right as u32 - 1));
        let mut queue: BinaryHeap<Reverse<(u32, u32)>> = pairs.filter(|&(rank, _)| rank != NEVER).map(Reverse).collect();
        while let Some(Reverse((rank, left))) = queue.pop() {
            let (left, right) = (left as usize, after[left as usize] as usize);
            // Out of date where the left part is gone (it has no part after it then) or either part has grown since.
            if right >= n_symbols {
                continue;
            }
            let (current, id) = self.find(ids[left], ids[right]);
            if current != rank {
                continue;
            }
            ids[left] = id;
            let beyond = after[right] as usize;
            (after[left], after[right]) = (beyond as u32, u32::MAX);
            if beyond < n_symbols {
                before[beyond] = left as u32;
                push(&mut queue, self.find(id, ids[beyond]).0, left);
            }
            if let Some(&previous) = ids.get(before[left] as usize) {
                push(&mut queue, self.find(previous, id).0, before[left] as usize);
            }
        }
        let starts = std::iter::successors(Some(0), |&at| Some(after[at] as usize).filter(|&next| next < n_symbols));
        starts.map(|start| Part { id: ids[start], start: start as u32 }).collect()
    }
}

fn push(queue: &mut BinaryHeap<Reverse<(u32, u32)>>, rank: u32, left: usize) {
    if rank != NEVER {
        queue.push(Reverse((rank, left as u32)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes are their own ids; a merge of two makes the next free id.
    fn merges() -> Merges {
        let pairs = [(97, 97), (97, 98), (256, 256), (98, 97), (256, 98), (258, 97), (257, 257), (260, 257), (262, 262), (258, 258)];
        let merges: Vec<_> = pairs.iter().zip(256..).map(|(&(left, right), id)| (left, right, id)).collect();
        Merges::new(&std::array::from_fn(|byte| byte as u32), &merges)
    }

    fn parts(merges: &Merges, word: &[u8]) -> Vec<Part> {
        let mut parts = Vec::new();
        merges.each_part(word, |part| parts.push(part));
        parts
    }

    #[test]
    fn the_first_merge_comes_first_and_the_leftmost_of_equals() {
        let ids = |word: &[u8]| parts(&merges(), word).iter().map(|part| part.id).collect::<Vec<_>>();
        assert_eq!(ids(b"aaa"), [256, 97]);
        assert_eq!(ids(b"abx"), [257, u32::from(b'x')]);
        assert_eq!(ids(b"aab"), [260]);
        assert_eq!(ids(b""), [0; 0]);
    }

    #[test]
    fn long_words_merge_as_short_ones_do() {
        let merges = merges();
        for seed in 0..200_u64 {
            let mut state = seed;
            let word: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                b'a' + (state >> 60) as u8 % 2 + u8::from((state >> 55) % 32 == 0)
            })
            .take(1 + seed as usize % SHORT_SYMBOLS)
            .collect();
            assert_eq!(parts(&merges, &word), merges.long_word(&word), "{word:?}");
        }
    }
}
