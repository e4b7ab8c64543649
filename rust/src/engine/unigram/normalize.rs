//! Normalizes a word character by character, with the bytes that each character came from, as `NormalizedString` of `tokenizers` aligns
//! them.

use std::collections::VecDeque;
use std::sync::Arc;

use unicode_normalization_alignments::char::canonical_combining_class;
use unicode_segmentation::UnicodeSegmentation;

use super::chain::{Chain, each_character};
use super::chars::Classes;
use crate::engine::aligned::{Span, spans};

/// Characters that show what the first one becomes.
const START_CHARS: usize = 16;

/// Bytes of a word that are normalized together.
const BLOCK_BYTES: usize = if cfg!(test) { 8 } else { 4 * 1024 };

/// What is done to words, with what is known of each character.
#[derive(Debug)]
pub struct Normalizer {
    pub chain: Arc<Chain>,
    pub classes: Classes,
}

impl Normalizer {
    /// Does a text that starts like this lose its first character to the map? `tokenizers` then takes every later one for the one before it.
    pub fn loses_first(&self, text: &str) -> bool {
        let Some(first) = text.chars().next() else { return false };
        if self.classes.of(first).is_plain() {
            return false;
        }
        if !self.chain.has_steps() {
            return self.loses_cluster(text.graphemes(true).next().unwrap_or_default());
        }
        let end = text.char_indices().nth(START_CHARS).map_or(text.len(), |(at, _)| at);
        let start = self.chain.text_before_map(&text[..end]);
        let mut clusters = start.graphemes(true);
        let (first, second) = (clusters.next().unwrap_or_default(), clusters.next().and_then(|cluster| cluster.chars().next()));
        // What follows could change the first cluster only if that reached up to it, or marks from there changed places with its own.
        let is_known = end == text.len() || second.is_some_and(|second| canonical_combining_class(second) == 0);
        !is_known || self.loses_cluster(first)
    }

    /// Does the map make nothing of the first character of this cluster?
    fn loses_cluster(&self, cluster: &str) -> bool {
        let first = cluster.chars().next().map(String::from).unwrap_or_default();
        self.chain.map_cluster(cluster).or_else(|| self.chain.map(&first)).is_some_and(str::is_empty)
    }

    /// Hands over the characters of the normalized word. `is_start` where nothing comes before it.
    pub fn each(&self, word: &str, is_start: bool, take: impl FnMut(char, Span)) {
        if !self.chain.has_steps() {
            let mut aligner = Aligner::new(spans(word), is_start, take);
            self.map(word, &mut aligner);
            return aligner.release();
        }
        let mut aligner = Aligner::new(Blocks::default(), is_start, take);
        let mut start = 0;
        while start < word.len() {
            let end = start + self.end_of_block(&word[start..]);
            let changed = self.chain.before_map(&word[start..end]);
            aligner.spans.0.extend(changed.spans.iter().map(|(from, to)| (from + start as u32, to + start as u32)));
            self.map(&changed.text, &mut aligner);
            start = end;
        }
        aligner.release();
    }

    /// Where a part of a word ends, of about [`BLOCK_BYTES`], that is normalized as if alone: what is beside its end is settled, and no pair
    /// lies across.
    fn end_of_block(&self, word: &str) -> usize {
        let (mut before, mut n_equal) = ('\0', 0_usize);
        for (at, character) in word.char_indices() {
            let may_end = at >= BLOCK_BYTES && self.classes.of(before).is_settled() && self.classes.of(character).is_settled();
            if may_end && (character != before || n_equal % 2 == 0) {
                return at;
            }
            n_equal = if character == before { n_equal + 1 } else { 1 };
            before = character;
        }
        word.len()
    }

    /// Hands over what the map makes of a text.
    fn map<'n>(&'n self, text: &str, aligner: &mut Aligner<'n, impl Iterator<Item = Span>, impl FnMut(char, Span)>) {
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            let class = self.classes.of(character);
            let (one, others) = rest.split_at(character.len_utf8());
            if class.is_alone() && others.chars().next().is_none_or(|next| self.classes.of(next).is_alone()) {
                self.part(character, one, aligner);
                rest = others;
            } else {
                let (joined, others) = rest.split_at(self.end_of_joined(rest));
                joined.graphemes(true).for_each(|cluster| self.cluster(cluster, aligner));
                rest = others;
            }
        }
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

    fn cluster<'n>(&'n self, cluster: &str, aligner: &mut Aligner<'n, impl Iterator<Item = Span>, impl FnMut(char, Span)>) {
        match self.chain.map_cluster(cluster) {
            Some(normal) => aligner.replace(cluster.chars().count(), normal),
            None => each_character(cluster, |character, part| self.part(character, part, aligner)),
        }
    }

    /// A character that is looked up by itself.
    fn part<'n>(&'n self, character: char, part: &str, aligner: &mut Aligner<'n, impl Iterator<Item = Span>, impl FnMut(char, Span)>) {
        if self.classes.of(character).is_kept() {
            return aligner.hold(character, 0);
        }
        let normal = match aligner.last {
            Some((last, normal)) if last == character => normal,
            _ => self.chain.map(part),
        };
        aligner.last = Some((character, normal));
        aligner.replace(1, normal.unwrap_or(part));
    }
}

/// Follows which character of the word each one of the normalized text stands for. Like `NormalizedString::transform`, it counts
/// characters that were replaced, added and removed, and so repeats its mistake about characters removed at the very start.
struct Aligner<'n, S, T> {
    /// What the characters of the word that have no counterpart yet stand for.
    spans: S,
    is_start: bool,
    /// What the one before them stands for.
    before: Span,
    /// A character whose change is not known: characters that are removed after it count with it. -N: N are, 1: it was added.
    held: Option<(char, isize)>,
    /// The last character that was looked up in the map, and what that has of it: many texts have one of them over and over.
    last: Option<(char, Option<&'n str>)>,
    take: T,
}

/// What the characters of some parts of a word stand for, as far as they are read. A character that was lost keeps all later ones waiting.
#[derive(Debug, Default)]
struct Blocks(VecDeque<Span>);

impl Iterator for Blocks {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        self.0.pop_front()
    }
}

impl<S: Iterator<Item = Span>, T: FnMut(char, Span)> Aligner<'_, S, T> {
    fn new(spans: S, is_start: bool, take: T) -> Self {
        Self { spans, is_start, before: (0, 0), held: None, last: None, take }
    }

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
