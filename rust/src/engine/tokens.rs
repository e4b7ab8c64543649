//! Ids and spans, side by side.

use std::ops::Range;

use crate::memory::zeros;

/// Bytes that a token of a long word is expected to have. Where tokens have more, places that were made are not touched; where they have
/// fewer, more are made.
pub const TOKEN_BYTES: usize = 2;

/// The tokens of a text, without special tokens, as two columns of equal length.
///
/// The columns are longer than what is in them: room that was made stays, so that the next text finds memory that is in use already.
#[derive(Debug, Default, Clone)]
pub struct Tokens {
    ids: Vec<u32>,
    byte_spans: Vec<(u32, u32)>,
    count: usize,
}

impl Tokens {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Vocabulary ids.
    pub fn ids(&self) -> &[u32] {
        &self.ids[..self.count]
    }

    /// Vocabulary ids.
    pub fn ids_mut(&mut self) -> &mut [u32] {
        &mut self.ids[..self.count]
    }

    /// Where each token stands in the text, in bytes, on character boundaries.
    pub fn byte_spans(&self) -> &[(u32, u32)] {
        &self.byte_spans[..self.count]
    }

    /// Where each token stands.
    pub fn byte_spans_mut(&mut self) -> &mut [(u32, u32)] {
        &mut self.byte_spans[..self.count]
    }

    /// Places for this many tokens more, to be written and then counted by [`Tokens::advance`].
    pub fn room(&mut self, n_tokens: usize) -> (&mut [u32], &mut [(u32, u32)]) {
        let n_places = self.count + n_tokens;
        self.make_places(n_places, 2 * self.ids.len());
        (&mut self.ids[self.count..], &mut self.byte_spans[self.count..])
    }

    /// So many of the places that there was room for are tokens now.
    pub fn advance(&mut self, n_tokens: usize) {
        self.count += n_tokens;
    }

    /// Appends one token.
    #[inline]
    pub fn push(&mut self, id: u32, byte_span: (u32, u32)) {
        let (ids, byte_spans) = self.room(1);
        (ids[0], byte_spans[0]) = (id, byte_span);
        self.count += 1;
    }

    /// Appends tokens whose spans count from byte `start`.
    pub fn extend_shifted(&mut self, new_ids: &[u32], new_spans: &[(u32, u32)], start: u32) {
        let (ids, byte_spans) = self.room(new_ids.len());
        ids[..new_ids.len()].copy_from_slice(new_ids);
        let shifted = new_spans.iter().map(|&(from, to)| (start + from, start + to));
        byte_spans.iter_mut().zip(shifted).for_each(|(place, span)| *place = span);
        self.count += new_ids.len();
    }

    /// Moves where all but the first `n_before` tokens stand by so many bytes.
    pub fn shift_from(&mut self, n_before: usize, n_bytes: u32) {
        self.byte_spans_mut()[n_before..].iter_mut().for_each(|(from, to)| (*from, *to) = (*from + n_bytes, *to + n_bytes));
    }

    /// Places for `n_needed` tokens in all; where there are fewer, for `n_expected`, in memory that nothing has touched yet.
    #[inline]
    pub fn make_places(&mut self, n_needed: usize, n_expected: usize) {
        if n_needed > self.ids.len() {
            self.lengthen(n_needed.max(n_expected));
        }
    }

    #[cold]
    fn lengthen(&mut self, n_places: usize) {
        self.ids = longer(self.ids(), n_places);
        self.byte_spans = longer(self.byte_spans(), n_places);
    }

    /// Appends tokens, with their spans as they are.
    pub fn append(&mut self, later: &Self) {
        self.extend_shifted(later.ids(), later.byte_spans(), 0);
    }

    /// Some of them.
    pub fn part(&self, range: Range<usize>) -> (&[u32], &[(u32, u32)]) {
        (&self.ids()[range.clone()], &self.byte_spans()[range])
    }

    /// Removes all but the first `n_tokens`.
    pub fn truncate(&mut self, n_tokens: usize) {
        self.count = self.count.min(n_tokens);
    }

    /// Removes all tokens and keeps their memory.
    pub fn clear(&mut self) {
        self.count = 0;
    }

    /// Bytes of memory held.
    pub fn n_bytes(&self) -> usize {
        self.ids.capacity() * size_of::<u32>() + self.byte_spans.capacity() * size_of::<(u32, u32)>()
    }
}

/// A copy with room for more.
fn longer<T: Copy + Default>(column: &[T], n_places: usize) -> Vec<T> {
    let mut longer = zeros(n_places);
    longer[..column.len()].copy_from_slice(column);
    longer
}

impl PartialEq for Tokens {
    fn eq(&self, other: &Self) -> bool {
        self.ids() == other.ids() && self.byte_spans() == other.byte_spans()
    }
}

impl Eq for Tokens {}

impl FromIterator<(u32, (u32, u32))> for Tokens {
    fn from_iter<I: IntoIterator<Item = (u32, (u32, u32))>>(tokens: I) -> Self {
        let mut all = Self::default();
        tokens.into_iter().for_each(|(id, byte_span)| all.push(id, byte_span));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_made_seldom_whatever_is_asked_for() {
        for (n_asked, n_written) in [(300, 1), (300, 299), (1, 1), (2, 0), (3, 2)] {
            let (mut tokens, mut n_lengthened) = (Tokens::default(), 0);
            for i in 0..20_000 {
                let n_places = tokens.ids.len();
                tokens.room(n_asked);
                (0..n_written).for_each(|_| tokens.push(i, (0, 1)));
                n_lengthened += usize::from(tokens.ids.len() > n_places);
            }
            assert!(tokens.len() == 20_000 * n_written && n_lengthened < 26, "{n_asked} {n_written}: {n_lengthened}");
        }
    }

    #[test]
    fn later_tokens_alone_are_moved() {
        let mut tokens: Tokens = [(7, (0, 1)), (8, (0, 2)), (9, (2, 3))].into_iter().collect();
        tokens.shift_from(1, 10);
        assert_eq!(tokens.byte_spans(), [(0, 1), (10, 12), (12, 13)]);
    }

    #[test]
    fn room_that_was_made_is_not_part_of_the_tokens() {
        let mut tokens = Tokens::default();
        tokens.room(10);
        assert!(tokens.is_empty() && tokens == Tokens::default());
        tokens.push(7, (0, 1));
        tokens.extend_shifted(&[8, 9], &[(0, 2), (2, 3)], 5);
        assert_eq!((tokens.ids(), tokens.byte_spans()), (&[7, 8, 9][..], &[(0, 1), (5, 7), (7, 8)][..]));
        let copy = tokens.clone();
        tokens.clear();
        tokens.append(&copy);
        assert_eq!(tokens, copy);
        tokens.truncate(1);
        assert_eq!(tokens, [(7, (0, 1))].into_iter().collect());
        assert_eq!(copy.part(1..3).0, [8, 9]);
    }
}
