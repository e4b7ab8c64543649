//! What stands around a chunk in a row: special tokens, and a prefix or suffix text, in the tokenizer's own order.

use tokenizers::{Encoding, PostProcessor, PostProcessorWrapper, Token};

use crate::error::{Error, Result};

/// Marks the place of a sequence when the tokenizer's template is asked what it adds. No vocabulary reaches this high.
const SEQUENCE_A: u32 = u32::MAX;
const SEQUENCE_B: u32 = u32::MAX - 1;

/// A token that is the same in every row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedToken {
    /// Vocabulary id.
    pub id: u32,
    /// Segment of the row, for models that have them.
    pub type_id: u32,
}

/// A row with a hole in it where the chunk goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    /// Tokens before the chunk.
    pub before: Vec<FixedToken>,
    /// Tokens after the chunk.
    pub after: Vec<FixedToken>,
    /// Segment of the chunk itself.
    pub content_type_id: u32,
}

/// Text that goes with every chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Companion {
    /// The chunk stands alone.
    None,
    /// Its ids are the first sequence of a pair, the chunk the second.
    Prefix(Vec<u32>),
    /// The chunk is the first sequence of a pair, its ids the second.
    Suffix(Vec<u32>),
}

impl Frame {
    /// Asks the tokenizer's post-processor where it puts things. Asking, rather than reading its definition, serves every kind alike.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] where the template leaves the chunk out or repeats it.
    pub fn new(processor: Option<&PostProcessorWrapper>, companion: &Companion) -> Result<Self> {
        let (slots, content) = match companion {
            Companion::None => (template(processor, false)?, SEQUENCE_A),
            Companion::Prefix(ids) => (fill(&template(processor, true)?, SEQUENCE_A, ids), SEQUENCE_B),
            Companion::Suffix(ids) => (fill(&template(processor, true)?, SEQUENCE_B, ids), SEQUENCE_A),
        };
        let holes: Vec<usize> = (0..slots.len()).filter(|&i| slots[i].id == content).collect();
        let &[hole] = holes.as_slice() else {
            return Err(Error::Tokenizer(format!(
                "the tokenizer's template has the text {} times in a row; longctx needs it once. Use a template with each sequence once.",
                holes.len()
            )));
        };
        let (before, rest) = slots.split_at(hole);
        Ok(Self { before: before.to_vec(), after: rest[1..].to_vec(), content_type_id: rest[0].type_id })
    }

    /// Tokens that every row has beside its chunk.
    pub fn n_tokens(&self) -> usize {
        self.before.len() + self.after.len()
    }
}

/// Does the tokenizer tell the two sequences of a pair apart by segment?
///
/// # Errors
/// [`Error::Tokenizer`] where the post-processor refuses a pair.
pub fn has_token_type_ids(processor: Option<&PostProcessorWrapper>) -> Result<bool> {
    Ok(template(processor, true)?.iter().any(|slot| slot.type_id != 0))
}

/// What the post-processor makes of one or two sequences of one token.
fn template(processor: Option<&PostProcessorWrapper>, pair: bool) -> Result<Vec<FixedToken>> {
    let second = pair.then(|| sequence_of_one(SEQUENCE_B, 1));
    let Some(processor) = processor else {
        // Without a post-processor a pair is the two sequences, one after the other.
        let first = FixedToken { id: SEQUENCE_A, type_id: 0 };
        return Ok([first].into_iter().chain(pair.then_some(FixedToken { id: SEQUENCE_B, type_id: 1 })).collect());
    };
    let row = processor
        .process(sequence_of_one(SEQUENCE_A, 0), second, true)
        .map_err(|error| Error::Tokenizer(format!("the tokenizer's post-processor failed: {error}.")))?;
    Ok(row.get_ids().iter().zip(row.get_type_ids()).map(|(&id, &type_id)| FixedToken { id, type_id }).collect())
}

fn sequence_of_one(id: u32, type_id: u32) -> Encoding {
    Encoding::from_tokens(vec![Token::new(id, "x".to_owned(), (0, 1))], type_id)
}

/// Puts a text's ids in the place of a marker.
fn fill(slots: &[FixedToken], marker: u32, ids: &[u32]) -> Vec<FixedToken> {
    let expand = |slot: &FixedToken| -> Vec<FixedToken> {
        if slot.id != marker {
            return vec![*slot];
        }
        ids.iter().map(|&id| FixedToken { id, type_id: slot.type_id }).collect()
    };
    slots.iter().flat_map(expand).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bert() -> PostProcessorWrapper {
        let json = r#"{"type":"BertProcessing","sep":["[SEP]",2],"cls":["[CLS]",1]}"#;
        serde_json::from_str(json).unwrap_or_else(|error| unreachable!("{error}"))
    }

    fn tokens(pairs: &[(u32, u32)]) -> Vec<FixedToken> {
        pairs.iter().map(|&(id, type_id)| FixedToken { id, type_id }).collect()
    }

    #[test]
    fn a_chunk_alone_stands_between_its_specials() {
        let frame = Frame::new(Some(&bert()), &Companion::None);
        assert_eq!(frame, Ok(Frame { before: tokens(&[(1, 0)]), after: tokens(&[(2, 0)]), content_type_id: 0 }));
    }

    #[test]
    fn a_prefix_comes_first_and_the_chunk_is_the_second_segment() {
        let frame = Frame::new(Some(&bert()), &Companion::Prefix(vec![3, 3]));
        let before = tokens(&[(1, 0), (3, 0), (3, 0), (2, 0)]);
        assert_eq!(frame, Ok(Frame { before, after: tokens(&[(2, 1)]), content_type_id: 1 }));
    }

    #[test]
    fn a_suffix_comes_last_and_the_chunk_is_the_first_segment() {
        let frame = Frame::new(Some(&bert()), &Companion::Suffix(vec![3]));
        let after = tokens(&[(2, 0), (3, 1), (2, 1)]);
        assert_eq!(frame, Ok(Frame { before: tokens(&[(1, 0)]), after, content_type_id: 0 }));
    }

    #[test]
    fn segments_are_seen_in_the_pair_template() {
        assert_eq!(has_token_type_ids(Some(&bert())), Ok(true));
    }
}
