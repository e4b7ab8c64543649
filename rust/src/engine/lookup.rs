//! Words to tokens by way of the cache, many at a time: first it is asked for all of them, then what it has is written.

use wide::u32x4;

use super::Tokens;
use super::cache::{INLINE_TOKENS, NO_KEY, ids_of, is_short, key, n_inline, register, spans_of};
use super::sets::{Lines, Sets, get};
use crate::scan::{Wide, wide};

/// Places that a word writes, wanted or not: a loop over the number of its tokens would mispredict.
const WORD_PLACES: usize = INLINE_TOKENS + 1;

/// A word that is looked up.
#[derive(Debug, Default, Clone, Copy)]
pub struct Sought {
    /// What it is known by; [`NO_KEY`] where it is too long.
    pub key: u32x4,
    /// Where that would be.
    pub set: usize,
    /// Where it starts in its stretch, in bytes.
    pub start: u32,
}

/// Asks for what the cache has of each of the words, so that nothing has to be waited for when they are written.
pub fn seek(sets: &Sets, text: &[u8], words: &[(u32, u32)], sought: &mut Vec<Sought>) {
    sought.resize(words.len(), Sought::default());
    wide(Seek { sets: sets.lines(), text, words, sought });
}

/// Appends the tokens of words up to the first whose tokens are not beside its key, and returns how many words that were. Their stretch
/// starts at byte `base` of its document.
pub fn write(sets: &Sets, words: &[Sought], base: u32, tokens: &mut Tokens) -> usize {
    let (ids, spans) = tokens.room(words.len() * WORD_PLACES);
    let (n_words, n_tokens) = wide(Write { ids, spans, sets: sets.lines(), words, base });
    tokens.advance(n_tokens);
    n_words
}

/// Into these places the tokens of these words.
struct Write<'w> {
    ids: &'w mut [u32],
    spans: &'w mut [(u32, u32)],
    sets: Lines<'w>,
    words: &'w [Sought],
    base: u32,
}

impl Wide for Write<'_> {
    type Output = (usize, usize);

    #[inline(always)]
    fn run(self) -> (usize, usize) {
        let Self { ids, spans, sets, words, base } = self;
        let n_places = ids.len().min(spans.len()); // so that one check does for both
        let (ids, spans) = (&mut ids[..n_places], &mut spans[..n_places]);
        let (mut n_words, mut n_tokens) = (0, 0);
        for word in words {
            let Some(line) = sets.line(word.set) else { break };
            let (is_there, tokens) = get(line, word.key);
            let n_inline = n_inline(tokens);
            if !is_there || n_inline > INLINE_TOKENS {
                break;
            }
            let places = n_tokens..n_tokens + WORD_PLACES;
            let (Some(ids), Some(spans)) = (ids.get_mut(places.clone()), spans.get_mut(places)) else { break };
            let [starts, ends] = spans_of(tokens).map(|edges| edges + u32x4::splat(base + word.start));
            let [some, others] = [starts.unpack_lo(ends), starts.unpack_hi(ends)].map(u32x4::to_array);
            ids.copy_from_slice(&ids_of(tokens).to_array());
            spans.copy_from_slice(&[(some[0], some[1]), (some[2], some[3]), (others[0], others[1]), (others[2], others[3])]);
            n_tokens += n_inline;
            n_words += 1;
        }
        (n_words, n_tokens)
    }
}

/// Where in the cache these words would be.
struct Seek<'s> {
    sets: Lines<'s>,
    text: &'s [u8],
    words: &'s [(u32, u32)],
    sought: &'s mut [Sought],
}

impl Wide for Seek<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { sets, text, words, sought } = self;
        for (sought, &(start, end)) in sought.iter_mut().zip(words) {
            let length = (end - start) as usize;
            let key = if is_short(length) { key(text, start as usize, length) } else { register(NO_KEY) };
            *sought = Sought { key, set: sets.seek(key), start };
        }
    }
}
