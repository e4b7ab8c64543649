//! The fast engine for Unigram tokenizers of the `SentencePiece` family: a character map, words at blanks, the best pieces of each.

mod chain;
mod chars;
mod closers;
mod lattice;
mod normalize;
mod pieces;
mod settings;
mod split;
#[cfg(test)]
mod tests;
mod viterbi;

use std::borrow::Cow;
use std::sync::Arc;

use self::chars::{Class, Classes, Words as Kind};
use self::lattice::Lattice;
use self::normalize::Normalizer;
use self::pieces::Pieces;
use self::settings::Settings;
use self::split::Splitter;
use self::viterbi::SHORT_BYTES;
use super::Tokens;
use super::definition::Definition;
use super::metaspace::{MARKER, Prepend};
use super::words::{Edge, Stretch, WordModel, Words};

/// A Unigram tokenizer.
#[derive(Debug)]
pub struct Unigram {
    settings: Settings,
    normalizer: Normalizer,
    splitter: Splitter,
    pieces: Pieces,
}

/// A word of characters that stay what they are, or become their small letters.
struct Plain<'w> {
    /// What they become.
    text: Cow<'w, str>,
    /// Blanks at its start: none or one.
    n_blanks: usize,
    /// Bytes of the character that the marker before it stands for.
    n_first: usize,
}

impl Unigram {
    /// The tokenizer of a definition.
    ///
    /// # Errors
    /// What in it is not known here exactly.
    pub fn new(definition: &Definition<'_>) -> Result<Self, String> {
        let (settings, chain) = Settings::read(definition)?;
        let chain = Arc::new(chain);
        let classes = Classes::new(&chain, settings.kind)?;
        let (pieces, closers) = settings::pieces(definition, &chain, &classes)?;
        let splitter = Splitter::new(&classes, closers, settings.kind);
        Ok(Self { settings, normalizer: Normalizer { chain, classes }, splitter, pieces })
    }

    /// Is a marker put before the text of a word? Nothing where the word has no say in it.
    fn is_marked(&self, word: &str, before: Option<Edge>) -> bool {
        match (self.settings.prepend, self.settings.kind) {
            (Prepend::Never, _) => false,
            (Prepend::Always, Kind::BetweenBlanks) => before.is_some() || !self.splitter.is_closing(word.as_bytes()),
            (Prepend::Always, _) => matches!(before, Some(Edge::Document | Edge::AddedToken)),
            (Prepend::First, _) => before == Some(Edge::Document),
        }
    }

    fn read(&self, word: &str, before: Option<Edge>, tokens: &mut Tokens) {
        match self.plain(word) {
            Some(plain) if plain.text.len() - plain.n_blanks <= SHORT_BYTES => {
                self.read_plain(&plain, self.is_marked(word, before), tokens);
            }
            Some(plain) => self.read_long(&plain, self.is_marked(word, before), tokens),
            None => self.read_any(word, before, tokens),
        }
    }

    /// What the word is, where it is plain.
    fn plain<'w>(&self, word: &'w str) -> Option<Plain<'w>> {
        let classes = &self.normalizer.classes;
        let bytes = word.as_bytes();
        let n_blanks = match self.settings.kind {
            Kind::AtBlanks | Kind::AtRunsOfBlanks => {
                usize::from(bytes[0] < 128 && bytes[0] != b'\r' && classes.of_ascii(bytes[0]).is_blank())
            }
            Kind::BetweenBlanks => 0,
        };
        let rest = &bytes[n_blanks..];
        let all = |is: fn(u8, Class) -> bool| rest.iter().all(|&byte| byte < 128 && is(byte, classes.of_ascii(byte)));
        let text = if all(|_, class| class.is_plain()) || word[n_blanks..].chars().all(|character| classes.of(character).is_plain()) {
            Cow::Borrowed(word)
        } else if all(|byte, class| class.is_capital() || class.is_plain() && !byte.is_ascii_uppercase()) {
            Cow::Owned(word.to_ascii_lowercase())
        } else {
            return None;
        };
        let is_plain = !self.normalizer.chain.has_pair(rest);
        is_plain.then(|| Plain { text, n_blanks, n_first: word.chars().next().map_or(0, char::len_utf8) })
    }

    fn read_plain(&self, plain: &Plain<'_>, is_marked: bool, tokens: &mut Tokens) {
        let &Plain { ref text, n_blanks, n_first } = plain;
        let at = |at: usize| at - 1 + n_blanks;
        let span = |start: usize, end: usize| {
            let from = if start == 0 { 0 } else { at(start) };
            let to = if end == 1 { n_first } else { at(end) };
            (from as u32, to as u32)
        };
        self.pieces.short(n_blanks > 0 || is_marked, &text.as_bytes()[n_blanks..], span, tokens);
    }

    fn read_long(&self, plain: &Plain<'_>, is_marked: bool, tokens: &mut Tokens) {
        let marked = (plain.n_blanks > 0 || is_marked).then_some((0, plain.n_first as u32));
        Lattice::new(&self.pieces, tokens).read_plain(marked, &plain.text[plain.n_blanks..], plain.n_blanks as u32);
    }

    fn read_any(&self, word: &str, before: Option<Edge>, tokens: &mut Tokens) {
        let mut parts = Parts {
            lattice: Lattice::new(&self.pieces, tokens),
            marked_up_to: self.is_marked(word, before).then_some(if self.settings.prepend == Prepend::First { 0 } else { u32::MAX }),
            ends_at_blanks: self.settings.kind == Kind::BetweenBlanks,
            is_start: true,
        };
        let is_start = before.is_some_and(|edge| edge != Edge::Cut);
        let mut blank = None;
        self.normalizer.each(word, is_start, |character, span| {
            if self.settings.joins_blanks && character == ' ' {
                blank = Some(span);
                return;
            }
            if let Some(span) = blank.take() {
                parts.push(' ', span);
            }
            parts.push(character, span);
        });
        if let Some(span) = blank {
            parts.push(' ', span);
        }
        parts.lattice.end();
    }
}

