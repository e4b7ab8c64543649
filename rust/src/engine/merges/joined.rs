//! What merges make, as entries of the vocabulary.

use super::model::Ids;

/// Finds what merges make. Most vocabularies have it in the order of the merges: then the next entry is it, or the last one once more, and
/// nothing is hashed.
pub struct Joined<'v> {
    entries: Vec<&'v str>,
    /// The id after that of the last merge.
    next: usize,
    buffer: String,
}

impl<'v> Joined<'v> {
    /// For merges of these entries, whose ids are below `n_ids`.
    pub fn new(ids: impl Iterator<Item = (&'v str, u32)>, n_ids: usize) -> Self {
        let mut entries = vec![""; n_ids];
        for (entry, id) in ids {
            entries[id as usize] = entry;
        }
        Self { entries, next: 0, buffer: String::new() }
    }

    /// The id of both parts together.
    pub fn id(&mut self, ids: &Ids<'_>, left: &str, right: &str) -> Option<u32> {
        let is_made = |at: usize| self.entries.get(at).and_then(|entry| entry.strip_prefix(left)) == Some(right);
        if self.next > 0 && is_made(self.next - 1) {
            return Some(self.next as u32 - 1);
        }
        if !is_made(self.next) {
            self.buffer.clear();
            self.buffer.extend([left, right]);
            self.next = ids.get(&self.buffer)? as usize;
        }
        self.next += 1;
        Some(self.next as u32 - 1)
    }
}
