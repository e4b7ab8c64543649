//! Where to cut: token counts and break points to token ranges. Arithmetic only; nothing here can fail.

use std::ops::Range;

use crate::boundary::Breaks;
use crate::config::{ChunkConfig, Tail};

/// Cuts `n_tokens` tokens into chunks.
///
/// With a [`Tail::Keep`] and no preferred boundary these are the windows of Hugging Face truncation with overflow: each starts
/// `room - overlap` after the one before, and the first that reaches the end is the last. In every case: the chunks cover all tokens,
/// starts and ends strictly increase, none is longer than the room, and an empty document has one empty chunk.
pub fn plan_chunks(n_tokens: usize, config: &ChunkConfig, breaks: &Breaks<'_>) -> Vec<Range<usize>> {
    let mut chunks = match config.tail {
        Tail::Balance => balanced(n_tokens, config, breaks),
        Tail::Keep | Tail::Backfill | Tail::Merge => windows(n_tokens, config, breaks),
    };
    match config.tail {
        Tail::Keep | Tail::Balance => {}
        Tail::Backfill => backfill(&mut chunks, n_tokens, config),
        Tail::Merge => merge(&mut chunks, n_tokens, config, breaks),
    }
    chunks
}

/// Full windows from the start; what is left is the tail.
fn windows(n_tokens: usize, config: &ChunkConfig, breaks: &Breaks<'_>) -> Vec<Range<usize>> {
    cut(n_tokens, config, |start, earliest| breaks.last_in(earliest, start + config.room_tokens))
}

/// The fewest chunks that hold everything, of equal length: each takes its share of what is left.
fn balanced(n_tokens: usize, config: &ChunkConfig, breaks: &Breaks<'_>) -> Vec<Range<usize>> {
    let (room, overlap) = (config.room_tokens, config.overlap_tokens);
    cut(n_tokens, config, |start, earliest| {
        let left = n_tokens - start;
        let n_chunks = (left - overlap).div_ceil(room - overlap);
        let share = (left + (n_chunks - 1) * overlap).div_ceil(n_chunks);
        breaks.nearest_in(earliest, start + share, start + room)
    })
}

/// Cuts until a chunk reaches the end. `next_end(start, earliest)` gives an end in `earliest..=start + room`, where `earliest` is the
/// first end that leaves a fresh token and keeps the next chunk's start ahead of this one's.
fn cut(n_tokens: usize, config: &ChunkConfig, next_end: impl Fn(usize, usize) -> usize) -> Vec<Range<usize>> {
    let mut chunks = Vec::with_capacity(1 + n_tokens / (config.room_tokens - config.overlap_tokens));
    let mut start = 0;
    while n_tokens - start > config.room_tokens {
        let end = next_end(start, start + config.overlap_tokens + 1);
        chunks.push(start..end);
        start = end - config.overlap_tokens;
    }
    chunks.push(start..n_tokens);
    chunks
}

/// Moves the last chunk's start back until it is full. It stays ahead of the start before it: `cut` made that chunk because more than a
/// row was left from there.
fn backfill(chunks: &mut [Range<usize>], n_tokens: usize, config: &ChunkConfig) {
    if let [_, .., last] = chunks {
        last.start = n_tokens - config.room_tokens;
    }
}

/// Evens a last chunk of under half a row out with the one before. One row cannot hold both: `cut` made the one before because more
/// than a row was left from its start.
fn merge(chunks: &mut Vec<Range<usize>>, n_tokens: usize, config: &ChunkConfig, breaks: &Breaks<'_>) {
    let (room, overlap) = (config.room_tokens, config.overlap_tokens);
    let &[.., Range { start, .. }, ref last] = chunks.as_slice() else { return };
    if 2 * last.len() >= room {
        return;
    }
    // The second half must fit a row too. The boundary nearest to the middle leaves it that room anyway, because the end of the first of
    // the two chunks is among the strongest; the bound makes it hold for any other choice.
    let earliest = (start + overlap + 1).max(n_tokens + overlap - room);
    let end = breaks.nearest_in(earliest, start + (n_tokens - start + overlap).div_ceil(2), start + room);
    chunks.truncate(chunks.len() - 2);
    chunks.extend([start..end, end - overlap..n_tokens]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Boundary, Select};

    fn plan(n_tokens: usize, room_tokens: usize, overlap_tokens: usize, tail: Tail) -> Vec<Range<usize>> {
        let config = ChunkConfig { room_tokens, overlap_tokens, boundary: Boundary::Token, tail, select: Select::All };
        plan_chunks(n_tokens, &config, &Breaks::Anywhere)
    }

    #[test]
    fn windows_stop_at_the_first_that_reaches_the_end() {
        assert_eq!(plan(10, 4, 1, Tail::Keep), [0..4, 3..7, 6..10]);
        assert_eq!(plan(11, 4, 1, Tail::Keep), [0..4, 3..7, 6..10, 9..11]);
        assert_eq!(plan(0, 4, 1, Tail::Keep), [0..0; 1]);
    }

    #[test]
    fn tails_do_what_they_are_named_for() {
        assert_eq!(plan(11, 4, 1, Tail::Backfill), [0..4, 3..7, 6..10, 7..11]);
        assert_eq!(plan(11, 4, 0, Tail::Balance), [0..4, 4..8, 8..11]);
        assert_eq!(plan(9, 4, 0, Tail::Merge), [0..4, 4..7, 7..9]);
    }

    #[test]
    fn every_plan_covers_all_tokens_in_rows_that_fit_and_advance() {
        for tail in [Tail::Keep, Tail::Backfill, Tail::Balance, Tail::Merge] {
            for room in 1..9 {
                for overlap in 0..room {
                    for n_tokens in 0..60 {
                        check(&plan(n_tokens, room, overlap, tail), n_tokens, room, overlap);
                    }
                }
            }
        }
    }

    fn check(chunks: &[Range<usize>], n_tokens: usize, room: usize, overlap: usize) {
        let context = format!("{chunks:?} of {n_tokens}, room {room}, overlap {overlap}");
        assert_eq!(chunks.first().map(|c| c.start), Some(0), "{context}");
        assert_eq!(chunks.last().map(|c| c.end), Some(n_tokens), "{context}");
        assert!(chunks.iter().all(|c| c.len() <= room), "{context}");
        for pair in chunks.windows(2) {
            assert!(pair[0].start < pair[1].start && pair[0].end < pair[1].end, "{context}");
            assert!(pair[1].start + overlap <= pair[0].end, "{context}");
        }
    }
}
