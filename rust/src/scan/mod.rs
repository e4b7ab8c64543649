//! Which bytes of a text belong to which set, as bit masks of 64 bytes: what the splitters of the fast engines work on.
//!
//! One function, [`masks`], for the instruction sets of the machine it runs on; each is equal to the plain one by test.

#[cfg(target_arch = "aarch64")]
mod neon;
mod pages;
mod plain;
mod wide;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use pages::CharTable;
pub use wide::{Wide, wide};

/// Bytes of a block: one bit each of a `u64`.
pub const BLOCK_BYTES: usize = 64;

/// A set of ASCII bytes, with or without all others.
///
/// Kept as a table by low half of the byte, whose bit `h` says whether the byte with high half `h` is a member: the form that byte
/// shuffles look up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSet {
    high_halves: [u8; 16],
    beyond_ascii: bool,
}

impl ByteSet {
    /// The ASCII bytes for which `is_member` holds.
    pub fn ascii(is_member: impl Fn(u8) -> bool) -> Self {
        let mut high_halves = [0; 16];
        for byte in (0..128_u8).filter(|&byte| is_member(byte)) {
            high_halves[(byte & 15) as usize] |= 1 << (byte >> 4);
        }
        Self { high_halves, beyond_ascii: false }
    }

    /// These and every byte of a character beyond ASCII.
    #[must_use]
    pub fn and_beyond_ascii(self) -> Self {
        Self { beyond_ascii: true, ..self }
    }

    /// Is `byte` a member?
    #[inline]
    pub fn contains(&self, byte: u8) -> bool {
        if byte < 128 { self.high_halves[(byte & 15) as usize] >> (byte >> 4) & 1 == 1 } else { self.beyond_ascii }
    }
}

/// Appends, for each block of 64 bytes, one mask for each set: bit `i` says whether byte `i` of the block is a member. Bits past the end
/// of `bytes` are 0.
pub fn masks<const N: usize>(bytes: &[u8], sets: &[ByteSet; N], out: &mut Vec<[u64; N]>) {
    let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
    whole_blocks(blocks, sets, out);
    if !rest.is_empty() {
        let mut block = [0; BLOCK_BYTES];
        block[..rest.len()].copy_from_slice(rest);
        let inside = (1 << rest.len()) - 1;
        out.push(plain::block_masks(&block, sets).map(|mask| mask & inside));
    }
}

#[cfg(target_arch = "x86_64")]
fn whole_blocks<const N: usize>(blocks: &[[u8; BLOCK_BYTES]], sets: &[ByteSet; N], out: &mut Vec<[u64; N]>) {
    if !x86::masks(blocks, sets, out) {
        plain::masks(blocks, sets, out);
    }
}

#[cfg(target_arch = "aarch64")]
fn whole_blocks<const N: usize>(blocks: &[[u8; BLOCK_BYTES]], sets: &[ByteSet; N], out: &mut Vec<[u64; N]>) {
    neon::masks(blocks, sets, out);
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn whole_blocks<const N: usize>(blocks: &[[u8; BLOCK_BYTES]], sets: &[ByteSet; N], out: &mut Vec<[u64; N]>) {
    plain::masks(blocks, sets, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets() -> [ByteSet; 3] {
        let odd = ByteSet::ascii(|byte| byte < 9 || byte == 127).and_beyond_ascii();
        [ByteSet::ascii(|byte| byte.is_ascii_whitespace()), ByteSet::ascii(|byte| byte.is_ascii_punctuation()), odd]
    }

    #[test]
    fn a_set_contains_its_members() {
        let [spaces, punctuation, odd] = sets();
        for byte in 0..=255_u8 {
            assert_eq!(spaces.contains(byte), byte.is_ascii_whitespace());
            assert_eq!(punctuation.contains(byte), byte.is_ascii_punctuation());
            assert_eq!(odd.contains(byte), !(9..127).contains(&byte));
        }
    }

    #[test]
    fn masks_equal_membership_at_every_length_and_byte() {
        let sets = sets();
        let bytes: Vec<u8> = (0..1000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).chain(0..=255).collect();
        for length in (0..200).chain([bytes.len()]) {
            let mut out = Vec::new();
            masks(&bytes[..length], &sets, &mut out);
            assert_eq!(out.len(), length.div_ceil(BLOCK_BYTES));
            for at in 0..out.len() * BLOCK_BYTES {
                for (set, mask) in sets.iter().zip(out[at / BLOCK_BYTES]) {
                    let expected = at < length && set.contains(bytes[at]);
                    assert_eq!(mask >> (at % BLOCK_BYTES) & 1 == 1, expected, "byte {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn every_instruction_set_equals_the_plain_one() {
        let bytes: Vec<u8> = (0..64 * 100_u32).map(|i| (i.wrapping_mul(2_246_822_519) >> 11) as u8).collect();
        let (blocks, _) = bytes.as_chunks::<BLOCK_BYTES>();
        let (mut plain_masks, mut own_masks) = (Vec::new(), Vec::new());
        plain::masks(blocks, &sets(), &mut plain_masks);
        whole_blocks(blocks, &sets(), &mut own_masks);
        assert_eq!(plain_masks, own_masks);
        #[cfg(target_arch = "x86_64")]
        for masks in x86::each_available(blocks, &sets()) {
            assert_eq!(plain_masks, masks);
        }
    }
}