/// Takes normalized text apart, as `WhitespaceSplit` and `Metaspace` do.
struct Parts<'p, 't> {
    lattice: Lattice<'p, 't>,
    /// A marker is put before what stands for something up to this byte: where it is for first words only, the very first character, which
    /// may have been removed.
    marked_up_to: Option<u32>,
    ends_at_blanks: bool,
    /// No character yet, or none since a blank that was removed.
    is_start: bool,
}

impl Parts<'_, '_> {
    fn push(&mut self, character: char, span: (u32, u32)) {
        if self.ends_at_blanks && character.is_whitespace() {
            self.lattice.end();
            self.is_start = true;
            return;
        }
        let character = if character == ' ' { MARKER } else { character };
        if character == MARKER {
            self.lattice.end();
        } else if self.is_start && self.marked_up_to.is_some_and(|last| span.0 <= last) {
            self.lattice.push(MARKER, span);
        }
        self.is_start = false;
        self.lattice.push(character, span);
    }
}

impl WordModel for Unigram {
    fn split(&self, stretch: &Stretch<'_>, from: usize, words: &mut Words) -> usize {
        let mut text = stretch.text;
        if self.settings.strip_right && stretch.after != Edge::Cut && from == 0 {
            text = text.trim_end();
        }
        if from == 0 && stretch.before != Edge::Cut {
            let start = if self.settings.strip_left { text.len() - text.trim_start().len() } else { 0 };
            if self.normalizer.loses_first(&text[start..]) {
                words.spans.push((start as u32, text.len() as u32));
                return stretch.text.len();
            }
            return self.split_from(stretch, start, words);
        }
        self.split_from(stretch, from, words)
    }

    fn tokenize(&self, word: &str, tokens: &mut Tokens) {
        self.read(word, None, tokens);
    }

    fn reads_first_apart(&self, before: Edge) -> bool {
        before != Edge::Cut
    }

    fn tokenize_first(&self, word: &str, before: Edge, tokens: &mut Tokens) {
        self.read(word, Some(before), tokens);
    }

    fn is_cut(&self, text: &str, at: usize) -> bool {
        self.splitter.is_cut(&self.normalizer.classes, text, at)
    }

    fn is_whole(&self, text: &str) -> bool {
        let start = if self.settings.strip_left { text.len() - text.trim_start().len() } else { 0 };
        self.normalizer.loses_first(&text[start..])
    }

    fn explain(&self) -> String {
        "engine: unigram (SentencePiece character map, words at blanks, best pieces)".into()
    }
}

impl Unigram {
    fn split_from(&self, stretch: &Stretch<'_>, from: usize, words: &mut Words) -> usize {
        if from == stretch.text.len() {
            return from;
        }
        let next = self.splitter.split(&self.normalizer.classes, stretch.text, from, words);
        if next == stretch.text.len() && self.settings.strip_right && stretch.after != Edge::Cut {
            // No word ends at white space here, so all of it at the end is in the last one.
            if let Some(last) = words.spans.pop() {
                let word = stretch.text[last.0 as usize..last.1 as usize].trim_end();
                words.spans.extend((!word.is_empty()).then(|| (last.0, last.0 + word.len() as u32)));
            }
        }
        next
    }
}
