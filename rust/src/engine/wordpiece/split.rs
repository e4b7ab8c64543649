//! Where words begin and end: by bit masks where the text is plain ASCII, by character elsewhere.
//!
//! A word ends at every blank, and a character that stands alone is a word. Everything that normalization does stays inside a word: what it
//! drops leaves no gap, and no mark crosses a blank.

use super::chars::{Characters, Class};
use crate::engine::words::{WINDOW_BYTES, Words};
use crate::scan::{BLOCK_BYTES, ByteSet, Wide, masks, wide};

/// Splits text for one set of normalizer options.
#[derive(Debug)]
pub struct Splitter {
    /// Blanks, punctuation, and bytes that need a look at their character.
    sets: [ByteSet; 3],
}

/// Masks of the window: positions count from its start.
struct Window<'m> {
    masks: &'m [[u64; 3]],
    n_bytes: usize,
}

impl Splitter {
    pub fn new() -> Self {
        let is_blank = |byte: u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        Self {
            sets: [
                ByteSet::ascii(is_blank),
                ByteSet::ascii(|byte| byte.is_ascii_punctuation()),
                ByteSet::ascii(|byte| byte.is_ascii_control() && !is_blank(byte)).and_beyond_ascii(),
            ],
        }
    }

    /// Appends the words of `text` from byte `from`, where a word begins or none is, for about one window. Returns where to go on.
    pub fn split(&self, characters: &Characters, text: &str, from: usize, words: &mut Words) -> usize {
        let bytes = &text.as_bytes()[from..];
        let Words { spans, masks: memory, places } = words;
        memory.clear();
        masks(&bytes[..bytes.len().min(WINDOW_BYTES)], &self.sets, memory);
        let window = Window { masks: memory, n_bytes: bytes.len().min(WINDOW_BYTES) };
        let mut at = 0;
        while at < window.n_bytes {
            let odd = window.next_odd(at);
            if odd.is_none() && from + window.n_bytes == text.len() {
                window.words(at, window.n_bytes, from, places, spans);
                return text.len();
            }
            // Up to the last blank before what is odd, or before the end of the window, where a word may go on.
            let sure = window.after_last_blank(at, odd.unwrap_or(window.n_bytes));
            window.words(at, sure, from, places, spans);
            if odd.is_none() && sure > 0 {
                return from + sure;
            }
            at = by_character(characters, text, from + sure, from + window.n_bytes, spans) - from;
        }
        from + at
    }
}

impl Window<'_> {
    /// The first byte at or after `at` that needs a look at its character.
    fn next_odd(&self, at: usize) -> Option<usize> {
        let mut block = at / BLOCK_BYTES;
        let mut mask = self.masks.get(block)?[2] & (u64::MAX << (at % BLOCK_BYTES));
        while mask == 0 {
            block += 1;
            mask = self.masks.get(block)?[2];
        }
        Some(block * BLOCK_BYTES + mask.trailing_zeros() as usize)
    }

    /// The place after the last blank in `from..to`; `from` where there is none.
    fn after_last_blank(&self, from: usize, to: usize) -> usize {
        let mut end = to;
        while end > from {
            let block = (end - 1) / BLOCK_BYTES;
            let mask = self.masks[block][0] & (u64::MAX >> (BLOCK_BYTES - 1 - (end - 1) % BLOCK_BYTES));
            if mask != 0 {
                return (block * BLOCK_BYTES + BLOCK_BYTES - mask.leading_zeros() as usize).max(from);
            }
            end = block * BLOCK_BYTES;
        }
        from
    }

    /// Appends the words in `from..to`, which holds nothing odd, begins with a word or a blank, and ends with one too.
    fn words(&self, from: usize, to: usize, base: usize, places: &mut Vec<(u32, u32)>, spans: &mut Vec<(u32, u32)>) {
        if from < to {
            // As many as there could be words; they are made once, and copying the words costs less than making them each time.
            if places.len() < to - from + PLACES {
                places.resize(to - from + PLACES, (0, 0));
            }
            let n_words = wide(Cut { window: self, from, to, base, places });
            spans.extend_from_slice(&places[..n_words]);
        }
    }
}

/// Writes the words in `from..to` of a window.
struct Cut<'c> {
    window: &'c Window<'c>,
    from: usize,
    to: usize,
    base: usize,
    places: &'c mut [(u32, u32)],
}

/// Places that are written together, wanted or not: a loop over the number of words in a block would mispredict.
const PLACES: usize = 8;

