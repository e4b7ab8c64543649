//! Unigram: looks up parts of a word and byte tokens. An unknown character scores a fixed amount below the lowest score of all entries.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Changed, Entries, Model, Needed, Reduced, parse, raw};
use crate::engine::definition::{Entry, field};

/// A piece and its score. The score stays text, so that `tokenizers` reads the very same digits.
#[derive(Deserialize)]
struct Piece<'d>(#[serde(borrow)] Entry<'d>, #[serde(borrow)] &'d RawValue);

/// The model with the entries that are needed, the unknown token and the one of the lowest score. Their order stays, because of equal
/// contents the last counts; ids are places in the list.
pub fn reduced(model: &Model<'_>, needed: &Needed<'_>) -> Result<Reduced, String> {
    let unknown: Option<usize> = field(model, "unk_id")?;
    let vocab = model.get("vocab").ok_or("its model has no vocabulary")?;
    let pieces: Vec<Piece<'_>> = parse(vocab.get())?;
    let lowest = lowest(&pieces)?;
    let is_needed = |id: usize, piece: &Piece<'_>| needed.holds(&piece.0.0) || Some(id) == unknown || id == lowest;
    let ids: Vec<u32> = (0..pieces.len()).filter(|&id| is_needed(id, &pieces[id])).map(|id| id as u32).collect();
    let kept: Vec<_> = ids.iter().map(|&id| &pieces[id as usize]).map(|Piece(content, score)| (&content.0, score)).collect();
    let mut changed = Changed::from([("vocab", raw(&kept)?)]);
    if let Some(unknown) = unknown {
        let place = ids.iter().position(|&id| id as usize == unknown).ok_or("its unknown token is not in its vocabulary")?;
        changed.insert("unk_id", raw(&place)?);
    }
    Ok(Reduced { changed, entries: Entries { ids, n_all: pieces.len() } })
}

/// The place of the lowest score.
fn lowest(pieces: &[Piece<'_>]) -> Result<usize, String> {
    let mut lowest = (0, f64::INFINITY);
    for (id, Piece(_, score)) in pieces.iter().enumerate() {
        let score: f64 = parse(score.get())?;
        if score < lowest.1 {
            lowest = (id, score);
        }
    }
    Ok(lowest.0)
}
