//! Which definitions the engine takes, and what it makes of their vocabulary and merges.

use std::collections::HashMap;

use serde_json::Value;

use super::neighbours::Neighbours;
use super::ways;
use crate::engine::cache::Key;
use crate::engine::definition::{Definition, kind, members};
use crate::engine::merges::{Ids, MOST_MERGES, Merges, Model, NONE};
use crate::engine::metaspace::{MARKER, Metaspace, Prepend};

/// Entries that are longer take long to load: the time for one grows with the square of its length.
const LONGEST_BYTES: usize = 512;

/// Where a marker is put before a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    None,
    /// Before the document, where none is there yet.
    First,
    /// Before the document and after added tokens, where none is there yet.
    WhereNone,
    /// The same, whatever is there.
    Always,
}

/// Reads everything that is not in the model.
///
/// # Errors
/// What the engine does not know.
pub fn prefix(definition: &Definition<'_>) -> Result<Prefix, String> {
    let leaves_spans = |component: &&Value| matches!(kind(component), "TemplateProcessing" | "BertProcessing");
    if !members(&definition.post_processor_json()?, "processors").iter().all(leaves_spans) {
        return Err("charbpe reads no post-processor that trims spans".into());
    }
    let normalizers = members(&definition.normalizer, "normalizers");
    let pre_tokenizer = &definition.pre_tokenizer;
    let marker = MARKER.to_string();
    let is_blank = |pattern: &Value| pattern["String"] == " ";
    let marks = |component: &Value| kind(component) == "Replace" && is_blank(&component["pattern"]) && component["content"] == *marker;
    let prepends = |component: &Value| kind(component) == "Prepend" && component["prepend"] == *marker;
    // Where blanks are markers, there is nothing to cut at blanks.
    let is_split = kind(pre_tokenizer) == "Split" && is_blank(&pre_tokenizer["pattern"]) && pre_tokenizer["invert"] != true;
    let cuts_nothing = pre_tokenizer.is_null() || is_split;
    match normalizers.as_slice() {
        [] if kind(pre_tokenizer) == "Metaspace" => match Metaspace::read(pre_tokenizer)? {
            Metaspace { splits: true, .. } => Err("charbpe reads Metaspace that does not split".into()),
            Metaspace { prepend: Prepend::Never, .. } => Ok(Prefix::None),
            Metaspace { prepend: Prepend::First, .. } => Ok(Prefix::First),
            Metaspace { prepend: Prepend::Always, .. } => Ok(Prefix::WhereNone),
        },
        [replace] if cuts_nothing && marks(replace) => Ok(Prefix::None),
        [prepend, replace] if cuts_nothing && prepends(prepend) && marks(replace) => Ok(Prefix::Always),
        _ => Err("charbpe reads markers for blanks, and no other normalizer or pre-tokenizer".into()),
    }
}

/// A vocabulary with byte tokens, and its merges.
///
/// Merging is of bytes: the first of all merges make the characters of the vocabulary, before any other can happen. What they make of the
/// first bytes of other characters is no entry, and becomes the tokens of these bytes.
#[derive(Debug)]
pub struct Vocabulary {
    pub neighbours: Neighbours,
    merges: Merges,
    /// The ids of bytes by themselves.
    byte_ids: [u32; 256],
    /// From here on ids are no entries.
    n_ids: u32,
}

impl Vocabulary {
    /// Calls `emit` with the id and length of every token of a word, in which blanks stand for markers.
    #[inline]
    pub fn tokenize(&self, word: &[u8], mut emit: impl FnMut(u32, usize)) {
        let mut at = 0;
        self.merges.merge(word, |id, length| {
            if id < self.n_ids {
                emit(id, length);
            } else {
                word[at..at + length].iter().for_each(|&byte| emit(self.byte_ids[usize::from(byte)], 1));
            }
            at += length;
        });
    }

    /// Asks for the memory that [`Vocabulary::single`] looks at.
    #[inline]
    pub fn expect(&self, key: Key) {
        self.merges.expect(key);
    }

