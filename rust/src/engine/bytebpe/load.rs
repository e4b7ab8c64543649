//! Which definitions the engine takes, and what it makes of their vocabulary and merges.

use std::collections::HashMap;

use serde_json::Value;

use super::borders::Borders;
use super::classes::Changes;
use super::ending::END;
use super::pattern::Pattern;
use crate::engine::definition::{Definition, kind, members};
use crate::engine::merges::{Ids, Merges, Model, UNUSED, Vocabulary};

/// What becomes of the spans of tokens that begin or end with spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trim {
    /// Not of a token with one leading space that starts the document.
    pub keeps_first_space: bool,
}

impl Trim {
    /// The span of an added token that starts at byte `start` of the document, after the blanks it took along are off it.
    pub fn added_span(self, content: &str, start: u32) -> (u32, u32) {
        let is_blank = |character: &char| *character == '\u{120}' || character.is_whitespace(); // U+0120 stands for a space in byte symbols
        let leading: Vec<usize> = content.chars().take_while(is_blank).map(char::len_utf8).collect();
        let n_leading: usize = if start == 0 && self.keeps_first_space && leading.len() == 1 { 0 } else { leading.iter().sum() };
        let n_trailing: usize = content.chars().rev().take_while(is_blank).map(char::len_utf8).sum();
        let end = start + content.len() as u32;
        let start = end.min(start + n_leading as u32);
        (start, start.max(end - n_trailing as u32))
    }
}

/// What of a definition the engine works with.
#[derive(Debug)]
pub struct Rules {
    pub pattern: Pattern,
    pub changes: Changes,
    pub prefix_space: bool,
    pub trim: Option<Trim>,
}

impl Rules {
    /// Reads every component.
    ///
    /// # Errors
    /// What the engine does not know.
    pub fn new(definition: &Definition<'_>) -> Result<Self, String> {
        let (pattern, prefix_space) = pattern(&definition.pre_tokenizer)?;
        let changes = changes(&definition.normalizer, pattern)?;
        let rules = Self { pattern, changes, prefix_space, trim: trim(&definition.post_processor_json()?)? };
        match rules.trim {
            Some(trim) if prefix_space && !trim.keeps_first_space => Err("it adds a space that its post-processor does not know of".into()),
            _ => Ok(rules),
        }
    }
}

fn flag(component: &Value, name: &str, default: bool) -> bool {
    component[name].as_bool().unwrap_or(default)
}

/// What the normalizer does to a text that this pattern cuts.
fn changes(normalizer: &Value, pattern: Pattern) -> Result<Changes, String> {
    let is_clip = matches!(pattern, Pattern::Clip { .. });
    let mut changes = Changes::default();
    for member in members(normalizer, "normalizers") {
        match kind(member) {
            "NFC" if changes == Changes::default() => changes.nfc = true,
            "Lowercase" if is_clip => changes.lower = true,
            // White space is removed, and it is all the same how much there was.
            "Replace" if is_clip && member["pattern"]["Regex"] == r"\s+" && member["content"] == " " => {}
            other => return Err(format!("its normalizer {other} is not known to the byte-level engine where it stands")),
        }
    }
    if is_clip == changes.lower { Ok(changes) } else { Err("its pre-tokenizer is known for lowered text only".into()) }
}

/// The pattern, and whether a space is put before texts.
fn pattern(pre_tokenizer: &Value) -> Result<(Pattern, bool), String> {
    let unknown = || "its pre-tokenizer is not known to the byte-level engine".to_owned();
    match (kind(pre_tokenizer), pre_tokenizer["pretokenizers"].as_array().map(Vec::as_slice)) {
        ("ByteLevel", _) if flag(pre_tokenizer, "use_regex", true) => Ok((Pattern::Gpt2, flag(pre_tokenizer, "add_prefix_space", true))),
        ("Sequence", Some([split, bytes])) if kind(split) == "Split" && kind(bytes) == "ByteLevel" => {
            let regex = split["pattern"]["Regex"].as_str().ok_or_else(unknown)?;
            let (cuts_again, adds_space) = (flag(bytes, "use_regex", true), flag(bytes, "add_prefix_space", true));
            let pattern = match (split["behavior"].as_str(), flag(split, "invert", false)) {
                (Some("Isolated"), false) if !cuts_again => Pattern::known(regex),
                (Some("Removed"), true) if cuts_again => Pattern::known_kept(regex),
                _ => None,
            };
            pattern.filter(|_| !adds_space).map(|pattern| (pattern, false)).ok_or_else(unknown)
        }
        _ => Err(unknown()),
    }
}

/// What the post-processor does to spans.
fn trim(post_processor: &Value) -> Result<Option<Trim>, String> {
    match kind(post_processor) {
        "" if post_processor.is_null() => Ok(None),
        "TemplateProcessing" | "BertProcessing" => Ok(None),
        "ByteLevel" | "RobertaProcessing" => {
            let trim = Trim { keeps_first_space: flag(post_processor, "add_prefix_space", true) };
            Ok(flag(post_processor, "trim_offsets", true).then_some(trim))
        }
        "Sequence" => {
            let members = post_processor["processors"].as_array().map(Vec::as_slice).unwrap_or_default();
            let trims: Vec<Trim> = members.iter().map(trim).filter_map(Result::transpose).collect::<Result<_, _>>()?;
            match trims.as_slice() {
                [] => Ok(None),
                [one] => Ok(Some(*one)),
                _ => Err("its post-processor trims spans twice".into()),
            }
        }
        other => Err(format!("its post-processor {other} is not known to the byte-level engine")),
    }
}

