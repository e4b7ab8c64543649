//! What `BertNormalizer` and `BertPreTokenizer` make of single characters, asked from the same crates as the oracle does.

use serde::Deserialize;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::{NormalizedString, Normalizer};
use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::char::{canonical_combining_class, decompose_canonical};

use crate::scan::CharTable;

/// The options of `BertNormalizer`.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Options {
    pub clean_text: bool,
    pub handle_chinese_chars: bool,
    pub strip_accents: Option<bool>,
    pub lowercase: bool,
}

/// What a character does to the words around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Class {
    /// Belongs to a word, or vanishes inside it.
    #[default]
    Word,
    /// Parts words.
    Space,
    /// Is a word by itself: punctuation, or a Chinese character.
    Alone,
}

/// What a character becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// Nothing.
    #[default]
    Gone,
    /// One character.
    One(char),
    /// Several characters, or one that may change places with its neighbours: to be asked in its context.
    InContext,
}

/// Classes and forms under one set of options.
#[derive(Debug)]
pub struct Characters {
    options: Options,
    classes: CharTable<Class>,
    forms: CharTable<Form>,
}

/// A character after normalization, and the bytes it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    pub character: char,
    pub start: u32,
    pub end: u32,
}

impl Characters {
    pub fn new(options: Options) -> Self {
        let classes = CharTable::new(move |character| options.class(character));
        Self { options, classes, forms: CharTable::new(move |character| options.form(character)) }
    }

    #[inline]
    pub fn class(&self, character: char) -> Class {
        self.classes.get(character)
    }

    #[inline]
    pub fn form(&self, character: char) -> Form {
        self.forms.get(character)
    }

    /// Normalizes a word as a whole, as the oracle does.
    pub fn normalize(&self, word: &str) -> Vec<Source> {
        let Options { clean_text, handle_chinese_chars, strip_accents, lowercase } = self.options;
        let mut normalized = NormalizedString::from(word);
        if BertNormalizer::new(clean_text, handle_chinese_chars, strip_accents, lowercase).normalize(&mut normalized).is_err() {
            return Vec::new(); // it has no way to fail
        }
        let sources = normalized.get().char_indices().filter_map(|(at, character)| {
            let range = normalized.convert_offsets(tokenizers::tokenizer::normalizer::Range::Normalized(at..at + character.len_utf8()))?;
            Some(Source { character, start: range.start as u32, end: range.end as u32 })
        });
        sources.collect()
    }
}

impl Options {
    pub fn strips_accents(self) -> bool {
        self.strip_accents.unwrap_or(self.lowercase)
    }

    fn is_dropped(self, character: char) -> bool {
        let is_control = !matches!(character, '\t' | '\n' | '\r') && character.is_other();
        self.clean_text && (character == '\0' || character == '\u{fffd}' || is_control)
    }

    fn class(self, character: char) -> Class {
        if self.is_dropped(character) {
            return Class::Word;
        }
        if character.is_whitespace() {
            return Class::Space;
        }
        let is_alone =
            self.handle_chinese_chars && is_chinese(character) || matches!(self.form(character), Form::One(form) if is_punctuation(form));
        if is_alone { Class::Alone } else { Class::Word }
    }

    fn form(self, character: char) -> Form {
        if self.is_dropped(character) {
            return Form::Gone;
        }
        let mut decomposed = Vec::new();
        if self.strips_accents() {
            decompose_canonical(character, |part| decomposed.push(part));
            decomposed.retain(|part| !part.is_mark_nonspacing());
        } else {
            decomposed.push(character);
        }
        let moves = self.strips_accents() && decomposed.iter().any(|&part| canonical_combining_class(part) != 0);
        let mut forms = decomposed.iter().flat_map(|part| if self.lowercase { part.to_lowercase().collect() } else { vec![*part] });
        match (forms.next(), forms.next()) {
            (None, _) => Form::Gone,
            (Some(form), None) if !moves && !form.is_whitespace() => Form::One(form),
            _ => Form::InContext,
        }
    }
}

/// Punctuation of `BertPreTokenizer`.
pub fn is_punctuation(character: char) -> bool {
    character.is_ascii_punctuation() || character.is_punctuation()
}

/// The blocks that `BertNormalizer` sets apart. One starts at 2B920, where Unicode's starts at 2B820.
fn is_chinese(character: char) -> bool {
    matches!(
        character,
        '\u{4e00}'..='\u{9fff}'
            | '\u{3400}'..='\u{4dbf}'
            | '\u{20000}'..='\u{2a6df}'
            | '\u{2a700}'..='\u{2b73f}'
            | '\u{2b740}'..='\u{2b81f}'
            | '\u{2b920}'..='\u{2ceaf}'
            | '\u{f900}'..='\u{faff}'
            | '\u{2f800}'..='\u{2fa1f}'
    )
}
