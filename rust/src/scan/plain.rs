//! Masks without special instructions: the reference, and what runs where there are none.

use super::{BLOCK_BYTES, ByteSet};

/// Appends the masks of whole blocks.
#[cfg(any(test, not(target_arch = "aarch64")))] // where each processor has better
pub fn masks<const N: usize>(blocks: &[[u8; BLOCK_BYTES]], sets: &[ByteSet; N], out: &mut Vec<[u64; N]>) {
    out.extend(blocks.iter().map(|block| block_masks(block, sets)));
}

/// One mask for each set.
pub fn block_masks<const N: usize>(block: &[u8; BLOCK_BYTES], sets: &[ByteSet; N]) -> [u64; N] {
    sets.map(|set| block.iter().rev().fold(0, |mask, &byte| mask << 1 | u64::from(set.contains(byte))))
}
