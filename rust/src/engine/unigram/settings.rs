//! Reads a definition, as far as this engine knows its components exactly.

use serde_json::Value;

use super::chain::Chain;
use super::chars::{Classes, Words as Kind};
use super::closers::Closers;
use super::pieces::Pieces;
use crate::engine::definition::{Definition, field, kind, members};
use crate::engine::metaspace::{Metaspace, Prepend};

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

impl Settings {
    /// # Errors
    /// What in the definition is not known here exactly.
    pub fn read(definition: &Definition<'_>) -> Result<(Self, Chain), String> {
        let (prepend, splits_first) = pre_tokenizer(&definition.pre_tokenizer)?;
        let mut settings = Self { kind: Kind::AtBlanks, prepend, strip_left: false, strip_right: false, joins_blanks: false };
        let mut chain = Chain::default();
        for normalizer in members(&definition.normalizer, "normalizers") {
            let is_first = chain.is_empty() && !settings.joins_blanks && !settings.strip_left && !settings.strip_right;
            match kind(normalizer) {
                "Strip" if is_first => {
                    settings.strip_left = normalizer["strip_left"] == true;
                    settings.strip_right = normalizer["strip_right"] == true;
                }
                "Replace" if joins_blanks(normalizer, splits_first) => settings.joins_blanks = true,
                _ if !settings.joins_blanks && chain.push(normalizer)? => {}
                other => return Err(format!("unigram does not read the normalizer {other:?} where it stands")),
            }
        }
        let strips = settings.strip_left || settings.strip_right;
        if settings.strip_left && prepend == Prepend::First {
            return Err("unigram does not read Metaspace for first words where blanks before them are stripped".into());
        }
        settings.kind = match (splits_first, strips, settings.joins_blanks) {
            (true, false, _) => Kind::BetweenBlanks,
            (true, ..) => return Err("unigram reads WhitespaceSplit only where no blanks were stripped".into()),
            (false, false, false) => Kind::AtBlanks,
            (false, ..) => Kind::AtRunsOfBlanks,
        };
        // Where white space is removed, it is all the same how much there was.
        settings.joins_blanks &= !splits_first;
        Ok((settings, chain))
    }
}

/// The vocabulary of a definition, and what closes words in it.
///
/// # Errors
/// Where it is not one that this engine reads.
pub fn pieces(definition: &Definition<'_>, chain: &Chain, classes: &Classes) -> Result<(Pieces, Closers), String> {
    let model = &definition.model;
    let kind: Option<String> = field(model, "type")?;
    if field(model, "byte_fallback")? == Some(true) || kind.is_some_and(|kind| kind != "Unigram") {
        return Err("unigram reads no bytes in place of unknown characters".into());
    }
    let unknown_id: Option<usize> = field(model, "unk_id")?;
    let vocabulary: Vec<(&str, f64)> = definition.pieces()?.iter().map(|piece| (piece.content.as_ref(), piece.score)).collect();
    let pieces = Pieces::new(&vocabulary, unknown_id)?;
    let closers = Closers::new(chain, classes, &pieces, &vocabulary);
    Ok((pieces, closers))
}

/// The prepend scheme, and whether white space splits before.
fn pre_tokenizer(pre_tokenizer: &Value) -> Result<(Prepend, bool), String> {
    let (metaspace, splits_first) = match members(pre_tokenizer, "pretokenizers").as_slice() {
        [metaspace] if kind(metaspace) == "Metaspace" => (*metaspace, false),
        [split, metaspace] if kind(split) == "WhitespaceSplit" && kind(metaspace) == "Metaspace" => (*metaspace, true),
        _ => return Err("unigram reads the pre-tokenizer Metaspace, alone or after WhitespaceSplit".into()),
    };
    let Metaspace { prepend, splits } = Metaspace::read(metaspace)?;
    if !splits || splits_first && prepend == Prepend::First {
        return Err("unigram reads Metaspace that splits, and not after WhitespaceSplit for first words only".into());
    }
    Ok((prepend, splits_first))
}

/// Does it make one blank, or one marker where blanks are no ends yet, of several blanks?
fn joins_blanks(replace: &Value, splits_first: bool) -> bool {
    let makes_blank = replace["content"] == " " || replace["content"] == "\u{2581}" && !splits_first;
    replace["pattern"]["Regex"] == " {2,}" && makes_blank
}
