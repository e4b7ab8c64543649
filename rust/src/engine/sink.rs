//! Where tokens are written one word after the other.

use super::Tokens;
use super::cache::{INLINE_TOKENS, Inline, Key, id_of, n_inline, span_of};
use super::sets::Sets;
use crate::scan::{Wide, wide};

/// Places that a word writes, wanted or not: a loop over the number of its tokens would mispredict.
const WORD_PLACES: usize = 4;

/// A word that is looked up.
#[derive(Debug, Clone, Copy)]
pub struct Sought {
    /// What it is known by; 0 where it is too long.
    pub key: Key,
    /// Where that would be.
    pub set: usize,
    /// Where it starts in its stretch, in bytes.
    pub start: u32,
}

/// The end of some [`Tokens`], with room ahead: columns are longer than what was written, until the sink is dropped.
#[derive(Debug)]
pub struct Sink<'t> {
    tokens: &'t mut Tokens,
    n_tokens: usize,
}

impl<'t> Sink<'t> {
    /// Writes after what is there.
    pub fn new(tokens: &'t mut Tokens) -> Self {
        Self { n_tokens: tokens.ids.len(), tokens }
    }

    fn make_room(&mut self, n_tokens: usize) {
        let length = self.n_tokens + n_tokens;
        if self.tokens.ids.len() < length {
            self.tokens.ids.resize(length, 0);
            self.tokens.byte_spans.resize(length, (0, 0));
        }
    }

    /// Writes the tokens of words up to the first whose tokens are not beside its key, and returns how many words that were.
    pub fn words(&mut self, sets: &Sets, words: &[Sought], base: u32) -> usize {
        self.make_room(words.len() * WORD_PLACES);
        let Tokens { ids, byte_spans } = &mut *self.tokens;
        let (n_words, n_tokens) =
            wide(Write { ids: &mut ids[self.n_tokens..], spans: &mut byte_spans[self.n_tokens..], sets, words, base });
        self.n_tokens += n_tokens;
        n_words
    }

    /// Writes the tokens of one word that starts at byte `start`.
    pub fn inline(&mut self, tokens: &Inline, start: u32) {
        for &token in &tokens[..n_inline(tokens).unwrap_or(0)] {
            let (from, to) = span_of(token);
            self.push(id_of(token), (start + from, start + to));
        }
    }

    /// Writes tokens whose spans count from byte `start`.
    pub fn shifted(&mut self, ids: &[u32], byte_spans: &[(u32, u32)], start: u32) {
        self.make_room(ids.len());
        let places = self.n_tokens..self.n_tokens + ids.len();
        self.tokens.ids[places.clone()].copy_from_slice(ids);
        let shifted = byte_spans.iter().map(|&(from, to)| (start + from, start + to));
        self.tokens.byte_spans[places].iter_mut().zip(shifted).for_each(|(place, span)| *place = span);
        self.n_tokens += ids.len();
    }

    /// Writes one token.
    pub fn push(&mut self, id: u32, byte_span: (u32, u32)) {
        self.shifted(&[id], &[byte_span], 0);
    }
}

/// Into these places the tokens of these words.
struct Write<'w> {
    ids: &'w mut [u32],
    spans: &'w mut [(u32, u32)],
    sets: &'w Sets,
    words: &'w [Sought],
    base: u32,
}

impl Wide for Write<'_> {
    type Output = (usize, usize);

    #[inline(always)]
    fn run(self) -> (usize, usize) {
        let Self { ids, spans, sets, words, base } = self;
        let (mut n_words, mut n_tokens) = (0, 0);
        for word in words {
            let (is_there, tokens) = sets.get(word.key, word.set);
            let n_inline = tokens[INLINE_TOKENS] as usize;
            if !is_there || n_inline > INLINE_TOKENS {
                break;
            }
            let Some(ids) = ids.get_mut(n_tokens..n_tokens + WORD_PLACES) else { break };
            let Some(spans) = spans.get_mut(n_tokens..n_tokens + WORD_PLACES) else { break };
            let start = base + word.start;
            let tokens = *tokens; // all is read before any of it is written: so it is done four at a time
            ids.copy_from_slice(&tokens.map(id_of));
            spans.copy_from_slice(&tokens.map(|token| {
                let (from, to) = span_of(token);
                (start + from, start + to)
            }));
            n_tokens += n_inline;
            n_words += 1;
        }
        (n_words, n_tokens)
    }
}

impl Drop for Sink<'_> {
    fn drop(&mut self) {
        self.tokens.ids.truncate(self.n_tokens);
        self.tokens.byte_spans.truncate(self.n_tokens);
    }
}
