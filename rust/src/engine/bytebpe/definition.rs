//! What a byte-level BPE engine reads of a `tokenizer.json`, and what it refuses.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::merge::Merges;
use super::split::Pattern;
use crate::engine::definition::{Definition, Entry, kind};

/// The components around the model.
#[derive(Debug)]
pub struct Parts {
    pub pattern: Pattern,
    /// Is the text composed (NFC) first?
    pub composes: bool,
    pub trim: Option<Trim>,
}

/// How blanks are taken off the spans of tokens, as `process_offsets` of `tokenizers` does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trim {
    /// A token at the start of the document keeps its blank where it has but one.
    pub keeps_first_blank: bool,
}

impl Parts {
    pub fn of(definition: &Definition<'_>) -> Result<Self, String> {
        let composes = match kind(&definition.normalizer) {
            "NFC" => true,
            "" if definition.normalizer.is_null() => false,
            other => return Err(format!("bytebpe reads the normalizer NFC, or none, but not {other:?}")),
        };
        let pattern = pattern(&definition.pre_tokenizer)
            .ok_or_else(|| format!("bytebpe does not know its pre-tokenizer {:?}", kind(&definition.pre_tokenizer)))?;
        Ok(Self { pattern, composes, trim: trim(&definition.post_processor_json()?)? })
    }
}

fn pattern(pre_tokenizer: &Value) -> Option<Pattern> {
    let is_byte_level = |component: &Value, uses_regex: bool| {
        kind(component) == "ByteLevel"
            && component["add_prefix_space"] == false
            && component.get("use_regex").map_or(Some(true), Value::as_bool) == Some(uses_regex)
    };
    if is_byte_level(pre_tokenizer, true) {
        return Some(Pattern::Gpt2);
    }
    let [split, byte_level] = pre_tokenizer["pretokenizers"].as_array()?.as_slice() else { return None };
    let is_known = kind(pre_tokenizer) == "Sequence"
        && is_byte_level(byte_level, false)
        && kind(split) == "Split"
        && split["behavior"] == "Isolated"
        && split["invert"] == false;
    is_known.then(|| Pattern::of(split["pattern"]["Regex"].as_str()?)).flatten()
}

fn trim(post_processor: &Value) -> Result<Option<Trim>, String> {
    if post_processor.is_null() {
        return Ok(None);
    }
    match (kind(post_processor), &post_processor["trim_offsets"], &post_processor["add_prefix_space"]) {
        ("TemplateProcessing" | "BertProcessing", ..) | ("ByteLevel" | "RobertaProcessing", Value::Bool(false), _) => Ok(None),
        ("ByteLevel" | "RobertaProcessing", Value::Bool(true), &Value::Bool(keeps_first_blank)) => Ok(Some(Trim { keeps_first_blank })),
        ("Sequence", ..) => {
            let members = post_processor["processors"].as_array().ok_or("its post-processor has no members")?;
            let trims = members.iter().filter_map(|member| trim(member).transpose()).collect::<Result<Vec<_>, _>>()?;
            if trims.len() > 1 {
                return Err("its post-processor trims offsets twice".into());
            }
            Ok(trims.first().copied())
        }
        (other, ..) => Err(format!("bytebpe does not know its post-processor {other:?}")),
    }
}

impl Trim {
    /// The span of a token of these bytes: one character less on either side for each blank among them.
    pub fn span(self, token: &[u8], at_start: bool, (start, end): (u32, u32)) -> (u32, u32) {
        let n_leading = token.iter().take_while(|&&byte| byte == b' ').count() as u32;
        let n_trailing = token.iter().rev().take_while(|&&byte| byte == b' ').count() as u32;
        let n_leading = if at_start && self.keeps_first_blank && n_leading == 1 { 0 } else { n_leading };
        let start = end.min(start + n_leading);
        (start, start.max(end - n_trailing))
    }

    /// The span of an added token with the blanks it took along.
    pub fn added_span(self, content: &str, (start, end): (u32, u32)) -> (u32, u32) {
        let is_blank = |character: &char| *character == '\u{120}' || character.is_whitespace();
        let leading = content.chars().take_while(is_blank);
        let (n_leading, n_bytes) = leading.fold((0, 0), |(n, bytes), character| (n + 1, bytes + character.len_utf8() as u32));
        let n_trailing: usize = content.chars().rev().take_while(is_blank).map(char::len_utf8).sum();
        let n_bytes = if start == 0 && self.keeps_first_blank && n_leading == 1 { 0 } else { n_bytes };
        let start = end.min(start + n_bytes);
        (start, start.max(end - n_trailing as u32))
    }
}

#[derive(Deserialize)]
struct Model<'d> {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(borrow)]
    vocab: HashMap<Entry<'d>, u32, ahash::RandomState>,
    #[serde(borrow)]
    merges: Vec<Merge<'d>>,
    dropout: Option<f64>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
}

