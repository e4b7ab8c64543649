//! Words that were read before, with their tokens.
//!
//! A word of up to 15 bytes is its own key, so a hit compares the word itself and a collision of hashes cannot give a wrong answer; its
//! tokens, up to three, lie beside the key in one cache line with one other word. What is longer or has more tokens lies in a side table.
//! Everything is bounded: where there is no place, older words make room, and a word that is not found is only read again.

use std::collections::HashMap;

use wide::u32x4;

use super::Tokens;
use super::news::News;
use super::sets::Sets;

/// Longest word that is its own key.
const KEY_BYTES: usize = 15;

/// Tokens that fit beside a key.
pub const INLINE_TOKENS: usize = 3;

/// Longest word that is kept: what is longer is not seen twice.
pub const LONGEST_BYTES: usize = 256;

/// Sets of two words that a table has: 64 KiB, which lie in the second-level cache, for a few documents; a huge page for more of them;
/// and 4 MiB for the most.
const TABLE_SETS: [usize; 3] = [1 << 10, 1 << 15, 1 << 16];

/// Tokens in the side table before it is emptied: 12 bytes each.
const MOST_SIDE_TOKENS: usize = 1 << 19;

/// Ids from here on do not fit beside a key.
const INLINE_IDS: u32 = 1 << 24;

/// A short word: its bytes, then its length in the last byte. Never 0 for a word, so 0 is an empty place.
pub type Key = u128;

/// Bits of a key below its length.
pub const KEY_BYTES_BITS: u32 = 120;

/// Of words that have none.
pub const NO_KEY: Key = Key::MAX;

/// The tokens of a short word: three times an id (24 bits), start and end in the word (4 bits each), then their number, in the highest bits.
pub type Inline = [u32; INLINE_TOKENS + 1];

/// Below the number of tokens.
const NUMBER_SHIFT: u32 = 28;

/// In place of a number of tokens: they lie in the side table, from the first entry of the [`Inline`] to the second.
const IN_SIDE_TABLE: u32 = 1 << 31;

/// By the length of a word: which of 16 bytes are the word's, and the length as a key has it.
const PARTS: [[u128; 2]; 16] = {
    let mut parts = [[0; 2]; 16];
    let mut length = 1;
    while length < 16 {
        parts[length] = [(1 << (8 * length)) - 1, (length as u128) << KEY_BYTES_BITS];
        length += 1;
    }
    parts
};

/// What the cache knows of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known<'c> {
    /// Its tokens, from beside its key.
    Inline(Inline),
    /// Ids, and where the tokens stand in the word, from the side table.
    Aside(&'c [u32], &'c [(u32, u32)]),
    /// Nothing.
    Nothing,
}

/// Words and their tokens.
#[derive(Debug, Clone)]
pub struct WordCache {
    sets: Sets,
    /// Short words put in since the table last grew.
    n_inserted: usize,
    long: HashMap<Box<[u8]>, (u32, u32), ahash::RandomState>,
    side: Tokens,
    /// Short words that were read since the last exchange.
    untold: Vec<(Key, Inline)>,
    n_heard: usize,
}

impl Default for WordCache {
    fn default() -> Self {
        let (long, side, untold) = (HashMap::default(), Tokens::default(), Vec::new());
        Self { sets: Sets::new(TABLE_SETS[0]), n_inserted: 0, long, side, untold, n_heard: 0 }
    }
}

/// Is a word of so many bytes its own key?
#[inline(always)]
pub fn is_short(n_bytes: usize) -> bool {
    n_bytes.wrapping_sub(1) < KEY_BYTES
}

/// The [`Key`] of `text[start..start + length]`, for a word that [`is_short`].
#[inline(always)]
pub fn key(text: &[u8], start: usize, length: usize) -> u32x4 {
    let bytes = match text.get(start..start + 16).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()) {
        Some(bytes) => bytes,
        None => near_the_end(&text[start..]),
    };
    let [mask, length] = PARTS[length & 15].map(register);
    register(u128::from_le_bytes(bytes)) & mask | length
}

/// A key in one register. Numbers of 128 bits lie in two, and take twice the instructions.
#[inline(always)]
pub fn register(key: Key) -> u32x4 {
    bytemuck::cast(key)
}

#[cold]
fn near_the_end(rest: &[u8]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..rest.len()].copy_from_slice(rest);
    bytes
}

/// The ids in an [`Inline`], in the places of its tokens.
#[inline(always)]
pub fn ids_of(tokens: u32x4) -> u32x4 {
    tokens >> 8
}

