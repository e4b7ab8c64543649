//! Writes the words of a window of ASCII: eight at a time, each of which ends where the next one starts.

use super::split::{self, Block, Carry, Splitter};
use crate::engine::words::Words;
use crate::scan::{BLOCK_BYTES, Wide};

/// Places that are written together, wanted or not: a loop over the number of words in a block would mispredict.
const PLACES: usize = 8;

/// Places that a block may need: one more is where the word begins that goes on after it.
const BLOCK_PLACES: usize = BLOCK_BYTES + PLACES + 1;

/// Places before they are emptied. Copying words from places that are made once costs less than making room for each.
const MOST_PLACES: usize = 16 * BLOCK_PLACES;

/// The work.
pub struct Cut<'c, const KIND: u8> {
    pub splitter: &'c Splitter,
    pub text: &'c str,
    /// The window, whose masks `words` has.
    pub from: usize,
    pub end: usize,
    /// Where the first word starts.
    pub open: usize,
    pub words: &'c mut Words,
}

impl<const KIND: u8> Wide for Cut<'_, KIND> {
    /// Where the word starts that goes on, and whether the window ends without a character beyond ASCII.
    type Output = (usize, bool);

    #[inline(always)]
    fn run(self) -> (usize, bool) {
        let Self { splitter, text, from, end, open, words } = self;
        let Words { masks, spans, places } = words;
        places.resize(MOST_PLACES, (0, 0));
        places[0].0 = open as u32;
        let first = (open - from) / BLOCK_BYTES;
        let mut kept = u64::MAX << ((open - from) % BLOCK_BYTES);
        let mut opened = kept & kept.wrapping_neg();
        let (mut carry, mut n_words, mut is_ascii) = (Carry::default(), 0, true);
        for i in first..masks.len() {
            let base = from + i * BLOCK_BYTES;
            let follower = match masks.get(i + 1) {
                Some(next) => next[2] & 1,
                None => text.as_bytes().get(end).map_or(1, |&byte| u64::from(splitter.code[2].contains(byte))),
            };
            let n_valid = (end - base).min(BLOCK_BYTES);
            let valid = u64::MAX >> (BLOCK_BYTES - n_valid);
            let beyond = masks[i][0] & masks[i][1] & masks[i][2] & kept;
            let inside = valid & kept & (beyond & beyond.wrapping_neg()).wrapping_sub(1);
            let block = Block::new(&masks[i], inside, follower << (n_valid - 1));
            let starts = match KIND {
                split::GPT2 => splitter.gpt2(text, base, &block, &mut carry),
                split::GPT4 => splitter.gpt4(text, base, &block, &mut carry),
                _ => splitter.clip(text, base, &block, &mut carry),
            };
            if n_words + BLOCK_PLACES > MOST_PLACES {
                spans.extend_from_slice(&places[..n_words]);
                places[0].0 = places[n_words].0;
                n_words = 0;
            }
            n_words += write_starts(starts & inside & !opened, base as u32, &mut places[n_words..]);
            if beyond != 0 {
                is_ascii = false;
                break;
            }
            (kept, opened) = (u64::MAX, 0);
        }
        spans.extend_from_slice(&places[..n_words]);
        (places[n_words].0 as usize, is_ascii)
    }
}

/// Writes where words start, in a block at `base`: each ends the word before it. Returns how many there are; [`BLOCK_PLACES`] are enough
/// for all.
#[inline(always)]
fn write_starts(mut starts: u64, base: u32, mut places: &mut [(u32, u32)]) -> usize {
    let n_starts = starts.count_ones() as usize;
    while starts != 0 {
        let Some(written) = places.first_chunk_mut::<{ PLACES + 1 }>() else { break };
        for i in 0..PLACES {
            let start = base.wrapping_add(starts.trailing_zeros());
            (written[i].1, written[i + 1].0) = (start, start);
            starts &= starts.wrapping_sub(1);
        }
        places = &mut places[PLACES..];
    }
    n_starts
}
