//! `WordPiece`: looks up parts of a word, with a prefix except at its start, and the unknown token.

use super::vocabulary::Vocabulary;
use super::{Model, Needed, Reduced, raw};
use crate::engine::definition::field;

/// The model with the entries that are needed.
pub fn reduced(model: &Model<'_>, needed: &Needed<'_>) -> Result<Reduced, String> {
    let prefix: String = field(model, "continuing_subword_prefix")?.ok_or("its model has no prefix")?;
    let unknown: String = field(model, "unk_token")?.ok_or("its model has no unknown token")?;
    let vocab = model.get("vocab").ok_or("its model has no vocabulary")?;
    let vocabulary = Vocabulary::read(vocab.get())?;
    let is_needed =
        |entry: &str| needed.holds(entry) || entry == unknown || entry.strip_prefix(&prefix).is_some_and(|part| needed.holds(part));
    let (kept, entries) = vocabulary.kept(is_needed)?;
    Ok(Reduced { changed: [("vocab", raw(&kept)?)].into(), entries })
}