/// Where the tokens of an [`Inline`] start, and where they end.
#[inline(always)]
pub fn spans_of(tokens: u32x4) -> [u32x4; 2] {
    let mask = u32x4::splat(15);
    [tokens >> 4 & mask, tokens & mask]
}

/// How many tokens an [`Inline`] holds; more than [`INLINE_TOKENS`] where they lie in the side table.
#[inline(always)]
pub fn n_inline(tokens: u32x4) -> usize {
    (tokens.to_array()[INLINE_TOKENS] >> NUMBER_SHIFT) as usize
}

/// The tokens that an [`Inline`] holds; it holds them itself.
pub fn inline_tokens(tokens: Inline) -> impl Iterator<Item = (u32, (u32, u32))> {
    let tokens = u32x4::new(tokens);
    let [starts, ends] = spans_of(tokens).map(u32x4::to_array);
    let spans = starts.into_iter().zip(ends);
    ids_of(tokens).to_array().into_iter().zip(spans).take(n_inline(tokens).min(INLINE_TOKENS))
}

impl WordCache {
    /// The short words and what stands beside their keys.
    #[inline]
    pub fn sets(&self) -> &Sets {
        &self.sets
    }

    /// What is known of a word of any length; its key is [`NO_KEY`] where it is not short.
    pub fn find(&mut self, word: &[u8], key: Key) -> Known<'_> {
        if key == NO_KEY {
            return self.long.get(word).map_or(Known::Nothing, |&(from, to)| self.side(from, to));
        }
        match self.sets.find(key) {
            None => Known::Nothing,
            Some((_, found)) if found[INLINE_TOKENS] == IN_SIDE_TABLE => self.side(found[0], found[1]),
            Some((at, found)) => {
                self.sets.bring_home(key, at);
                Known::Inline(found)
            }
        }
    }

    fn side(&self, from: u32, to: u32) -> Known<'_> {
        let (ids, byte_spans) = self.side.part(from as usize..to as usize);
        Known::Aside(ids, byte_spans)
    }

    /// Keeps the tokens of a word; spans count from its start.
    pub fn insert(&mut self, word: &[u8], key: Key, ids: &[u32], spans: &[(u32, u32)]) {
        if key != NO_KEY {
            let inline = if let Some(inline) = inline(ids, spans) {
                self.untold.push((key, inline));
                inline
            } else {
                let (from, to) = self.put_aside(ids, spans);
                [from, to, 0, IN_SIDE_TABLE]
            };
            self.insert_short(key, inline);
        } else if word.len() <= LONGEST_BYTES {
            let range = self.put_aside(ids, spans);
            self.long.insert(word.into(), range);
        }
    }

    /// Keeps the token of a word that is one.
    #[inline]
    pub fn insert_single(&mut self, word: &[u8], key: Key, id: u32, (start, end): (u32, u32)) {
        if key != NO_KEY && id < INLINE_IDS {
            self.insert_short(key, [id << 8 | start << 4 | end, 0, 0, 1 << NUMBER_SHIFT]);
        } else {
            self.insert(word, key, &[id], &[(start, end)]);
        }
    }

    /// Tells others of the words that were read, and takes in those that they told.
    pub fn exchange(&mut self, news: &News) {
        for (key, tokens) in news.exchange(&mut self.untold, &mut self.n_heard) {
            if self.sets.find(key).is_none() {
                self.insert_short(key, tokens);
            }
        }
    }

    /// Nobody is to be told.
    pub fn keep_to_itself(&mut self) {
        self.untold.clear();
    }

    fn insert_short(&mut self, key: Key, tokens: Inline) {
        if self.n_inserted > self.sets.len()
            && let Some(&larger) = TABLE_SETS.iter().find(|&&n_sets| n_sets > self.sets.len())
        {
            self.sets = self.sets.grown(larger);
        }
        self.n_inserted += 1;
        self.sets.put(key, tokens);
    }

    fn put_aside(&mut self, ids: &[u32], spans: &[(u32, u32)]) -> (u32, u32) {
        if self.side.len() + ids.len() > MOST_SIDE_TOKENS {
            *self = Self::default(); // short words point into the side table, so all go together
        }
        let from = self.side.len() as u32;
        self.side.extend_shifted(ids, spans, 0);
        (from, self.side.len() as u32)
    }
}

