//! Byte-pair encoding of up to 16 bytes with all keys in two registers.
//!
//! Most new words are so short, and each merge waits for the one before. In memory the keys of a [`super::block`] are written one by one and
//! read all together, which has to wait until they are written; here they stay where they are compared. Where tokens start is in the bits
//! of a number: those beside a token are found without a look at lengths.
#![allow(unsafe_code)] // a call of a function for instructions whose presence was just asked for

use std::arch::x86_64::{
    __m256i, _mm_cvtsi128_si32, _mm_min_epi32, _mm_shuffle_epi32, _mm256_blendv_epi8, _mm256_castsi256_si128, _mm256_cmpeq_epi32,
    _mm256_extracti128_si256, _mm256_min_epi32, _mm256_set1_epi32, _mm256_setr_epi32,
};

use super::block::{NO_PAIR, PLACE_BITS, key_of};
use super::pairs::{NONE, Pairs};

/// Longest word whose keys fit.
pub const MOST_BYTES: usize = 16;

/// Of so many keys each register holds one.
const LANES: usize = MOST_BYTES / 2;

/// The tokens of a word.
#[derive(Debug)]
pub struct Merged {
    /// By the place of their first byte.
    tokens: [u32; MOST_BYTES],
    /// The bits of these places.
    starts: u32,
}

/// The tokens of a word of at most [`MOST_BYTES`], for merges as in a block; None where the processor lacks the instructions.
#[inline]
pub fn merged(pairs: &Pairs, word: &[u8]) -> Option<Merged> {
    let can = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt");
    // SAFETY: the instructions are there.
    can.then(|| unsafe { avx2(pairs, word) })
}

impl Merged {
    /// Calls `emit` with the number and the length of each token.
    #[inline]
    pub fn each(&self, n_bytes: usize, mut emit: impl FnMut(u32, usize)) {
        let mut rest = self.starts;
        while rest != 0 {
            let at = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            let end = if rest == 0 { n_bytes } else { rest.trailing_zeros() as usize };
            emit(self.tokens[at], end - at);
        }
    }
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn avx2(pairs: &Pairs, word: &[u8]) -> Merged {
    let mut tokens = [0; MOST_BYTES];
    tokens.iter_mut().zip(word).for_each(|(token, &byte)| *token = u32::from(byte));
    let mut starts = ((1_u64 << word.len()) - 1) as u32;
    let mut keys = Keys::of(pairs, word);
    loop {
        let best = keys.least();
        if best >= NO_PAIR {
            return Merged { tokens, starts };
        }
        let (token, at) = (best as u32 >> PLACE_BITS, best as usize % MOST_BYTES);
        keys.set(at, NO_PAIR);
        expect_beside(pairs, &tokens, starts, keys.least());
        tokens[at] = token;
        let later = starts & (u32::MAX << 1) << at;
        let after = later & later.wrapping_sub(1);
        starts ^= later ^ after;
        let earlier = starts & ((1 << at) - 1);
        let before = earlier.checked_ilog2().unwrap_or_default() as usize;
        let left = tokens[before % MOST_BYTES];
        let right = tokens[after.trailing_zeros() as usize % MOST_BYTES];
        let [with_left, with_right] = match (earlier, after) {
            (0, 0) => return Merged { tokens, starts },
            (0, _) => [NONE, pairs.get(token, right)],
            (_, 0) => [pairs.get(left, token), NONE],
            _ => pairs.get_both([left, token], [token, right]),
        };
        keys.set(later.trailing_zeros() as usize, NO_PAIR);
        // Before the key at this place, which is the same place where there is nothing before it.
        keys.set(before, key_of(with_left, before));
        keys.set(at, key_of(with_right, at));
    }
}

/// Asks for the merges of what the pair of this key makes with its neighbours: most often it is the next best one, too, when the best one is
/// merged. Where there is no pair, what is asked for is of no use.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn expect_beside(pairs: &Pairs, tokens: &[u32; MOST_BYTES], starts: u32, key: i32) {
    let (token, at) = (key as u32 >> PLACE_BITS, key as usize % MOST_BYTES);
    let later = starts & (u32::MAX << 1) << at;
    let after = later & later.wrapping_sub(1);
    let before = (starts & ((1 << at) - 1)).checked_ilog2().unwrap_or_default() as usize;
    pairs.expect(tokens[before % MOST_BYTES], token);
    pairs.expect(token, tokens[after.trailing_zeros() as usize % MOST_BYTES]);
}

/// The key of each place.
struct Keys {
    halves: [__m256i; 2],
}

impl Keys {
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
    fn of(pairs: &Pairs, word: &[u8]) -> Self {
        let mut keys = [[NO_PAIR; LANES]; 2];
        for (at, (key, pair)) in keys.as_flattened_mut().iter_mut().zip(word.windows(2)).enumerate() {
            *key = key_of(pairs.of_bytes(pair[0], pair[1]), at);
        }
        Self { halves: keys.map(bytemuck::cast) }
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
    fn least(&self) -> i32 {
        let [low, high] = self.halves;
        let eight = _mm256_min_epi32(low, high);
        let four = _mm_min_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
        let two = _mm_min_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
        _mm_cvtsi128_si32(_mm_min_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)))
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
    fn set(&mut self, at: usize, key: i32) {
        let (place, key) = (_mm256_set1_epi32(at as i32), _mm256_set1_epi32(key));
        let places = [_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)];
        for (half, places) in self.halves.iter_mut().zip(places) {
            *half = _mm256_blendv_epi8(*half, key, _mm256_cmpeq_epi32(places, place));
        }
    }
}