    /// The id of a short word that is one token.
    #[inline]
    pub fn single(&self, key: Key) -> Option<u32> {
        self.merges.single(key).filter(|&id| id < self.n_ids)
    }
}

/// Reads a model.
///
/// # Errors
/// What the engine does not know, or what is wrong.
pub fn vocabulary(model: &Model<'_>) -> Result<Vocabulary, String> {
    if !model.byte_fallback || model.ignore_merges || model.end_of_word_suffix().is_some() {
        return Err("charbpe reads models with byte_fallback and without ignore_merges or a suffix".into());
    }
    let ids = model.ids()?;
    if ids.n_ids as u32 >= NONE {
        return Err("it has more entries than can be numbered".into());
    }
    let byte_id = |byte: u8| ids.get(&format!("<{byte:#04X}>")).ok_or("its vocabulary does not have every byte");
    let mut byte_ids = [0; 256];
    for byte in 0..=255 {
        byte_ids[usize::from(byte)] = byte_id(byte)?;
    }
    let alone = ascii_ids(&ids, &byte_ids)?;
    let mut entries = vec![""; ids.n_ids];
    model.vocab.entries().for_each(|(entry, id)| entries[id as usize] = entry);
    let (mut merges, n_all_ids) = character_merges(&alone, &entries);
    let mut all = Vec::new();
    model.read_merges(&ids, &mut all)?;
    let mut is_byte = vec![false; ids.n_ids];
    for id in byte_ids {
        is_byte[id as usize] = true;
    }
    if all.iter().any(|&[_, _, made]| is_byte[made as usize] || entries[made as usize].len() > LONGEST_BYTES) {
        return Err("it merges something into a byte, or into an entry that is longer than those of texts".into());
    }
    let happening = ways::that_happen(&all, &entries);
    let neighbours = Neighbours::of(happening.iter().map(|&[_, _, token]| entries[token as usize]));
    merges.extend(happening);
    if merges.len() >= MOST_MERGES {
        return Err("it has more characters and merges than can be numbered".into());
    }
    Ok(Vocabulary { neighbours, merges: Merges::new(&alone, &merges, n_all_ids), byte_ids, n_ids: ids.n_ids as u32 })
}

/// The ids of bytes in a text: of the characters that they are, where these are entries. A blank is a marker.
fn ascii_ids(ids: &Ids<'_>, byte_ids: &[u32; 256]) -> Result<[u32; 256], String> {
    let mut alone = *byte_ids;
    for byte in 0..128_u8 {
        let character = if byte == b' ' { MARKER } else { char::from(byte) };
        match ids.get(character.encode_utf8(&mut [0; 4])) {
            Some(id) => alone[usize::from(byte)] = id,
            None if byte == b' ' => return Err("its vocabulary has no marker".into()),
            None => {}
        }
    }
    Ok(alone)
}

/// The merges that make the characters of a vocabulary of their bytes, and the number of all ids: what is made on the way has ids from that
/// of the entries on.
fn character_merges(byte_ids: &[u32; 256], entries: &[&str]) -> (Vec<[u32; 3]>, usize) {
    let (mut merges, mut n_ids) = (Vec::new(), entries.len());
    let mut begun: HashMap<&[u8], u32> = HashMap::new();
    for (entry, id) in entries.iter().zip(0..) {
        let mut characters = entry.chars();
        let is_one = matches!((characters.next(), characters.next()), (Some(first), None) if !first.is_ascii() && first != MARKER);
        if !is_one {
            continue;
        }
        let bytes = entry.as_bytes();
        let mut left = byte_ids[usize::from(bytes[0])];
        for end in 2..=bytes.len() {
            let right = byte_ids[usize::from(bytes[end - 1])];
            let mut make = |made: u32| {
                merges.push([left, right, made]);
                made
            };
            left = if end == bytes.len() {
                make(id)
            } else {
                *begun.entry(&bytes[..end]).or_insert_with(|| {
                    n_ids += 1;
                    make(n_ids as u32 - 1)
                })
            };
        }
    }
    (merges, n_ids)
}
