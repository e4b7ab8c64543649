//! Masks by byte shuffles: AVX-512 (64 bytes at a time) and AVX2 (32).
//!
//! A shuffle takes each byte as an index into a table of 16: once the low half gives the high halves that are members, once the high
//! half gives its own bit. A byte is a member where the two share a bit. Bytes beyond ASCII find no bit in either.
#![allow(unsafe_code)] // loads through pointers, and calls of functions for instructions whose presence was just asked for

use std::arch::x86_64::{
    __m256i, __m512i, _mm_loadu_si128, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_cmpeq_epi8, _mm256_loadu_si256,
    _mm256_movemask_epi8, _mm256_set1_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi16, _mm512_and_si512,
    _mm512_broadcast_i32x4, _mm512_loadu_si512, _mm512_movepi8_mask, _mm512_set1_epi8, _mm512_shuffle_epi8, _mm512_srli_epi16,
    _mm512_test_epi8_mask,
};

use super::{BLOCK_BYTES, ByteSet};

/// Bit `h` for high half `h` of an ASCII byte; none for the others.
const HALF_BITS: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 0, 0, 0, 0, 0, 0, 0, 0];

type Blocks<'b> = &'b [[u8; BLOCK_BYTES]];

/// Appends the masks of whole blocks, or returns false where the processor has neither instruction set.
pub fn masks<const N: usize>(blocks: Blocks<'_>, sets: &[ByteSet; N], out: &mut Vec<[u64; N]>) -> bool {
    if has_avx512() {
        // SAFETY: the instructions are there.
        unsafe { avx512(blocks, sets, out) };
    } else if is_x86_feature_detected!("avx2") {
        // SAFETY: the instructions are there.
        unsafe { avx2(blocks, sets, out) };
    } else {
        return false;
    }
    true
}

fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

/// The masks by every instruction set this processor has.
#[cfg(test)]
pub fn each_available<const N: usize>(blocks: Blocks<'_>, sets: &[ByteSet; N]) -> Vec<Vec<[u64; N]>> {
    let mut found = Vec::new();
    if has_avx512() {
        let mut out = Vec::new();
        // SAFETY: the instructions are there.
        unsafe { avx512(blocks, sets, &mut out) };
        found.push(out);
    }
    if is_x86_feature_detected!("avx2") {
        let mut out = Vec::new();
        // SAFETY: the instructions are there.
        unsafe { avx2(blocks, sets, &mut out) };
        found.push(out);
    }
    found
}

#[target_feature(enable = "avx512f,avx512bw")]
fn avx512<const N: usize>(blocks: Blocks<'_>, sets: &[ByteSet; N], out: &mut Vec<[u64; N]>) {
    // SAFETY: the tables are 16 bytes.
    let table = |bytes: &[u8; 16]| -> __m512i { _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }) };
    let half_bits = table(&HALF_BITS);
    let members = sets.map(|set| table(&set.high_halves));
    out.extend(blocks.iter().map(|block| {
        // SAFETY: a block is 64 bytes.
        let bytes = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
        let high_halves = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), _mm512_set1_epi8(15));
        let own_bit = _mm512_shuffle_epi8(half_bits, high_halves);
        let beyond = _mm512_movepi8_mask(bytes);
        std::array::from_fn(|i| {
            let inside = _mm512_test_epi8_mask(_mm512_shuffle_epi8(members[i], bytes), own_bit);
            if sets[i].beyond_ascii { inside | beyond } else { inside }
        })
    }));
}

#[target_feature(enable = "avx2")]
fn avx2<const N: usize>(blocks: Blocks<'_>, sets: &[ByteSet; N], out: &mut Vec<[u64; N]>) {
    // SAFETY: the tables are 16 bytes.
    let table = |bytes: &[u8; 16]| -> __m256i { _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }) };
    let half_bits = table(&HALF_BITS);
    let members = sets.map(|set| table(&set.high_halves));
    out.extend(blocks.iter().map(|block| {
        // SAFETY: a block is twice 32 bytes.
        let halves: [__m256i; 2] = [0, 32].map(|at| unsafe { _mm256_loadu_si256(block[at..].as_ptr().cast()) });
        let own_bits =
            halves.map(|bytes| _mm256_shuffle_epi8(half_bits, _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), _mm256_set1_epi8(15))));
        let beyond = joined(halves.map(|bytes| _mm256_movemask_epi8(bytes)));
        std::array::from_fn(|i| {
            let outside = [0, 1].map(|half: usize| {
                let shared = _mm256_and_si256(_mm256_shuffle_epi8(members[i], halves[half]), own_bits[half]);
                _mm256_movemask_epi8(_mm256_cmpeq_epi8(shared, _mm256_setzero_si256()))
            });
            let inside = !joined(outside);
            if sets[i].beyond_ascii { inside | beyond } else { inside }
        })
    }));
}

fn joined([low, high]: [i32; 2]) -> u64 {
    u64::from(low.cast_unsigned()) | u64::from(high.cast_unsigned()) << 32
}
