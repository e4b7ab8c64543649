//! Reads a definition, as far as this engine knows its components exactly.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::normalizers::Precompiled;

use super::chars::{Classes, MARKER, Words as Kind};
use super::closers::Closers;
use super::normalize::Normalizer;
use super::pieces::Pieces;
use crate::engine::definition::{Definition, field, kind};

/// Where `Metaspace` puts a marker before a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prepend {
    First,
    Never,
    #[default]
    Always,
}

/// What is not in tables.
#[derive(Debug)]
pub struct Settings {
    pub kind: Kind,
    pub prepend: Prepend,
    pub strip_left: bool,
    pub strip_right: bool,
    /// Runs of blanks become one.
    pub joins_blanks: bool,
}

#[derive(Deserialize)]
struct Metaspace {
    replacement: char,
    add_prefix_space: Option<bool>,
    #[serde(default)]
    prepend_scheme: Prepend,
    split: Option<bool>,
}

impl Settings {
    /// # Errors
    /// What in the definition is not known here exactly.
    pub fn new(definition: &Definition<'_>) -> Result<Self, String> {
        let (prepend, splits_first) = pre_tokenizer(&definition.pre_tokenizer)?;
        let mut settings = Self { kind: Kind::AtBlanks, prepend, strip_left: false, strip_right: false, joins_blanks: false };
        let mut seen_map = false;
        for normalizer in members(&definition.normalizer, "normalizers") {
            match kind(normalizer) {
                "Strip" if !seen_map && !settings.joins_blanks && !settings.strip_left && !settings.strip_right => {
                    settings.strip_left = normalizer["strip_left"] == true;
                    settings.strip_right = normalizer["strip_right"] == true;
                }
                "Precompiled" if !seen_map && !settings.joins_blanks => seen_map = true,
                "Replace" if joins_blanks(normalizer) => settings.joins_blanks = true,
                other => return Err(format!("unigram does not read the normalizer {other:?} where it stands")),
            }
        }
        let strips = settings.strip_left || settings.strip_right;
        settings.kind = match (splits_first, strips, settings.joins_blanks) {
            (true, false, false) => Kind::BetweenBlanks,
            (true, ..) => return Err("unigram reads WhitespaceSplit only after a character map".into()),
            (false, false, false) => Kind::AtBlanks,
            (false, ..) => Kind::AtRunsOfBlanks,
        };
        Ok(settings)
    }

    /// # Errors
    /// Where the character map cannot be read.
    pub fn normalizer(&self, definition: &Definition<'_>) -> Result<Normalizer, String> {
        let map = members(&definition.normalizer, "normalizers").into_iter().find(|member| kind(member) == "Precompiled");
        let charsmap = map.map(|map| Precompiled::deserialize(map).map(Arc::new)).transpose().map_err(|error| error.to_string())?;
        Ok(Normalizer { classes: Classes::new(charsmap.clone(), self.kind)?, charsmap })
    }
}

/// The vocabulary of a definition, and what closes words in it.
///
/// # Errors
/// Where it is not one that this engine reads.
pub fn pieces(definition: &Definition<'_>, classes: &Classes) -> Result<(Pieces, Closers), String> {
    let model = &definition.model;
    let kind: Option<String> = field(model, "type")?;
    if field(model, "byte_fallback")? == Some(true) || kind.is_some_and(|kind| kind != "Unigram") {
        return Err("unigram reads no bytes in place of unknown characters".into());
    }
    let unknown_id: Option<usize> = field(model, "unk_id")?;
    let vocabulary: Vec<(&str, f64)> = definition.pieces()?.iter().map(|piece| (piece.content.as_ref(), piece.score)).collect();
    let pieces = Pieces::new(&vocabulary, unknown_id)?;
    let closers = Closers::new(classes, &pieces, &vocabulary);
    Ok((pieces, closers))
}

/// The prepend scheme, and whether white space splits before.
fn pre_tokenizer(pre_tokenizer: &Value) -> Result<(Prepend, bool), String> {
    let (metaspace, splits_first) = match members(pre_tokenizer, "pretokenizers").as_slice() {
        [metaspace] if kind(metaspace) == "Metaspace" => (*metaspace, false),
        [split, metaspace] if kind(split) == "WhitespaceSplit" && kind(metaspace) == "Metaspace" => (*metaspace, true),
        _ => return Err("unigram reads the pre-tokenizer Metaspace, alone or after WhitespaceSplit".into()),
    };
    let metaspace = Metaspace::deserialize(metaspace).map_err(|error| error.to_string())?;
    let prepend = if metaspace.add_prefix_space == Some(false) { Prepend::Never } else { metaspace.prepend_scheme };
    if metaspace.replacement != MARKER || metaspace.split == Some(false) || splits_first && prepend == Prepend::First {
        return Err("unigram reads Metaspace with its usual marker, splitting at it".into());
    }
    Ok((prepend, splits_first))
}

fn joins_blanks(replace: &Value) -> bool {
    replace["pattern"]["Regex"] == " {2,}" && (replace["content"] == " " || replace["content"] == "\u{2581}")
}

/// The members of a sequence, in order; a component that is none is its own only member.
fn members<'v>(component: &'v Value, key: &str) -> Vec<&'v Value> {
    match kind(component) {
        "Sequence" => component[key].as_array().into_iter().flatten().flat_map(|member| members(member, key)).collect(),
        _ if component.is_null() => vec![],
        _ => vec![component],
    }
}
