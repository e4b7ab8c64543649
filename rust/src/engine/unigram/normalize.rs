//! Normalizes a word character by character, with the bytes that each character came from, as `NormalizedString` of `tokenizers` aligns
//! them.

use std::sync::Arc;

use tokenizers::normalizers::Precompiled;
use unicode_segmentation::UnicodeSegmentation;

use super::chars::Classes;

/// Clusters below this length are looked up whole before their characters are.
const WHOLE_CLUSTER_BYTES: usize = 6;

/// Start and end in the word, in bytes.
pub type Span = (u32, u32);

/// The character map of `SentencePiece`, with what is known of each character.
#[derive(Debug)]
pub struct Normalizer {
    pub charsmap: Option<Arc<Precompiled>>,
    pub classes: Classes,
}

impl Normalizer {
    /// Does a text that starts like this lose its first character? `tokenizers` then takes every later one for the one before it.
    pub fn loses_first(&self, text: &str) -> bool {
        let (Some(map), Some(first)) = (&self.charsmap, text.chars().next()) else { return false };
        if self.classes.of(first).is_plain() {
            return false;
        }
        let cluster = text.graphemes(true).next().unwrap_or_default();
        let whole = (cluster.len() < WHOLE_CLUSTER_BYTES).then(|| map.transform(cluster)).flatten();
        whole.or_else(|| map.transform(&text[..first.len_utf8()])).is_some_and(str::is_empty)
    }

    /// Hands over the characters of the normalized word. `is_start` where nothing comes before it.
    pub fn each(&self, word: &str, is_start: bool, take: impl FnMut(char, Span)) {
        let mut aligner = Aligner { word, is_start, ahead: 0, before: (0, 0), held: None, take };
        let mut rest = word;
        while let Some(character) = rest.chars().next() {
            let class = self.classes.of(character);
            let (one, others) = rest.split_at(character.len_utf8());
            if class.is_alone() && others.chars().next().is_none_or(|next| self.classes.of(next).is_alone()) {
                self.part(character, one, &mut aligner);
                rest = others;
            } else {
                let (joined, others) = rest.split_at(self.end_of_joined(rest));
                joined.graphemes(true).for_each(|cluster| self.cluster(cluster, &mut aligner));
                rest = others;
            }
        }
        aligner.release();
    }

    /// Where two characters follow each other that are clusters by themselves.
    fn end_of_joined(&self, text: &str) -> usize {
        let mut was_alone = false;
        for (at, character) in text.char_indices() {
            let is_alone = self.classes.of(character).is_alone();
            if is_alone && was_alone && at > 0 {
                return at;
            }
            was_alone = is_alone;
        }
        text.len()
    }

    fn cluster(&self, cluster: &str, aligner: &mut Aligner<'_, impl FnMut(char, Span)>) {
        if cluster.len() < WHOLE_CLUSTER_BYTES
            && let Some(normal) = self.charsmap.as_ref().and_then(|map| map.transform(cluster))
        {
            return aligner.replace(cluster.chars().count(), normal);
        }
        for (at, character) in cluster.char_indices() {
            self.part(character, &cluster[at..at + character.len_utf8()], aligner);
        }
    }

    /// A character that is looked up by itself.
    fn part(&self, character: char, part: &str, aligner: &mut Aligner<'_, impl FnMut(char, Span)>) {
        if self.classes.of(character).is_kept() {
            return aligner.hold(character, 0);
        }
        let normal = self.charsmap.as_ref().and_then(|map| map.transform(part)).unwrap_or(part);
        aligner.replace(1, normal);
    }
}

/// Follows which character of the word each one of the normalized text stands for. Like `NormalizedString::transform`, it counts
/// characters that were replaced, added and removed, and so repeats its mistake about characters removed at the very start.
struct Aligner<'w, T> {
    word: &'w str,
    is_start: bool,
    /// The next character of the word that has no counterpart, in bytes.
    ahead: usize,
    /// The one before it.
    before: Span,
    /// A character whose change is not known: characters that are removed after it count with it. -N: N are, 1: it was added.
    held: Option<(char, isize)>,
    take: T,
}

impl<T: FnMut(char, Span)> Aligner<'_, T> {
    fn replace(&mut self, n_chars: usize, normal: &str) {
        let n_normal = normal.chars().count();
        if n_normal == 0 {
            return self.remove(n_chars);
        }
        for (i, character) in normal.chars().enumerate() {
            let removed = if i + 1 == n_normal { n_chars.saturating_sub(n_normal) } else { 0 };
            self.hold(character, if i < n_chars { -(removed as isize) } else { 1 });
        }
    }

    fn remove(&mut self, n_chars: usize) {
        match &mut self.held {
            Some((_, change)) => *change -= n_chars as isize,
            None if self.is_start => {}
            None => self.advance(n_chars),
        }
    }

    fn hold(&mut self, character: char, change: isize) {
        self.release();
        self.held = Some((character, change));
    }

    fn release(&mut self) {
        let Some((character, change)) = self.held.take() else { return };
        let span = if change > 0 {
            self.before
        } else {
            self.advance(1);
            let span = self.before;
            self.advance(change.unsigned_abs());
            span
        };
        (self.take)(character, span);
    }

    fn advance(&mut self, n_chars: usize) {
        for character in self.word[self.ahead..].chars().take(n_chars) {
            self.before = (self.ahead as u32, (self.ahead + character.len_utf8()) as u32);
            self.ahead += character.len_utf8();
        }
    }
}
