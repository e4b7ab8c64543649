//! Unigram: looks up parts of a word and byte tokens. An unknown character scores a fixed amount below the lowest score of all entries.

use super::{Changed, Entries, Model, Needed, Reduced, raw};
use crate::engine::definition::{Definition, Piece, field};

/// The model with the entries that are needed, the unknown token and the one of the lowest score. Their order stays, because of equal
/// contents the last counts; ids are places in the list.
pub fn reduced(definition: &Definition<'_>, model: &Model<'_>, needed: &Needed<'_>) -> Result<Reduced, String> {
    let unknown: Option<usize> = field(model, "unk_id")?;
    let pieces = definition.pieces()?;
    let lowest = lowest(pieces);
    let is_needed = |id: usize, piece: &Piece<'_>| needed.holds(&piece.content) || Some(id) == unknown || id == lowest;
    let ids: Vec<u32> = (0..pieces.len()).filter(|&id| is_needed(id, &pieces[id])).map(|id| id as u32).collect();
    // The score stays text, so that `tokenizers` reads the very same digits.
    let kept: Vec<_> = ids.iter().map(|&id| &pieces[id as usize]).map(|piece| (&piece.content, piece.digits)).collect();
    let mut changed = Changed::from([("vocab", raw(&kept)?)]);
    if let Some(unknown) = unknown {
        let place = ids.iter().position(|&id| id as usize == unknown).ok_or("its unknown token is not in its vocabulary")?;
        changed.insert("unk_id", raw(&place)?);
    }
    Ok(Reduced { changed, entries: Entries { ids, n_all: pieces.len() } })
}

/// The place of the lowest score.
fn lowest(pieces: &[Piece<'_>]) -> usize {
    let mut lowest = (0, f64::INFINITY);
    for (id, &Piece { score, .. }) in pieces.iter().enumerate() {
        if score < lowest.1 {
            lowest = (id, score);
        }
    }
    lowest.0
}
