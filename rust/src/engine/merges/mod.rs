//! Byte-pair encoding of one word.
//!
//! Three ways to the same tokens: a word that is a token is looked up, other short words are merged in a [`block`], and long words block
//! by block (see [`Merges::merge_long`]). All three need merges of which each makes another token, of parts that come before it; others
//! go through the [`queue`], as in `tokenizers`.
//!
//! Why a long word may be read in parts: all that merging does is to join the best pair, leftmost of equals, until there is none. Where
//! no merge reaches across some place, both sides of it are merged as if alone. So tokens are those of a word exactly where every two
//! neighbours are the tokens of what they cover together: the first merge across a border would have happened between those two as well.

mod block;
mod entries;
mod joined;
mod model;
mod pairs;
mod queue;
#[cfg(target_arch = "x86_64")]
mod short;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ops::Range;

use self::entries::{Entries, LONGEST_BYTES, Word};
pub use self::model::{Ids, Model, Vocabulary};
use self::pairs::FIRST_MERGE;
pub use self::pairs::{NONE, Pairs};
use crate::engine::cache::Key;
use crate::engine::tokens::TOKEN_BYTES;
use crate::memory;

/// More merges cannot be numbered.
pub const MOST_MERGES: usize = (NONE - FIRST_MERGE) as usize;

/// In place of the id of a byte that is in no text.
pub const UNUSED: u32 = u32::MAX;

/// A long word is read this much at a time; more where its tokens are long. Tests have many seams.
const STEP_BYTES: usize = if cfg!(test) { 20 } else { 256 };

/// Tokens that end so near the end of a block are not settled: what follows would change them.
const UNSETTLED_BYTES: usize = if cfg!(test) { 1 } else { 16 };

/// Blocks of a word that are remembered.
const KNOWN_BLOCKS: usize = 8;

/// The merges of a model.
#[derive(Debug)]
pub struct Merges {
    pairs: Pairs,
    /// By merge: what it is made of, and the number of what it makes.
    parts: Vec<[u32; 2]>,
    made: Vec<u32>,
    /// By number: the id in the vocabulary, and how many bytes it has.
    ids: Vec<u32>,
    lengths: Vec<u32>,
    words: Entries,
    /// Every merge makes another token, of parts with lower numbers.
    is_plain: bool,
}

/// The blocks of a word that were read last. Long words are often one thing over and over.
#[derive(Debug, Default)]
struct Blocks {
    read: VecDeque<(Range<usize>, Vec<u32>)>,
}

impl Blocks {
    /// The tokens of a part of a word, by `read` if no block before was the same.
    fn tokens(&mut self, word: &[u8], block: Range<usize>, read: impl FnOnce(&[u8], &mut Vec<u32>)) -> &[u32] {
        let known = self.read.iter().position(|(before, _)| word[before.clone()] == word[block.clone()]);
        let at = known.unwrap_or_else(|| {
            let mut tokens = if self.read.len() < KNOWN_BLOCKS { Vec::new() } else { self.read.pop_front().unwrap_or_default().1 };
            tokens.clear();
            read(&word[block.clone()], &mut tokens);
            self.read.push_back((block, tokens));
            self.read.len() - 1
        });
        &self.read[at].1
    }
}

