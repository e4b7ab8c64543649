//! Byte positions to character positions, the unit of Python's `text[start:end]`.

use std::convert::Infallible;
use std::ops::Range;

use crate::parallel;

/// Bytes of a block: one bit each of a `u64`.
const BLOCK_BYTES: usize = 64;

/// Answers "how many characters lie before this byte" for one text, each time in the same few steps. ASCII text needs no table.
#[derive(Debug, Default)]
pub struct CharIndex {
    bytes: Range<u32>,
    blocks: Option<Vec<Block>>,
}

/// 64 bytes of a text: characters are counted by the bytes that begin none.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// Continuation bytes before the block.
    n_before: u32,
    /// Which bytes of the block are continuation bytes. Two halves, because a `u64` would pad the struct to 16 bytes.
    continuation: [u32; 2],
}

impl CharIndex {
    /// Reads the text once, on so many threads.
    pub fn new(text: &str, n_threads: usize) -> Self {
        Self::within(text, 0..text.len(), n_threads)
    }

    /// Reads some of the text, as if all before it were ASCII: answers are too large by its [`CharIndex::n_surplus_bytes`].
    pub fn within(text: &str, range: Range<usize>, n_threads: usize) -> Self {
        let bytes = &text.as_bytes()[range.clone()];
        Self { bytes: range.start as u32..range.end as u32, blocks: (!bytes.is_ascii()).then(|| blocks(bytes, n_threads)) }
    }

    /// How many more bytes than characters were read.
    pub fn n_surplus_bytes(&self) -> u32 {
        self.blocks.as_ref().and_then(|blocks| blocks.last()).map_or(0, |block| block.n_before)
    }

    /// Characters before byte `byte`, which is among those read or their end; a position past that counts as the end.
    pub fn char_at(&self, byte: u32) -> u32 {
        self.blocks.as_ref().map_or(byte, |blocks| self.counted(blocks, byte))
    }

    /// A byte span in characters.
    pub fn char_span(&self, (start, end): (u32, u32)) -> (u32, u32) {
        (self.char_at(start), self.char_at(end))
    }

    /// Byte spans in characters, in their place.
    pub fn to_char_spans(&self, spans: &mut [(u32, u32)]) {
        let Some(blocks) = &self.blocks else { return };
        for (start, end) in spans {
            *start = self.counted(blocks, *start);
            *end = self.counted(blocks, *end);
        }
    }

    #[inline]
    fn counted(&self, blocks: &[Block], byte: u32) -> u32 {
        self.bytes.start + char_at(blocks, byte.clamp(self.bytes.start, self.bytes.end) - self.bytes.start)
    }
}

/// The blocks of a text, and one for a position on the last one's far edge.
fn blocks(bytes: &[u8], n_threads: usize) -> Vec<Block> {
    let share_bytes = bytes.len().div_ceil(n_threads).next_multiple_of(BLOCK_BYTES);
    let shares: Vec<&[u8]> = bytes.chunks(share_bytes).collect();
    let Ok(read) = parallel::map(shares.len(), n_threads, |i| Ok::<_, Infallible>(blocks_of_share(shares[i])));
    let mut read = read.into_iter();
    let (mut blocks, mut n_before) = read.next().unwrap_or_default();
    blocks.reserve_exact(bytes.len().div_ceil(BLOCK_BYTES) + 1 - blocks.len());
    for (others, n_more) in read {
        blocks.extend(others.iter().map(|block| Block { n_before: n_before + block.n_before, ..*block }));
        n_before += n_more;
    }
    blocks.push(Block { n_before, continuation: [0; 2] });
    blocks
}

/// The blocks of a part of a text, as if nothing were before it, and how many continuation bytes there are in all.
fn blocks_of_share(bytes: &[u8]) -> (Vec<Block>, u32) {
    let mut n_before = 0;
    let (whole, rest) = bytes.as_chunks::<BLOCK_BYTES>();
    let mut last = [0; BLOCK_BYTES];
    last[..rest.len()].copy_from_slice(rest);
    let mut block = |bytes: &[u8; BLOCK_BYTES]| {
        let mask = continuation_mask(bytes);
        let block = Block { n_before, continuation: [mask as u32, (mask >> 32) as u32] };
        n_before += mask.count_ones();
        block
    };
    let mut blocks: Vec<Block> = Vec::with_capacity(whole.len() + 2); // one for the rest, and one that a text's last share gets
    blocks.extend(whole.iter().map(&mut block));
    if !rest.is_empty() {
        blocks.push(block(&last));
    }
    (blocks, n_before)
}

