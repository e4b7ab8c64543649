//! Byte positions to character positions, the unit of Python's `text[start:end]`.

/// Bytes between two stored counts. A lookup reads at most this many bytes; the table costs 4 bytes for each block.
const BLOCK_BYTES: usize = 64;

/// Answers "how many characters lie before this byte" for one text. ASCII text needs no table.
#[derive(Debug)]
pub struct CharIndex<'t> {
    bytes: &'t [u8],
    chars_before_block: Option<Vec<u32>>,
}

impl<'t> CharIndex<'t> {
    /// Reads the text once.
    pub fn new(text: &'t str) -> Self {
        let bytes = text.as_bytes();
        let chars_before_block = (!bytes.is_ascii()).then(|| {
            let counts = bytes.chunks(BLOCK_BYTES).scan(0, |n_chars, block| {
                let before = *n_chars;
                *n_chars += count_chars(block);
                Some(before)
            });
            counts.collect()
        });
        Self { bytes, chars_before_block }
    }

    /// Characters before byte `byte`; a position past the end counts as the end.
    pub fn char_at(&self, byte: u32) -> u32 {
        let Some(before) = &self.chars_before_block else { return byte };
        let byte = (byte as usize).min(self.bytes.len());
        // A position on the last block's far edge has no block of its own.
        let block = (byte / BLOCK_BYTES).min(before.len() - 1);
        before[block] + count_chars(&self.bytes[block * BLOCK_BYTES..byte])
    }

    /// A byte span in characters.
    pub fn char_span(&self, (start, end): (u32, u32)) -> (u32, u32) {
        (self.char_at(start), self.char_at(end))
    }
}

/// Characters that begin in `bytes`: everything but UTF-8 continuation bytes.
fn count_chars(bytes: &[u8]) -> u32 {
    bytes.iter().filter(|&&byte| byte & 0b1100_0000 != 0b1000_0000).count() as u32
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
        for text in ["", "plain", "naïve café 中文 🇩🇪 end", &"é".repeat(100), &"a中🎉".repeat(50)] {
            let index = CharIndex::new(text);
            let ends = text.char_indices().map(|(byte, _)| byte).chain([text.len()]);
            for (n_chars, byte) in ends.enumerate() {
                assert_eq!(index.char_at(byte as u32), n_chars as u32, "{text} at {byte}");
            }
        }
    }

    #[test]
    fn bytes_of_characters_are_the_inverse() {
        let text = "x中é🎉".repeat(40);
        let index = CharIndex::new(&text);
        let bytes = byte_of_char(&text).unwrap_or_default();
        assert!(bytes.iter().enumerate().all(|(n_chars, &byte)| index.char_at(byte) == n_chars as u32));
    }
}
