//! Byte-pair encoding of a few bytes: the best pair, leftmost of equals, until there is none.
//!
//! For merges that make each token in one way only; then this is what `tokenizers` does, whose queue holds the same pairs.

use super::pairs::{NONE, Pairs};
#[cfg(target_arch = "x86_64")]
use super::short;

/// Longest word that one block takes.
pub const MOST_BYTES: usize = 1024;

/// Keys whose least one is kept beside them, so that only those near a change are looked at again.
const GROUP: usize = 16;

/// In a key, below the merge: the place of the pair.
pub const PLACE_BITS: u32 = MOST_BYTES.trailing_zeros();

/// A key of no pair; all others are less.
pub const NO_PAIR: i32 = (NONE << PLACE_BITS) as i32;

/// The tokens of up to `N` bytes, by the place of their first byte; keys in `G` groups.
struct Block<const N: usize, const G: usize> {
    tokens: [u32; N],
    /// How long the tokens are: at the first byte, for the next, and at the last byte, for the one before.
    lengths: [u16; N],
    /// The merge of each token with the next, and its place. Signed: SSE2 has no other minimum.
    keys: [i32; N],
    least: [i32; G],
}

/// Calls `emit` with the number and the length of each token of a word of at most [`MOST_BYTES`].
#[inline]
pub fn merge(pairs: &Pairs, word: &[u8], emit: impl FnMut(u32, usize)) {
    #[cfg(target_arch = "x86_64")]
    if word.len() <= short::MOST_BYTES
        && let Some(merged) = short::merged(pairs, word)
    {
        return merged.each(word.len(), emit);
    }
    merge_in_memory(pairs, word, emit);
}

/// As [`merge`], whatever the processor can.
#[inline]
pub fn merge_in_memory(pairs: &Pairs, word: &[u8], emit: impl FnMut(u32, usize)) {
    match word.len() {
        0..=16 => Block::<16, 1>::merged(pairs, word).each(word.len(), emit),
        17..=64 => Block::<64, 4>::merged(pairs, word).each(word.len(), emit),
        65..=256 => Block::<256, 16>::merged(pairs, word).each(word.len(), emit),
        _ => Block::<MOST_BYTES, { MOST_BYTES / GROUP }>::merged(pairs, word).each(word.len(), emit),
    }
}

impl<const N: usize, const G: usize> Block<N, G> {
    fn merged(pairs: &Pairs, word: &[u8]) -> Self {
        let mut block = Self { tokens: [0; N], lengths: [1; N], keys: [NO_PAIR; N], least: [NO_PAIR; G] };
        for (token, &byte) in block.tokens.iter_mut().zip(word) {
            *token = u32::from(byte);
        }
        for (at, (key, pair)) in block.keys.iter_mut().zip(word.windows(2)).enumerate() {
            *key = key_of(pairs.of_bytes(pair[0], pair[1]), at);
        }
        for (least, keys) in block.least.iter_mut().zip(block.keys.as_chunks::<GROUP>().0) {
            *least = minimum(keys);
        }
        block.merge(pairs, word.len());
        block
    }

    fn merge(&mut self, pairs: &Pairs, n_bytes: usize) {
        loop {
            let best = minimum(&self.least);
            if best >= NO_PAIR {
                return;
            }
            let (token, at) = (best as u32 >> PLACE_BITS, best as usize % MOST_BYTES);
            let next = at + usize::from(self.lengths[at]);
            let after = next + usize::from(self.lengths[next]);
            self.tokens[at] = token;
            (self.lengths[at], self.lengths[after - 1]) = ((after - at) as u16, (after - at) as u16);
            self.keys[next] = NO_PAIR;
            let right = self.tokens.get(after).copied().filter(|_| after < n_bytes);
            if at > 0 {
                let before = at - usize::from(self.lengths[at - 1]);
                let left = self.tokens[before];
                let [with_left, with_right] = match right {
                    Some(right) => pairs.get_both([left, token], [token, right]),
                    None => [pairs.get(left, token), NONE],
                };
                self.keys[before] = key_of(with_left, before);
                self.keys[at] = key_of(with_right, at);
                self.look_again(before / GROUP, at / GROUP);
            } else {
                self.keys[at] = right.map_or(NO_PAIR, |right| key_of(pairs.get(token, right), at));
            }
            self.look_again(next / GROUP, at / GROUP);
            self.look_again(at / GROUP, N);
        }
    }

    /// Finds the least key of a group that is not `other`, which comes later.
    #[inline]
    fn look_again(&mut self, group: usize, other: usize) {
        if group != other {
            self.least[group] = minimum(&self.keys.as_chunks::<GROUP>().0[group]);
        }
    }

    #[inline]
    fn each(&self, n_bytes: usize, mut emit: impl FnMut(u32, usize)) {
        let mut at = 0;
        while at < n_bytes {
            let length = usize::from(self.lengths[at]);
            emit(self.tokens[at], length);
            at += length;
        }
    }
}

#[inline]
pub fn key_of(merge: u32, at: usize) -> i32 {
    (merge << PLACE_BITS) as i32 | at as i32
}

#[inline]
fn minimum(keys: &[i32]) -> i32 {
    keys.iter().fold(i32::MAX, |least, &key| least.min(key))
}
