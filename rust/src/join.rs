//! Joins the tokens of pieces of a text, which several threads read, in the order of the pieces.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::Tokens;

/// Places for the tokens of pieces, which are given out in the order of the pieces and filled by whoever has read one: copying, and the
/// first touch of memory, take a good part of the time of reading, so all threads do both.
#[derive(Debug)]
pub struct Joiner<'t>(Mutex<State<'t>>);

#[derive(Debug)]
struct State<'t> {
    ids: &'t mut [u32],
    byte_spans: &'t mut [(u32, u32)],
    /// Read, but a piece before them is not, or there was no place.
    waiting: BTreeMap<usize, Tokens>,
    next_piece: usize,
    n_placed: usize,
    /// For their memory.
    spare: Vec<Tokens>,
}

/// Tokens of a piece, and where they go.
struct Placed<'t> {
    tokens: Tokens,
    ids: &'t mut [u32],
    byte_spans: &'t mut [(u32, u32)],
}

/// What became of all pieces.
pub struct Joined {
    /// How many places are filled.
    pub n_tokens: usize,
    /// The tokens of the pieces after those, for which there were too few.
    pub rest: Vec<Tokens>,
    /// Tokens without use, for their memory.
    pub spare: Vec<Tokens>,
}

impl<'t> Joiner<'t> {
    /// Fills these places.
    pub fn new((ids, byte_spans): (&'t mut [u32], &'t mut [(u32, u32)]), spare: Vec<Tokens>) -> Self {
        Self(Mutex::new(State { ids, byte_spans, waiting: BTreeMap::new(), next_piece: 0, n_placed: 0, spare }))
    }

    /// No tokens, in memory that was used before where there is some.
    pub fn part(&self) -> Tokens {
        let mut part = self.lock().spare.pop().unwrap_or_default();
        part.clear();
        part
    }

    /// Takes the tokens of a piece. All pieces count from 0.
    pub fn add(&self, piece: usize, tokens: Tokens) {
        self.lock().waiting.insert(piece, tokens);
        while let Some(Placed { tokens, ids, byte_spans }) = self.next() {
            ids.copy_from_slice(tokens.ids());
            byte_spans.copy_from_slice(tokens.byte_spans());
            self.lock().spare.push(tokens);
        }
    }

    /// The next piece, if it is read and there are places for it.
    fn next(&self) -> Option<Placed<'t>> {
        let mut state = self.lock();
        let next_piece = state.next_piece;
        let n_tokens = state.waiting.get(&next_piece)?.len();
        let (ids, byte_spans) = (state.ids.split_off_mut(..n_tokens)?, state.byte_spans.split_off_mut(..n_tokens)?);
        (state.next_piece, state.n_placed) = (next_piece + 1, state.n_placed + n_tokens);
        state.waiting.remove(&next_piece).map(|tokens| Placed { tokens, ids, byte_spans })
    }

    /// What became of the pieces, when all are added.
    pub fn finish(self) -> Joined {
        let state = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        Joined { n_tokens: state.n_placed, rest: state.waiting.into_values().collect(), spare: state.spare }
    }

    fn lock(&self) -> MutexGuard<'_, State<'t>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel;

    fn part(piece: usize) -> Tokens {
        (0..piece as u32 % 5).map(|i| (10 * piece as u32 + i, (i, i + 1))).collect()
    }

    /// The tokens of so many pieces, joined in places for `n_places`, when the pieces are added by `add`.
    fn joined(n_places: usize, add: impl FnOnce(&Joiner<'_>)) -> Tokens {
        let mut tokens = part(3);
        let joiner = Joiner::new(with_length(tokens.room(n_places), n_places), vec![part(4)]);
        assert!(joiner.part().is_empty());
        add(&joiner);
        let outcome = joiner.finish();
        tokens.advance(outcome.n_tokens);
        outcome.rest.iter().for_each(|part| tokens.append(part));
        tokens
    }

    fn with_length<'t>((ids, spans): (&'t mut [u32], &'t mut [(u32, u32)]), n: usize) -> (&'t mut [u32], &'t mut [(u32, u32)]) {
        (&mut ids[..n], &mut spans[..n])
    }

    fn expected(n_pieces: usize) -> Tokens {
        let mut tokens = part(3);
        (0..n_pieces).for_each(|piece| tokens.append(&part(piece)));
        tokens
    }

    #[test]
    fn pieces_that_come_in_any_order_are_joined_in_theirs_whatever_places_there_are() {
        for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [1, 3, 0, 4, 2]] {
            for n_places in 0..12 {
                let add = |joiner: &Joiner<'_>| order.into_iter().for_each(|piece| joiner.add(piece, part(piece)));
                assert_eq!(joined(n_places, add), expected(5), "{order:?} in {n_places}");
            }
        }
    }

    #[test]
    fn all_pieces_are_there_on_any_number_of_threads() {
        for n_threads in [1, 2, 7] {
            for n_places in [0, 1000, 2000, 3000] {
                let add = |joiner: &Joiner<'_>| {
                    let added = parallel::map(1000, n_threads, |piece| {
                        let mut tokens = joiner.part();
                        tokens.append(&part(piece));
                        joiner.add(piece, tokens);
                        Ok::<_, ()>(())
                    });
                    assert!(added.is_ok());
                };
                assert_eq!(joined(n_places, add), expected(1000), "{n_threads} threads, {n_places} places");
            }
        }
    }
}