impl Merges {
    /// From ids of bytes, and of left part, right part and result of the merges in the order of their ranks. Of equal pairs the last
    /// counts. Ids are below `n_ids`, and all numbers below [`NONE`].
    pub fn new(byte_ids: &[u32; 256], merges: &[[u32; 3]], n_ids: usize) -> Self {
        let mut numbers = vec![NONE; n_ids];
        for (&id, byte) in byte_ids.iter().zip(0..) {
            if id != UNUSED {
                numbers[id as usize] = byte;
            }
        }
        let (mut ids, mut made, mut is_plain) = (byte_ids.to_vec(), Vec::with_capacity(merges.len()), true);
        for (&[_, _, id], number) in merges.iter().zip(FIRST_MERGE..) {
            is_plain &= numbers[id as usize] == NONE;
            if numbers[id as usize] == NONE {
                numbers[id as usize] = number;
            }
            made.push(numbers[id as usize]);
            ids.push(id);
        }
        let parts: Vec<[u32; 2]> = merges.iter().map(|&[left, right, _]| [numbers[left as usize], numbers[right as usize]]).collect();
        let mut pairs = Pairs::new(merges.len());
        for (&[left, right], number) in parts.iter().zip(FIRST_MERGE..) {
            // What no merge makes cannot be merged.
            if left != NONE && right != NONE {
                pairs.insert(left, right, number);
                is_plain &= left < number && right < number;
            }
        }
        let mut all = Self { pairs, parts, made, ids, lengths: vec![1; 256], words: Entries::new(0), is_plain };
        if is_plain {
            all.find_words();
        }
        all
    }

    /// Finds the short tokens that their own bytes become, and how long all tokens are.
    fn find_words(&mut self) {
        let mut words: Vec<Word> = Vec::with_capacity(self.ids.len());
        words.extend((0..=255).map(|byte| Word::new(&[byte])));
        for (&[left, right], number) in self.parts.iter().zip(FIRST_MERGE..) {
            // A token that is never made is no part of another one.
            let [left_word, right_word] = [left, right].map(|part| words.get(part as usize).copied().unwrap_or(Word::TOO_LONG));
            let word = left_word.joined(right_word);
            let is_made = word != Word::TOO_LONG && self.insides_stay_apart(left, right, number);
            words.push(if is_made { word } else { Word::TOO_LONG });
            let length = |part: u32| self.lengths.get(part as usize).copied().unwrap_or_default();
            self.lengths.push(length(left).saturating_add(length(right)));
        }
        self.words = Entries::new(words.iter().filter(|&&word| word != Word::TOO_LONG).count());
        for (&word, &id) in words.iter().zip(&self.ids).filter(|&(&word, _)| word != Word::TOO_LONG) {
            self.words.insert(word, id);
        }
    }

    /// Does no merge join what stands at the end of one token with what stands at the beginning of the next, while these are made?
    fn stay_apart(&self, left: u32, right: u32) -> bool {
        self.pairs.get(left, right) == NONE && self.insides_stay_apart(left, right, NONE)
    }

    /// As [`Merges::stay_apart`], up to the merge `last`, which is that of the two tokens themselves or none.
    ///
    /// Goes back through what stood beside the border, latest first. A pair there is merged if its merge comes before those that take
    /// its left or its right token away; of equals the left one comes first.
    fn insides_stay_apart(&self, mut left: u32, mut right: u32, last: u32) -> bool {
        let (mut left_gone, mut right_gone) = (last, last);
        while left.max(right) >= FIRST_MERGE {
            if left > right {
                (left_gone, left) = (left, self.parts[(left - FIRST_MERGE) as usize][1]);
            } else {
                (right_gone, right) = (right, self.parts[(right - FIRST_MERGE) as usize][0]);
            }
            let merge = self.pairs.get(left, right);
            if merge < left_gone && merge <= right_gone {
                return false;
            }
        }
        true
    }

    /// Asks for the memory that [`Merges::single`] looks at.
    #[inline]
    pub fn expect(&self, key: Key) {
        if let Some(word) = Word::of_key(key) {
            self.words.expect(word);
        }
    }

    /// The id of a short word that is one token.
    #[inline]
    pub fn single(&self, key: Key) -> Option<u32> {
        self.id_of(Word::of_key(key)?)
    }

    fn id_of(&self, word: Word) -> Option<u32> {
        let id = self.words.get(word);
        (id != NONE).then_some(id)
    }

    /// Calls `emit` with the id and length of every token of a word.
    #[inline]
    pub fn merge(&self, word: &[u8], mut emit: impl FnMut(u32, usize)) {
        if word.len() <= LONGEST_BYTES
            && let Some(id) = self.id_of(Word::new(word))
        {
            return emit(id, word.len());
        }
        if !self.is_plain {
            return self.merge_by_queue(word, emit);
        }
        let mut emit = |number: u32, length| emit(self.ids[number as usize], length);
        if word.len() <= STEP_BYTES {
            block::merge(&self.pairs, word, &mut emit);
        } else {
            self.merge_long(word, &mut emit);
        }
    }

