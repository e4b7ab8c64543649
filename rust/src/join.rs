//! Joins the tokens of pieces of a text, which several threads read, in the order of the pieces.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ahead::{Ahead, Page};
use crate::engine::Tokens;

/// What tokens are joined in.
pub trait Target {
    /// What is known of a piece: its tokens, at least.
    type Piece: Default;
    /// Where they go.
    type Place;

    /// The place for the piece that follows those before; None where there is too little.
    fn next_place(&mut self, piece: &Self::Piece) -> Option<Self::Place>;

    /// Memory for the places that come next, to be asked for now.
    fn pages_ahead(&mut self) -> [Option<Page>; 2];

    /// Writes tokens to their place.
    fn fill(place: Self::Place, piece: &Self::Piece);
}

/// Gives out the places of a target in the order of the pieces. Each thread has a [`Hand`], which fills the places of what it read itself:
/// copying, and the first touch of memory, take a good part of the time of reading, and tokens lie in the cache of the core that read them.
pub struct Joiner<T: Target>(Mutex<State<T>>);

struct State<T: Target> {
    target: T,
    /// Read, but a piece before them is not, or there was no place.
    waiting: BTreeMap<usize, Read<T>>,
    next_piece: usize,
    /// There is a place, which whoever read them has not come for.
    placed: Vec<(T::Place, Read<T>)>,
    n_hands: usize,
    /// For their memory.
    spare: Vec<T::Piece>,
}

struct Read<T: Target> {
    piece: T::Piece,
    /// The number of the hand that is to fill its place; none, where any hand is as good.
    hand: Option<usize>,
}

/// What a thread reads pieces with.
pub struct Hand<'j, T: Target> {
    joiner: &'j Joiner<T>,
    number: usize,
    /// For their memory, which is in the cache of this thread's core.
    spare: Vec<T::Piece>,
}

/// What became of all pieces.
pub struct Joined<T: Target> {
    /// With places for no more.
    pub target: T,
    /// Pieces that have places: so many from the first on.
    pub n_placed: usize,
    /// The pieces for which there was no place.
    pub rest: Vec<T::Piece>,
    /// Pieces without use, for their memory.
    pub spare: Vec<T::Piece>,
}

impl<T: Target> State<T> {
    /// Gives places to the pieces that are next.
    fn give_places(&mut self) {
        while let Some(next) = self.waiting.first_entry()
            && *next.key() == self.next_piece
            && let Some(place) = self.target.next_place(&next.get().piece)
        {
            self.placed.push((place, next.remove()));
            self.next_piece += 1;
        }
    }
}

impl<T: Target> Joiner<T> {
    /// Fills these places.
    pub fn new(target: T, spare: Vec<T::Piece>) -> Self {
        Self(Mutex::new(State { target, waiting: BTreeMap::new(), next_piece: 0, placed: Vec::new(), n_hands: 0, spare }))
    }

    /// One for a thread.
    pub fn hand(&self) -> Hand<'_, T> {
        let mut state = self.lock();
        state.n_hands += 1;
        Hand { joiner: self, number: state.n_hands, spare: Vec::new() }
    }

    /// Takes a piece whose place any hand may fill. All pieces count from 0.
    pub fn add(&self, index: usize, piece: T::Piece) {
        self.lock().waiting.insert(index, Read { piece, hand: None });
    }

    /// What became of the pieces, when all are added.
    pub fn finish(self) -> Joined<T> {
        let mut state = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.give_places();
        let State { target, waiting, next_piece: n_placed, placed, mut spare, .. } = state;
        // Those that got a place when the thread that read them had nothing more to read.
        for (place, Read { piece, .. }) in placed {
            T::fill(place, &piece);
            spare.push(piece);
        }
        Joined { target, n_placed, rest: waiting.into_values().map(|read| read.piece).collect(), spare }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Target> Hand<'_, T> {
    /// A piece that was used before, whatever is in it, or a new one.
    pub fn spare(&mut self) -> T::Piece {
        self.spare.pop().or_else(|| self.joiner.lock().spare.pop()).unwrap_or_default()
    }

    /// Takes what was read of a piece. All pieces count from 0.
    pub fn add(&mut self, index: usize, piece: T::Piece) {
        let hand = Some(self.number);
        let mut state = self.joiner.lock();
        state.waiting.insert(index, Read { piece, hand });
        state.give_places();
        let pages = state.target.pages_ahead();
        let own: Vec<_> = state.placed.extract_if(.., |(_, read)| read.hand.is_none() || read.hand == hand).collect();
        drop(state);
        pages.into_iter().flatten().for_each(Page::ask_for);
        for (place, Read { piece, .. }) in own {
            T::fill(place, &piece);
            self.spare.push(piece);
        }
    }
}