fn inline(ids: &[u32], spans: &[(u32, u32)]) -> Option<Inline> {
    if ids.len() > INLINE_TOKENS || ids.iter().any(|&id| id >= INLINE_IDS) {
        return None;
    }
    let mut inline = [0, 0, 0, (ids.len() as u32) << NUMBER_SHIFT];
    for (slot, (&id, &(start, end))) in inline.iter_mut().zip(ids.iter().zip(spans)) {
        *slot = id << 8 | start << 4 | end;
    }
    Some(inline)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(n_tokens: u32, id: u32) -> Tokens {
        (0..n_tokens).map(|i| (id + i, (i, i + 1))).collect()
    }

    fn key_of(word: &[u8]) -> Key {
        if is_short(word.len()) { bytemuck::cast(key(word, 0, word.len())) } else { NO_KEY }
    }

    fn insert(cache: &mut WordCache, word: &[u8], tokens: &Tokens) {
        cache.insert(word, key_of(word), tokens.ids(), tokens.byte_spans());
    }

    /// What the cache knows of a word, however it keeps it.
    fn known(cache: &mut WordCache, word: &[u8]) -> Option<Tokens> {
        match cache.find(word, key_of(word)) {
            Known::Inline(found) => Some(inline_tokens(found).collect()),
            Known::Aside(ids, spans) => Some(ids.iter().copied().zip(spans.iter().copied()).collect()),
            Known::Nothing => None,
        }
    }

    #[test]
    fn a_word_is_found_with_its_tokens_and_no_other_is() {
        for n_bytes in 1..40_usize {
            for n_tokens in 0..6 {
                let mut cache = WordCache::default();
                let word: Vec<u8> = (0..n_bytes as u8).collect();
                insert(&mut cache, &word, &tokens(n_tokens, 7));
                assert_eq!(known(&mut cache, &word), Some(tokens(n_tokens, 7)), "{n_bytes} bytes, {n_tokens} tokens");
                assert_eq!(known(&mut cache, &word[1..]).filter(|_| n_bytes > 1), None);
                assert_eq!(known(&mut cache, &[&word[..], &[0]].concat()), None, "zeros count");
            }
        }
    }

    #[test]
    fn ids_of_any_size_are_kept() {
        let mut cache = WordCache::default();
        insert(&mut cache, b"word", &tokens(1, u32::MAX - 5));
        assert_eq!(known(&mut cache, b"word"), Some(tokens(1, u32::MAX - 5)));
    }

    #[test]
    fn what_is_known_is_right_however_many_words_there_are() {
        let mut cache = WordCache::default();
        let word = |i: u32| format!("{i:x}{}", if i.is_multiple_of(9) { " is a longer word" } else { "" });
        for i in 0..300_000 {
            insert(&mut cache, word(i).as_bytes(), &tokens(i % 6, i));
        }
        let found: Vec<u32> = (0..300_000).filter(|&i| known(&mut cache, word(i).as_bytes()).is_some()).collect();
        assert!(found.len() > 20_000, "{}", found.len());
        for i in found {
            assert_eq!(known(&mut cache, word(i).as_bytes()), Some(tokens(i % 6, i)));
        }
    }

    #[test]
    fn a_key_near_the_end_of_the_text_is_the_same() {
        let text = b"some text and more of it, word";
        assert_eq!(key(text, 26, 4), key(b"word and a long text after it", 0, 4));
    }

    #[test]
    fn caches_know_what_others_tell_as_if_they_had_read_it() {
        let (news, mut caches) = (News::default(), [WordCache::default(), WordCache::default()]);
        let words: Vec<Vec<u8>> = (0..40).map(|number| format!("word{number}").into_bytes()).collect();
        for (number, word) in words.iter().enumerate() {
            insert(&mut caches[number % 2], word, &tokens(2, number as u32));
            insert(&mut caches[number % 2], &[word.as_slice(), b"s"].concat(), &tokens(4, 0)); // aside
            insert(&mut caches[number % 2], b"both", &tokens(3, 7));
        }
        for reader in [0, 1, 0] {
            caches[reader].exchange(&news);
        }
        for cache in &mut caches {
            assert!(words.iter().zip(0..).all(|(word, id)| known(cache, word) == Some(tokens(2, id))));
            assert_eq!(known(cache, b"both"), Some(tokens(3, 7)));
        }
        assert_eq!(
            [0, 1].map(|reader| known(&mut caches[reader], b"word0s").is_some()),
            [true, false],
            "only what lies beside its key is told"
        );
        let mut alone = WordCache::default();
        insert(&mut alone, b"alone", &tokens(1, 0));
        alone.keep_to_itself();
        alone.exchange(&news);
        caches[0].exchange(&news);
        assert!(known(&mut alone, b"word0").is_some() && known(&mut caches[0], b"alone").is_none());
    }
}