impl Model<'_> {
    /// What of the model's settings is not known here.
    fn obstacle(&self) -> Option<&'static str> {
        let is_set = |string: &Option<String>| string.as_ref().is_some_and(|string| !string.is_empty());
        match () {
            () if self.kind.as_ref().is_some_and(|kind| kind != "BPE") => Some("its model is not BPE"),
            () if self.dropout.is_some_and(|dropout| dropout != 0.0) => Some("its merges are left to chance (dropout)"),
            () if self.unk_token.is_some() || self.byte_fallback => Some("it has tokens for what is unknown, of which bytes know nothing"),
            () if is_set(&self.continuing_subword_prefix) || is_set(&self.end_of_word_suffix) => Some("its tokens have affixes"),
            () if self.vocab.values().collect::<HashSet<_>>().len() < self.vocab.len() => Some("two of its tokens share an id"),
            () => None,
        }
    }
}

/// Words that are tokens whatever the merges say.
pub type WholeWords = HashMap<Vec<u8>, u32, ahash::RandomState>;

/// The merges of a model, and its whole words.
pub fn model(definition: &Definition<'_>) -> Result<(Merges, WholeWords), String> {
    let model: Model = definition.model()?;
    if let Some(obstacle) = model.obstacle() {
        return Err(obstacle.into());
    }
    let id = |string: &str| {
        let found = model.vocab.get(&Entry(Cow::Borrowed(string))).copied();
        found.ok_or_else(|| format!("{string:?} is not in its vocabulary"))
    };
    let (mut byte_ids, mut bytes_of) = ([0; 256], HashMap::new());
    for (byte, symbol) in byte_symbols() {
        bytes_of.insert(symbol, byte);
        match id(symbol.encode_utf8(&mut [0; 4])) {
            Err(_) if matches!(byte, 0xC0 | 0xC1 | 0xF5..) => {} // no text holds it
            id => byte_ids[byte as usize] = id?,
        }
    }
    let mut joined = String::new();
    let merges = model.merges.iter().map(|Merge(left, right)| {
        joined.clear();
        joined.extend([left.as_ref(), right.as_ref()]);
        Ok((id(left)?, id(right)?, id(&joined)?))
    });
    let merges = merges.collect::<Result<Vec<_>, String>>()?;
    let bytes = |entry: &str| entry.chars().map(|symbol| bytes_of.get(&symbol).copied()).collect::<Option<Vec<u8>>>();
    let words = model.vocab.iter().filter(|_| model.ignore_merges);
    let words = words.filter_map(|(entry, &id)| Some((bytes(&entry.0)?, id))).collect();
    Ok((Merges::new(&byte_ids, &merges), words))
}

/// The characters that stand for bytes: printable ones for themselves, the others from U+0100 on.
pub fn byte_symbols() -> impl Iterator<Item = (u8, char)> {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let printable = (0..=255).filter(move |&byte| is_printable(byte)).map(|byte| (byte, char::from(byte)));
    let others = (0..=255).filter(move |&byte| !is_printable(byte)).zip('\u{100}'..);
    printable.chain(others)
}

/// The strings of a merge, which are written as a pair or as one string with a space between them.
struct Merge<'d>(Cow<'d, str>, Cow<'d, str>);

impl<'de: 'd, 'd> Deserialize<'de> for Merge<'d> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MergeVisitor)
    }
}

struct MergeVisitor;

impl<'de> Visitor<'de> for MergeVisitor {
    type Value = Merge<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a pair of strings, or one string with a space between two")
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, line: &'de str) -> Result<Merge<'de>, E> {
        let (left, right) = halves(line)?;
        Ok(Merge(left.into(), right.into()))
    }

    fn visit_str<E: serde::de::Error>(self, line: &str) -> Result<Merge<'de>, E> {
        let (left, right) = halves(line)?;
        Ok(Merge(left.to_owned().into(), right.to_owned().into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Merge<'de>, A::Error> {
        let (left, right, third) = (pair.next_element::<Entry>()?, pair.next_element::<Entry>()?, pair.next_element::<Entry>()?);
        match (left, right, third) {
            (Some(left), Some(right), None) => Ok(Merge(left.0, right.0)),
            _ => Err(A::Error::custom("a merge is not a pair")),
        }
    }
}

/// The halves of a merge in one string. A version line, which `tokenizers` passes over, is not a merge here.
fn halves<E: serde::de::Error>(line: &str) -> Result<(&str, &str), E> {
    let halves = line.split_once(' ').filter(|(_, right)| !right.contains(' ') && !line.starts_with("#version"));
    halves.ok_or_else(|| E::custom(format!("the merge {line:?} is not two strings")))
}