/// The bytes that the characters of a vocabulary stand for, by code point; all others stand for nothing.
fn bytes_of_characters() -> [Option<u8>; 324] {
    let mut bytes = [None; 324];
    let mut n_moved = 0;
    for byte in 0..=255_u8 {
        let is_itself = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
        let code = if is_itself { usize::from(byte) } else { 256 + n_moved };
        n_moved += usize::from(!is_itself);
        bytes[code] = Some(byte);
    }
    bytes
}

/// Refuses what the engine does not know.
fn check(model: &Model<'_>) -> Result<(), String> {
    if model.byte_fallback || model.end_of_word_suffix().is_some() && model.ignore_merges {
        return Err("its BPE model has options that the byte-level engine does not know".into());
    }
    Ok(())
}

/// Reads a model. Every byte is an entry, so that there is nothing unknown.
///
/// # Errors
/// What the engine does not know, or what is wrong.
pub fn read(model: &Model<'_>) -> Result<Read, String> {
    check(model)?;
    let ids = model.ids()?;
    let byte_ids = byte_ids(&ids)?;
    let suffix = model.end_of_word_suffix();
    let mut merges = suffix.map(|suffix| end_merges(&ids, &byte_ids, suffix)).transpose()?.unwrap_or_default();
    let end_id = suffix.map(|_| byte_ids[usize::from(END)]);
    let n_before = merges.len();
    model.read_merges(&ids, &mut merges)?;
    if merges[n_before..].iter().any(|&[left, right, _]| [Some(left), Some(right)].contains(&end_id)) {
        return Err("it merges a byte that no text has".into());
    }
    let whole_words = model.ignore_merges.then(|| whole_words(&model.vocab));
    let merges = Merges::new(&byte_ids, &merges, ids.n_ids);
    let borders = (suffix.is_none() && whole_words.is_none()).then(|| Borders::of(tokens_beyond_ascii(&model.vocab)));
    Ok(Read { merges, whole_words, marks_ends: suffix.is_some(), borders })
}

/// What is in a model.
#[derive(Debug)]
pub struct Read {
    pub merges: Merges,
    /// Where whole words come before merges, the ids of all entries by their bytes.
    pub whole_words: Option<WholeWords>,
    /// The last byte of a word is another token than the same byte elsewhere: see [`super::ending`].
    pub marks_ends: bool,
    /// The places that tokens reach across; nothing where what a word becomes depends on where it ends.
    pub borders: Option<Borders>,
}

/// The merges of each byte and [`END`], which make the entry that the byte is with the suffix.
fn end_merges(ids: &Ids<'_>, byte_ids: &[u32; 256], suffix: &str) -> Result<Vec<[u32; 3]>, String> {
    if byte_ids[usize::from(END)] == UNUSED {
        return Err("it has no entry for a byte that no text has, which is needed to mark ends".into());
    }
    let mut merges = Vec::with_capacity(byte_ids.len());
    for (byte, character) in symbols().filter(|&(byte, _)| !is_never_in_text(byte)) {
        let both = ids.get(&format!("{character}{suffix}")).ok_or("its vocabulary does not have every byte at the end of a word")?;
        merges.push([byte_ids[usize::from(byte)], byte_ids[usize::from(END)], both]);
    }
    Ok(merges)
}

/// Every byte with the character that stands for it.
fn symbols() -> impl Iterator<Item = (u8, char)> {
    bytes_of_characters().into_iter().zip(0..).filter_map(|(byte, code)| Some((byte?, char::from_u32(code)?)))
}

/// Ids by the bytes of a whole word.
pub type WholeWords = HashMap<Box<[u8]>, u32, ahash::RandomState>;

fn whole_words(vocabulary: &Vocabulary<'_>) -> WholeWords {
    let bytes = bytes_of_characters();
    vocabulary.entries().filter_map(|(entry, id)| Some((token(&bytes, entry)?, id))).collect()
}

/// The bytes of the entries that have bytes beyond ASCII.
fn tokens_beyond_ascii<'v>(vocabulary: &'v Vocabulary<'_>) -> impl Iterator<Item = Box<[u8]>> + 'v {
    let bytes = bytes_of_characters();
    vocabulary.entries().filter(|(entry, _)| !entry.is_ascii()).filter_map(move |(entry, _)| token(&bytes, entry))
}

/// The bytes that an entry stands for, where it stands for some.
fn token(bytes: &[Option<u8>; 324], entry: &str) -> Option<Box<[u8]>> {
    entry.chars().map(|character| bytes.get(character as usize).copied().flatten()).collect()
}

/// Bytes that no UTF-8 holds: some vocabularies leave them out.
fn is_never_in_text(byte: u8) -> bool {
    matches!(byte, 0xC0 | 0xC1 | 0xF5..)
}

fn byte_ids(ids: &Ids<'_>) -> Result<[u32; 256], String> {
    let mut byte_ids = [0; 256];
    for (byte, character) in symbols() {
        byte_ids[usize::from(byte)] = match ids.get(character.encode_utf8(&mut [0; 4])) {
            Some(id) => id,
            None if is_never_in_text(byte) => UNUSED,
            None => return Err("its vocabulary does not have every byte".into()),
        };
    }
    Ok(byte_ids)
}
