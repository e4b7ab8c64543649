//! Normalizes a word character by character, with the bytes that each character came from, as `NormalizedString` of `tokenizers` aligns
//! them.

use std::sync::Arc;

use unicode_segmentation::UnicodeSegmentation;

use super::chain::{Chain, each_character};
use super::chars::Classes;
use crate::engine::aligned::Span;

/// What is done to words, with what is known of each character.
#[derive(Debug)]
pub struct Normalizer {
    pub chain: Arc<Chain>,
    pub classes: Classes,
}

impl Normalizer {
    /// Does a text that starts like this lose its first character? `tokenizers` then takes every later one for the one before it.
    pub fn loses_first(&self, text: &str) -> bool {
        let mut characters = text.char_indices();
        let Some((_, first)) = characters.next() else { return false };
        if self.classes.of(first).is_plain() {
            return false;
        }
        if self.chain.has_steps() && !self.classes.of(first).may_start() {
            return true; // or only its accents go: then reading all at once is not needed, but right
        }
        // Up to a character that no step changes and that joins with none before it.
        let end = characters.find(|&(_, character)| self.classes.of(character).is_plain()).map_or(text.len(), |(at, _)| at);
        let start = self.chain.text_before_map(&text[..end]);
        let (cluster, first) = (start.graphemes(true).next().unwrap_or_default(), start.chars().next().map(String::from));
        let whole = self.chain.map_cluster(cluster);
        whole.or_else(|| self.chain.map(first.as_deref().unwrap_or_default())).is_some_and(str::is_empty)
    }

    /// Hands over the characters of the normalized word. `is_start` where nothing comes before it.
    pub fn each(&self, word: &str, is_start: bool, take: impl FnMut(char, Span)) {
        if self.chain.has_steps() {
            let changed = self.chain.before_map(word);
            self.map(&changed.text, changed.spans.into_iter(), is_start, take);
        } else {
            let spans = word.char_indices().map(|(at, character)| (at as u32, (at + character.len_utf8()) as u32));
            self.map(word, spans, is_start, take);
        }
    }

    /// Hands over what the map makes of a text whose characters stand for these spans.
    fn map(&self, text: &str, spans: impl Iterator<Item = Span>, is_start: bool, take: impl FnMut(char, Span)) {
        let mut aligner = Aligner { spans, is_start, before: (0, 0), held: None, take };
        let mut rest = text;
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

    fn cluster(&self, cluster: &str, aligner: &mut Aligner<impl Iterator<Item = Span>, impl FnMut(char, Span)>) {
        match self.chain.map_cluster(cluster) {
            Some(normal) => aligner.replace(cluster.chars().count(), normal),
            None => each_character(cluster, |character, part| self.part(character, part, aligner)),
        }
    }

    /// A character that is looked up by itself.
    fn part(&self, character: char, part: &str, aligner: &mut Aligner<impl Iterator<Item = Span>, impl FnMut(char, Span)>) {
        if self.classes.of(character).is_kept() {
            return aligner.hold(character, 0);
        }
        aligner.replace(1, self.chain.map(part).unwrap_or(part));
    }
}

/// Follows which character of the word each one of the normalized text stands for. Like `NormalizedString::transform`, it counts
/// characters that were replaced, added and removed, and so repeats its mistake about characters removed at the very start.
struct Aligner<S, T> {
    /// What the characters of the word that have no counterpart yet stand for.
    spans: S,
    is_start: bool,
    /// What the one before them stands for.
    before: Span,
    /// A character whose change is not known: characters that are removed after it count with it. -N: N are, 1: it was added.
    held: Option<(char, isize)>,
    take: T,
}

impl<S: Iterator<Item = Span>, T: FnMut(char, Span)> Aligner<S, T> {
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
        if let Some(last) = self.spans.by_ref().take(n_chars).last() {
            self.before = last;
        }
    }
}
