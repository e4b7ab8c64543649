//! Words whose last byte is another token than the same byte elsewhere (`end_of_word_suffix`), as CLIP has them.
//!
//! After the word there is a byte that no text has. The first of all merges make, of each byte and this one, the token that the byte is
//! at the end. They come before all others and happen once in a word, so that what is left to do starts from the tokens that
//! `tokenizers` starts from.

use crate::engine::merges::Merges;

/// Stands after a word.
pub const END: u8 = 0xFF;

/// Longest word that is copied without asking for memory.
const FEW_BYTES: usize = 63;

/// Calls `emit` with the id and length of every token of a word, of its small letters where it is to be lowered.
pub fn merge(merges: &Merges, word: &[u8], lower: bool, mut emit: impl FnMut(u32, usize)) {
    let mut rest = word.len();
    let emit = |id, length: usize| {
        let length = length.min(rest);
        rest -= length;
        emit(id, length);
    };
    if word.len() <= FEW_BYTES {
        merge_in(&mut [END; FEW_BYTES + 1][..=word.len()], merges, word, lower, emit);
    } else {
        merge_in(&mut vec![END; word.len() + 1], merges, word, lower, emit);
    }
}

/// As [`merge`], with memory for the word and its end.
fn merge_in(ended: &mut [u8], merges: &Merges, word: &[u8], lower: bool, emit: impl FnMut(u32, usize)) {
    ended[..word.len()].copy_from_slice(word);
    if lower {
        ended.make_ascii_lowercase();
    }
    merges.merge(ended, emit);
}
