//! What a caller may ask for. All validation is here: after [`ChunkConfig::new`] nothing further down can fail on an option.

use crate::error::{Error, Result};

/// Where a chunk may end. Ordered: each kind is also a boundary of the kinds before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Boundary {
    /// After any token.
    Token,
    /// Where a word ends (UAX #29).
    Word,
    /// Where a sentence ends (UAX #29).
    Sentence,
    /// Where a blank line follows.
    Paragraph,
}

/// What happens to a short last chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// It stays as it is, as Hugging Face truncation with overflow does.
    Keep,
    /// It starts earlier, so that it is full; its overlap grows.
    Backfill,
    /// All chunks of the document get the same length, within one token.
    Balance,
    /// Under half a row, it and its neighbour share their tokens evenly.
    Merge,
}

/// Which chunks of a document become rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select {
    /// Every chunk.
    All,
    /// The first `max_chunks`.
    Head(usize),
    /// The last `max_chunks`.
    Tail(usize),
    /// From both ends; the odd one goes to the start.
    HeadTail(usize),
    /// Drawn at random, in document order. The draw depends on the seed and the document alone.
    Random {
        /// How many chunks.
        max_chunks: usize,
        /// Seed of the draw.
        seed: u64,
    },
    /// The chunks with the highest mean inverse chunk frequency.
    TfIdf(usize),
}

/// What a special token's literal text in a document means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Specials {
    /// Ordinary text.
    Text,
    /// The control token.
    Parse,
    /// An error.
    Reject,
}

/// Lengths and cutting rules, checked against the tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkConfig {
    /// Content tokens a row can hold; at least 1.
    pub room_tokens: usize,
    /// Content tokens two neighbouring chunks share; less than `room_tokens`.
    pub overlap_tokens: usize,
    /// Where a chunk may end.
    pub boundary: Boundary,
    /// What happens to a short last chunk.
    pub tail: Tail,
    /// Which chunks become rows.
    pub select: Select,
}

impl ChunkConfig {
    /// Checks the lengths against what each row has beside its chunk: `n_added_tokens`, which `added` names in a message.
    ///
    /// # Errors
    /// [`Error::Config`] where no content fits a row, where the overlap leaves no fresh token, or where no chunk may be kept.
    pub fn new(
        max_tokens: usize,
        overlap_tokens: usize,
        n_added_tokens: usize,
        added: &str,
        boundary: Boundary,
        tail: Tail,
        select: Select,
    ) -> Result<Self> {
        if max_tokens <= n_added_tokens {
            return Err(Error::Config(format!(
                "max_tokens={max_tokens} leaves no room: this tokenizer adds {n_added_tokens} {added}; use at least {}.",
                n_added_tokens + 1
            )));
        }
        if i32::try_from(max_tokens).is_err() {
            return Err(Error::Config(format!("max_tokens={max_tokens} is more than {}; use a smaller row.", i32::MAX)));
        }
        let room_tokens = max_tokens - n_added_tokens;
        if overlap_tokens >= room_tokens {
            return Err(Error::Config(format!(
                "overlap_tokens={overlap_tokens} leaves no fresh token: a row of max_tokens={max_tokens} holds {room_tokens} content \
                 tokens; use at most {}.",
                room_tokens - 1
            )));
        }
        Ok(Self { room_tokens, overlap_tokens, boundary, tail, select })
    }
}

/// Reads an option given by name.
///
/// # Errors
/// [`Error::Config`] that lists the allowed names.
pub fn by_name<T: Copy>(option: &str, given: &str, allowed: &[(&str, T)]) -> Result<T> {
    allowed.iter().find(|(name, _)| *name == given).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<String> = allowed.iter().map(|(name, _)| format!("{name:?}")).collect();
        Error::Config(format!("{option}={given:?} is not known; use one of {}.", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(max_tokens: usize, overlap_tokens: usize) -> Result<ChunkConfig> {
        ChunkConfig::new(max_tokens, overlap_tokens, 2, "special tokens", Boundary::Token, Tail::Keep, Select::All)
    }

    #[test]
    fn room_is_what_specials_leave() {
        assert_eq!(config(8, 5).map(|c| c.room_tokens), Ok(6));
    }

    #[test]
    fn a_row_of_specials_only_is_refused() {
        assert!(matches!(config(2, 0), Err(Error::Config(message)) if message.contains("use at least 3")));
    }

    #[test]
    fn an_overlap_as_long_as_the_room_is_refused() {
        assert!(matches!(config(8, 6), Err(Error::Config(message)) if message.contains("use at most 5")));
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = by_name("tail", "drop", &[("keep", Tail::Keep)]);
        assert_eq!(error, Err(Error::Config("tail=\"drop\" is not known; use one of \"keep\".".into())));
    }
}
