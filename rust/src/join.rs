//! Joins the tokens of pieces of a text, which several threads read, in the order of the pieces.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::Tokens;

/// What tokens are joined in.
pub trait Target {
    /// What is known of a piece: its tokens, at least.
    type Piece: Default;
    /// Where they go.
    type Place;

    /// The place for the piece that follows those before; None where there is too little.
    fn next_place(&mut self, piece: &Self::Piece) -> Option<Self::Place>;

    /// Writes tokens to their place.
    fn fill(place: Self::Place, piece: &Self::Piece);
}

/// Gives out the places of a target in the order of the pieces; they are filled by whoever has read one: copying, and the first touch of
/// memory, take a good part of the time of reading, so all threads do both.
pub struct Joiner<T: Target>(Mutex<State<T>>);

struct State<T: Target> {
    target: T,
    /// Read, but a piece before them is not, or there was no place.
    waiting: BTreeMap<usize, T::Piece>,
    next_piece: usize,
    /// For their memory.
    spare: Vec<T::Piece>,
}

/// What became of all pieces.
pub struct Joined<T: Target> {
    /// With places for no more.
    pub target: T,
    /// The pieces for which there was no place.
    pub rest: Vec<T::Piece>,
    /// Pieces without use, for their memory.
    pub spare: Vec<T::Piece>,
}

impl<T: Target> Joiner<T> {
    /// Fills these places.
    pub fn new(target: T, spare: Vec<T::Piece>) -> Self {
        Self(Mutex::new(State { target, waiting: BTreeMap::new(), next_piece: 0, spare }))
    }

    /// One that was used before, whatever is in it, or a new one.
    pub fn spare(&self) -> T::Piece {
        self.lock().spare.pop().unwrap_or_default()
    }

    /// Takes what was read of a piece. All pieces count from 0.
    pub fn add(&self, index: usize, piece: T::Piece) {
        self.lock().waiting.insert(index, piece);
        while let Some((place, piece)) = self.next() {
            T::fill(place, &piece);
            self.lock().spare.push(piece);
        }
    }

    /// The next piece, if it is read and there is a place for it.
    fn next(&self) -> Option<(T::Place, T::Piece)> {
        let mut state = self.lock();
        let State { target, waiting, next_piece, .. } = &mut *state;
        let place = target.next_place(waiting.get(next_piece)?)?;
        let piece = waiting.remove(next_piece)?;
        *next_piece += 1;
        Some((place, piece))
    }

    /// What became of the pieces, when all are added.
    pub fn finish(self) -> Joined<T> {
        let State { target, waiting, spare, .. } = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        Joined { target, rest: waiting.into_values().collect(), spare }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Places for tokens in two columns.
#[derive(Debug)]
pub struct Columns<'t> {
    ids: &'t mut [u32],
    byte_spans: &'t mut [(u32, u32)],
    /// How many places are given out.
    pub n_tokens: usize,
}

impl<'t> Columns<'t> {
    /// All of these, which are equally many.
    pub fn new((ids, byte_spans): (&'t mut [u32], &'t mut [(u32, u32)])) -> Self {
        Self { ids, byte_spans, n_tokens: 0 }
    }
}

impl<'t> Target for Columns<'t> {
    type Piece = Tokens;
    type Place = (&'t mut [u32], &'t mut [(u32, u32)]);

    fn next_place(&mut self, tokens: &Tokens) -> Option<Self::Place> {
        let place = (self.ids.split_off_mut(..tokens.len())?, self.byte_spans.split_off_mut(..tokens.len())?);
        self.n_tokens += tokens.len();
        Some(place)
    }

    fn fill((ids, byte_spans): Self::Place, tokens: &Tokens) {
        ids.copy_from_slice(tokens.ids());
        byte_spans.copy_from_slice(tokens.byte_spans());
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
    fn joined(n_places: usize, add: impl FnOnce(&Joiner<Columns<'_>>)) -> Tokens {
        let mut tokens = part(3);
        let joiner = Joiner::new(Columns::new(with_length(tokens.room(n_places), n_places)), vec![part(4)]);
        assert_eq!(joiner.spare(), part(4));
        add(&joiner);
        let Joined { target: Columns { n_tokens, .. }, rest, .. } = joiner.finish();
        tokens.advance(n_tokens);
        for part in &rest {
            tokens.append(part);
        }
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
                let add = |joiner: &Joiner<Columns<'_>>| order.into_iter().for_each(|piece| joiner.add(piece, part(piece)));
                assert_eq!(joined(n_places, add), expected(5), "{order:?} in {n_places}");
            }
        }
    }

    #[test]
    fn all_pieces_are_there_on_any_number_of_threads() {
        for n_threads in [1, 2, 7] {
            for n_places in [0, 1000, 2000, 3000] {
                let add = |joiner: &Joiner<Columns<'_>>| {
                    let added = parallel::map(1000, n_threads, |piece| {
                        let mut tokens = joiner.spare();
                        tokens.clear();
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
