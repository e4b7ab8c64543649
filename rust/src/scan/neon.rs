//! Masks by table look-ups of 16 bytes: NEON, which every 64-bit Arm processor has.
//!
//! The same two look-ups as on x86; the lanes of four results are then folded by pairwise addition until one bit is left of each byte.
#![allow(unsafe_code)] // loads through pointers

use std::arch::aarch64::{
    uint8x16_t, vandq_u8, vceqzq_u8, vcgeq_u8, vdupq_n_u8, vgetq_lane_u64, vld1q_u8, vmvnq_u8, vorrq_u8, vpaddq_u8, vqtbl1q_u8,
    vreinterpretq_u64_u8, vshrq_n_u8,
};

use super::{BLOCK_BYTES, ByteSet};

const HALF_BITS: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 0, 0, 0, 0, 0, 0, 0, 0];
const LANE_BITS: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];

/// Appends the masks of whole blocks.
pub fn masks<const N: usize>(blocks: &[[u8; BLOCK_BYTES]], sets: &[ByteSet; N], out: &mut Vec<[u64; N]>) {
    // SAFETY: NEON belongs to the architecture.
    unsafe { neon(blocks, sets, out) };
}

#[target_feature(enable = "neon")]
fn neon<const N: usize>(blocks: &[[u8; BLOCK_BYTES]], sets: &[ByteSet; N], out: &mut Vec<[u64; N]>) {
    // SAFETY: every slice that is loaded has 16 bytes.
    let load = |bytes: &[u8]| -> uint8x16_t { unsafe { vld1q_u8(bytes[..16].as_ptr()) } };
    let (half_bits, lane_bits) = (load(&HALF_BITS), load(&LANE_BITS));
    let members = sets.map(|set| load(&set.high_halves));
    out.extend(blocks.iter().map(|block| {
        let quarters: [uint8x16_t; 4] = [0, 16, 32, 48].map(|at| load(&block[at..]));
        std::array::from_fn(|i| {
            let inside = quarters.map(|bytes| {
                let by_low_half = vqtbl1q_u8(members[i], vandq_u8(bytes, vdupq_n_u8(15)));
                let shared = vandq_u8(by_low_half, vqtbl1q_u8(half_bits, vshrq_n_u8::<4>(bytes)));
                let inside = vmvnq_u8(vceqzq_u8(shared));
                let beyond = if sets[i].beyond_ascii { vcgeq_u8(bytes, vdupq_n_u8(128)) } else { vdupq_n_u8(0) };
                vandq_u8(vorrq_u8(inside, beyond), lane_bits)
            });
            let [a, b, c, d] = inside;
            let folded = vpaddq_u8(vpaddq_u8(a, b), vpaddq_u8(c, d));
            vgetq_lane_u64::<0>(vreinterpretq_u64_u8(vpaddq_u8(folded, folded)))
        })
    }));
}