impl<T: Target> Drop for Hand<'_, T> {
    fn drop(&mut self) {
        self.joiner.lock().spare.append(&mut self.spare);
    }
}

/// Places for tokens in two columns.
#[derive(Debug)]
pub struct Columns<'t> {
    ids: &'t mut [u32],
    byte_spans: &'t mut [(u32, u32)],
    /// How many places are given out.
    pub n_tokens: usize,
    ahead: [Ahead; 2],
}

impl<'t> Columns<'t> {
    /// All of these, which are equally many, for so many threads to fill.
    pub fn new((ids, byte_spans): (&'t mut [u32], &'t mut [(u32, u32)]), n_threads: usize) -> Self {
        let ahead = [Ahead::new(ids, n_threads), Ahead::new(byte_spans, n_threads)];
        Self { ids, byte_spans, n_tokens: 0, ahead }
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

    fn pages_ahead(&mut self) -> [Option<Page>; 2] {
        let [ids, byte_spans] = &mut self.ahead;
        [ids.next_page(self.ids), byte_spans.next_page(self.byte_spans)]
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
        let joiner = Joiner::new(Columns::new(with_length(tokens.room(n_places), n_places), 2), vec![part(4)]);
        assert_eq!(joiner.hand().spare(), part(4));
        add(&joiner);
        let Joined { target: Columns { n_tokens, .. }, n_placed, rest, .. } = joiner.finish();
        assert_eq!(tokens.len() - part(3).len() + n_tokens, (0..n_placed).map(|piece| part(piece).len()).sum::<usize>());
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
                for n_hands in 0..4 {
                    let add = |joiner: &Joiner<Columns<'_>>| {
                        let mut hands: Vec<_> = (0..n_hands).map(|_| joiner.hand()).collect();
                        for piece in order {
                            match hands.get_mut(piece % 4) {
                                Some(hand) => hand.add(piece, part(piece)),
                                None => joiner.add(piece, part(piece)),
                            }
                        }
                    };
                    assert_eq!(joined(n_places, add), expected(5), "{order:?} in {n_places}, {n_hands} hands");
                }
            }
        }
    }

    #[test]
    fn a_hand_fills_the_places_of_what_it_read_and_of_what_nobody_is_to() {
        let mut tokens = part(3);
        let joiner = Joiner::new(Columns::new(with_length(tokens.room(20), 20), 2), Vec::new());
        let (mut first, mut second) = (joiner.hand(), joiner.hand());
        let n_filled = |first: &Hand<'_, _>, second: &Hand<'_, _>| (first.spare.len(), second.spare.len());
        second.add(1, part(1));
        joiner.add(2, part(2));
        assert_eq!(n_filled(&first, &second), (0, 0), "there is no place before that of piece 0 is known");
        first.add(0, part(0));
        assert_eq!(n_filled(&first, &second), (2, 0));
        second.add(4, part(4));
        assert_eq!(n_filled(&first, &second), (2, 1));
        first.add(3, part(3));
        assert_eq!(n_filled(&first, &second), (3, 1), "the place of piece 4 is left to its hand");
        drop((first, second));
        let Joined { target: Columns { n_tokens, .. }, n_placed, rest, spare } = joiner.finish();
        assert!(n_placed == 5 && rest.is_empty() && spare.len() == 5);
        tokens.advance(n_tokens);
        assert_eq!(tokens, expected(5));
    }

    #[test]
    fn all_pieces_are_there_on_any_number_of_threads() {
        for n_threads in [1, 2, 7] {
            for n_places in [0, 1000, 2000, 3000] {
                let add = |joiner: &Joiner<Columns<'_>>| {
                    let added = parallel::map_with(
                        1000,
                        n_threads,
                        || joiner.hand(),
                        |hand, piece| {
                            let mut tokens = hand.spare();
                            tokens.clear();
                            tokens.append(&part(piece));
                            hand.add(piece, tokens);
                            Ok::<_, ()>(())
                        },
                    );
                    assert!(added.is_ok());
                };
                assert_eq!(joined(n_places, add), expected(1000), "{n_threads} threads, {n_places} places");
            }
        }
    }
}