impl Wide for Cut<'_> {
    type Output = usize;

    #[inline(always)]
    fn run(self) -> usize {
        let Self { window, from, to, base, places } = self;
        // Words end in the order they begin, so starts and ends are written side by side, each at its own pace.
        let (mut n_starts, mut n_ends) = (0, 0);
        let (mut in_word, mut after_punctuation) = (0, 0);
        for block in from / BLOCK_BYTES..=(to - 1) / BLOCK_BYTES {
            let first = block * BLOCK_BYTES;
            let inside = inside(first, from, to);
            let [blanks, punctuation, _] = window.masks[block];
            let (word, punctuation) = (!(blanks | punctuation) & inside, punctuation & inside);
            let starts = word & !(word << 1 | in_word) | punctuation;
            let ends = (word << 1 | in_word) & !word | punctuation << 1 | after_punctuation;
            (in_word, after_punctuation) = (word >> 63, punctuation >> 63);
            let first = (base + first) as u32;
            n_starts += each_bit(starts, n_starts, places, |place, bit| place.0 = first + bit);
            n_ends += each_bit(ends, n_ends, places, |place, bit| place.1 = first + bit);
        }
        if n_ends < n_starts {
            places[n_ends].1 = (base + to) as u32;
        }
        n_starts
    }
}

/// The bits of the block at `first` that lie in `from..to`.
#[inline(always)]
fn inside(first: usize, from: usize, to: usize) -> u64 {
    let after_start = u64::MAX << from.saturating_sub(first).min(BLOCK_BYTES - 1);
    let before_end = u64::MAX >> (first + BLOCK_BYTES).saturating_sub(to).min(BLOCK_BYTES - 1);
    after_start & before_end
}

/// Writes the bits of a mask to the places from `at` on, and returns how many there are.
#[inline(always)]
fn each_bit(mut mask: u64, mut at: usize, places: &mut [(u32, u32)], write: impl Fn(&mut (u32, u32), u32)) -> usize {
    let n_bits = mask.count_ones() as usize;
    while mask != 0 {
        let Some(places) = places.get_mut(at..at + PLACES) else { break };
        for place in places {
            write(place, mask.trailing_zeros());
            mask &= mask.wrapping_sub(1);
        }
        at += PLACES;
    }
    n_bits
}

/// Appends words character by character from byte `at`, where a word begins or none is, to the next ASCII blank, or to the end of a
/// word at or after `enough`. Returns where it stopped.
fn by_character(characters: &Characters, text: &str, at: usize, enough: usize, spans: &mut Vec<(u32, u32)>) -> usize {
    let mut word = at;
    for (offset, character) in text[at..].char_indices() {
        let (start, end) = (at + offset, at + offset + character.len_utf8());
        let class = characters.class(character);
        if class == Class::Word {
            continue;
        }
        if word < start {
            spans.push((word as u32, start as u32));
        }
        if class == Class::Alone {
            spans.push((start as u32, end as u32));
        }
        word = end;
        if end >= enough || class == Class::Space && character.is_ascii() {
            return end;
        }
    }
    if word < text.len() {
        spans.push((word as u32, text.len() as u32));
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::super::chars::Options;
    use super::*;

    fn words_of(text: &str) -> Vec<&str> {
        let options = Options { clean_text: true, handle_chinese_chars: true, strip_accents: None, lowercase: true };
        let (splitter, characters) = (Splitter::new(), Characters::new(options));
        let (mut words, mut from) = (Words::default(), 0);
        while from < text.len() {
            from = splitter.split(&characters, text, from, &mut words);
        }
        words.spans.iter().map(|&(start, end)| &text[start as usize..end as usize]).collect()
    }

    #[test]
    fn blanks_part_words_and_punctuation_stands_alone() {
        assert_eq!(words_of(" ab  c,d!\u{201c}e\u{201d} f\t"), ["ab", "c", ",", "d", "!", "\u{201c}", "e", "\u{201d}", "f"]);
        assert_eq!(words_of("a\u{3000}b\u{4e2d}\u{6587}c"), ["a", "b", "\u{4e2d}", "\u{6587}", "c"]);
        assert_eq!(words_of(""), [""; 0]);
    }

    #[test]
    fn windows_and_blocks_change_nothing() {
        for odd in ["", "\u{e9}", "\u{4e2d}", "\u{b}"] {
            for n_before in [0, 1, 30, 62, 63, 64, 65, 4030, 4095, 4096, 4097, 9000] {
                for n_word in [1, 2, 15, 63, 64, 65, 130, 4095, 4096, 4097, 8200] {
                    let text = format!("{}{}{odd}, {odd} z", "x ".repeat(n_before / 2), "w".repeat(n_word));
                    let slow: Vec<&str> = slow_words(&text);
                    assert_eq!(words_of(&text), slow, "{odd:?} {n_before} {n_word}");
                }
            }
        }
    }

    fn slow_words(text: &str) -> Vec<&str> {
        let alone = |c: char| c == ',' || c == '\u{4e2d}';
        let parts = text.split(' ').flat_map(|part| part.split_inclusive(alone));
        let parts = parts.flat_map(|part| match part.char_indices().next_back() {
            Some((at, last)) if alone(last) => vec![&part[..at], &part[at..]],
            _ => vec![part],
        });
        parts.filter(|part| !part.is_empty()).collect()
    }
}
