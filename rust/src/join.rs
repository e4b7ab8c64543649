//! Joins the tokens of a long text whose pieces are read on several threads.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::Tokens;

/// Tokens of pieces in the order of the pieces, whichever is read first.
///
/// Whoever has read a piece joins all that can be joined, unless another thread is at it: nobody waits for the memory that is touched for
/// the first time.
#[derive(Debug)]
pub struct Joiner<'t> {
    joined: Mutex<Joined<'t>>,
    waiting: Mutex<BTreeMap<usize, Part>>,
    /// For their memory.
    spare: Mutex<Vec<Tokens>>,
    n_bytes: usize,
}

#[derive(Debug)]
struct Joined<'t> {
    tokens: &'t mut Tokens,
    /// Tokens of other texts.
    n_before: usize,
    n_pieces: usize,
}

#[derive(Debug)]
struct Part {
    tokens: Tokens,
    /// Where in the text its piece ends.
    end: usize,
}

impl<'t> Joiner<'t> {
    /// Appends to these tokens those of a text of so many bytes.
    pub fn new(tokens: &'t mut Tokens, n_bytes: usize) -> Self {
        let joined = Joined { n_before: tokens.len(), tokens, n_pieces: 0 };
        Self { joined: Mutex::new(joined), waiting: Mutex::default(), spare: Mutex::default(), n_bytes }
    }

    /// No tokens, with room for some.
    pub fn part(&self) -> Tokens {
        lock(&self.spare).pop().unwrap_or_default()
    }

    /// Takes the tokens of a piece that ends at byte `end`.
    pub fn add(&self, piece: usize, tokens: Tokens, end: usize) {
        lock(&self.waiting).insert(piece, Part { tokens, end });
        if let Ok(mut joined) = self.joined.try_lock() {
            self.join(&mut joined);
        }
    }

    /// Joins what waits. Pieces that are not added keep all that come after them waiting.
    pub fn join_all(&self) {
        self.join(&mut lock(&self.joined));
    }

    fn join(&self, joined: &mut Joined<'_>) {
        while let Some(mut part) = self.next(joined.n_pieces) {
            let n_after = joined.tokens.len() + part.tokens.len();
            let n_expected = expected(n_after - joined.n_before, part.end, self.n_bytes);
            joined.tokens.make_places(n_after, joined.n_before + n_expected);
            joined.tokens.append(&part.tokens);
            joined.n_pieces += 1;
            part.tokens.clear();
            lock(&self.spare).push(part.tokens);
        }
    }

    fn next(&self, piece: usize) -> Option<Part> {
        lock(&self.waiting).remove(&piece)
    }
}

/// How many there will be after all bytes, where the first `n_read` of them gave so many: as many a byte as so far, and some more.
pub fn expected(n_so_far: usize, n_read: usize, n_bytes: usize) -> usize {
    (n_so_far as f64 * n_bytes as f64 / n_read.max(1) as f64 * 1.02) as usize
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel;

    fn part(start: u32, n_tokens: u32) -> Tokens {
        (start..start + n_tokens).map(|i| (i, (i, i + 1))).collect()
    }

    #[test]
    fn pieces_that_come_in_any_order_are_joined_in_theirs() {
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]] {
            let mut tokens = part(90, 2);
            let joiner = Joiner::new(&mut tokens, 40);
            for piece in order {
                joiner.add(piece as usize, part(10 * piece, piece), 10 * piece as usize + 10);
            }
            joiner.join_all();
            let expected = [part(90, 2), part(0, 0), part(10, 1), part(20, 2), part(30, 3)];
            let all: Tokens = expected.iter().flat_map(|part| part.ids().iter().copied().zip(part.byte_spans().iter().copied())).collect();
            assert_eq!(tokens, all);
        }
    }

    #[test]
    fn all_pieces_are_there_on_any_number_of_threads() {
        for n_threads in [1, 2, 7] {
            let mut tokens = Tokens::default();
            let joiner = Joiner::new(&mut tokens, 1000);
            let added = parallel::map(1000, n_threads, |piece| {
                let mut tokens = joiner.part();
                tokens.push(piece as u32, (0, 1));
                joiner.add(piece, tokens, piece + 1);
                Ok::<_, ()>(())
            });
            joiner.join_all();
            assert!(added.is_ok() && tokens.ids().iter().copied().eq(0..1000));
        }
    }
}