    /// As [`Merges::merge`], in one block, for words that fit into one.
    #[cfg(test)]
    pub fn merge_in_one_block(&self, word: &[u8], mut emit: impl FnMut(u32, usize)) {
        block::merge(&self.pairs, word, |number, length| emit(self.ids[number as usize], length));
    }

    /// The same, as on a processor without the instructions that short words are merged with.
    #[cfg(test)]
    pub fn merge_in_memory(&self, word: &[u8], mut emit: impl FnMut(u32, usize)) {
        block::merge_in_memory(&self.pairs, word, |number, length| emit(self.ids[number as usize], length));
    }

    /// As [`Merges::merge`], for merges of any kind.
    pub fn merge_by_queue(&self, word: &[u8], mut emit: impl FnMut(u32, usize)) {
        queue::merge(&self.pairs, &self.made, word).each(|number, length| emit(self.ids[number as usize], length));
    }

    /// Calls `emit` with number and length of every token of a word of any length, in time that is linear in it.
    ///
    /// Reads a block, keeps its tokens but for the last, and goes on at the seam, where those end. A block that does not fit to what comes
    /// before the seam shows that this was not settled: tokens are taken back and the block read from there, twice as many and twice as
    /// far each time it fails; in the end that is the whole word.
    fn merge_long(&self, word: &[u8], mut emit: impl FnMut(u32, usize)) {
        let mut tokens = Vec::new();
        memory::reserve(&mut tokens, word.len() / TOKEN_BYTES);
        let mut blocks = Blocks::default();
        let (mut start, mut seam) = (0, 0);
        let (mut n_back, mut n_ahead) = (1, 2 * UNSETTLED_BYTES);
        while start < word.len() {
            let end = word.len().min((start + STEP_BYTES).max(seam + n_ahead));
            let read = blocks.tokens(word, start..end, |block, read| self.read_block(block, read));
            let fits = match (tokens.last(), read.first()) {
                (Some(&last), Some(&first)) => self.stay_apart(last, first),
                _ => true,
            };
            if fits {
                let n_unsettled = if end == word.len() { 0 } else { UNSETTLED_BYTES.max(n_ahead / 8) };
                start += self.keep(read, end - start - n_unsettled, &mut tokens);
                if start > seam {
                    n_ahead = (if n_back == 1 { n_ahead / 2 } else { n_ahead }).clamp(2 * UNSETTLED_BYTES, block::MOST_BYTES / 2);
                    (seam, n_back) = (start, 1);
                    continue;
                }
            }
            let taken_back = tokens.split_off(tokens.len().saturating_sub(n_back));
            start -= taken_back.iter().map(|&token| self.lengths[token as usize] as usize).sum::<usize>();
            (n_back, n_ahead) = (n_back * 2, n_ahead * 2);
        }
        for number in tokens {
            emit(number, self.lengths[number as usize] as usize);
        }
    }

    /// Moves the tokens that end within `n_settled` bytes, and returns how many bytes they cover.
    fn keep(&self, read: &[u32], n_settled: usize, tokens: &mut Vec<u32>) -> usize {
        let mut n_bytes = 0;
        for &token in read {
            let length = self.lengths[token as usize] as usize;
            if n_bytes + length > n_settled {
                break;
            }
            n_bytes += length;
            tokens.push(token);
        }
        n_bytes
    }

    fn read_block(&self, bytes: &[u8], read: &mut Vec<u32>) {
        if bytes.len() <= block::MOST_BYTES {
            block::merge(&self.pairs, bytes, |token, _| read.push(token));
        } else {
            queue::merge(&self.pairs, &self.made, bytes).each(|token, _| read.push(token));
        }
    }
}