/// Bit `i` says whether byte `i` is a continuation byte, that is, has the upper two bits `10`.
fn continuation_mask(bytes: &[u8; BLOCK_BYTES]) -> u64 {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().rev().fold(0, |mask, word| {
        let word = u64::from_le_bytes(*word);
        let upper_bits = (word & !(word << 1)) >> 7 & 0x0101_0101_0101_0101;
        // The product has bit 0 of byte `i` at bit `56 + i`, and no two terms meet, so that nothing carries.
        mask << 8 | upper_bits.wrapping_mul(0x0102_0408_1020_4080) >> 56
    })
}

#[inline]
fn char_at(blocks: &[Block], byte: u32) -> u32 {
    let Block { n_before, continuation: [low, high] } = blocks[byte as usize / BLOCK_BYTES];
    let mask = u64::from(low) | u64::from(high) << 32;
    // Most blocks of most texts are ASCII, and counting bits without an instruction for it costs as much as all the rest.
    if mask == 0 {
        return byte - n_before;
    }
    byte - n_before - (mask & ((1 << (byte % BLOCK_BYTES as u32)) - 1)).count_ones()
}

/// Byte position of every character of `text`, and of its end; `None` for ASCII, where both are the same.
pub fn byte_of_char(text: &str) -> Option<Vec<u32>> {
    (!text.is_ascii()).then(|| text.char_indices().map(|(byte, _)| byte as u32).chain(std::iter::once(text.len() as u32)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_start_is_counted_right() {
        for text in
            ["", "plain", "naïve café 中文 🇩🇪 end", &"é".repeat(100), &"é".repeat(96), &"a中🎉".repeat(50), &("x".repeat(200) + "é")]
        {
            for n_threads in 1..5 {
                let index = CharIndex::new(text, n_threads);
                let ends = text.char_indices().map(|(byte, _)| byte).chain([text.len()]);
                for (n_chars, byte) in ends.enumerate() {
                    assert_eq!(index.char_at(byte as u32), n_chars as u32, "{text} at {byte}");
                }
                assert_eq!(index.char_at(text.len() as u32 + 1).min(text.len() as u32), index.char_at(text.len() as u32), "{text}");
            }
        }
    }

    #[test]
    fn parts_of_a_text_count_by_themselves() {
        let text = "é中🎉 plain ".repeat(30) + "naïve";
        let whole = CharIndex::new(&text, 1);
        for range in [0..0, 0..9, 9..text.len(), 25..31, 16..text.len() - 6] {
            let part = CharIndex::within(&text, range.clone(), 1);
            let n_before = CharIndex::within(&text, 0..range.start, 1).n_surplus_bytes();
            for byte in range.clone().chain([range.end]).filter(|&byte| text.is_char_boundary(byte)) {
                assert_eq!(part.char_at(byte as u32) - n_before, whole.char_at(byte as u32), "{range:?} at {byte}");
            }
        }
    }

    #[test]
    fn spans_are_converted_one_by_one() {
        for text in ["plain text", "naïve café 中文"] {
            let index = CharIndex::new(text, 1);
            let mut spans: Vec<(u32, u32)> = text.char_indices().map(|(byte, c)| (byte as u32, (byte + c.len_utf8()) as u32)).collect();
            index.to_char_spans(&mut spans);
            assert!(spans.iter().zip(0..).all(|(&span, n_chars)| span == (n_chars, n_chars + 1)), "{spans:?}");
        }
    }

    #[test]
    fn bytes_of_characters_are_the_inverse() {
        let text = "x中é🎉".repeat(40);
        let index = CharIndex::new(&text, 1);
        let bytes = byte_of_char(&text).unwrap_or_default();
        assert!(bytes.iter().enumerate().all(|(n_chars, &byte)| index.char_at(byte) == n_chars as u32));
    }
}
