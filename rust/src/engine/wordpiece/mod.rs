//! The fast engine for `WordPiece` tokenizers of the BERT family: `BertNormalizer`, `BertPreTokenizer`, greedy longest match.

mod chars;
mod split;

use std::collections::HashMap;

use serde::Deserialize;

use self::chars::{Characters, Form, Options, Source, is_punctuation};
use self::split::Splitter;
use super::Tokens;
use super::definition::{Definition, Entry, kind};
use super::trie::{Node, Trie};
use super::words::{Stretch, WordModel, Words};

/// Longest ASCII word that is lower-cased on the stack; longer ones take the general way.
const ASCII_WORD_BYTES: usize = 128;

/// A `WordPiece` tokenizer.
#[derive(Debug)]
pub struct WordPiece {
    characters: Characters,
    splitter: Splitter,
    lowercase: bool,
    trie: Trie,
    /// Where the pieces that continue a word hang; nothing where the vocabulary has none.
    continuing: Option<Node>,
    unknown_id: u32,
    max_word_chars: usize,
}

#[derive(Deserialize)]
struct Model<'d> {
    #[serde(borrow)]
    vocab: HashMap<Entry<'d>, u32, ahash::RandomState>,
    unk_token: String,
    continuing_subword_prefix: String,
    max_input_chars_per_word: usize,
}

impl WordPiece {
    /// The tokenizer of a definition.
    ///
    /// # Errors
    /// What in it is not known here exactly.
    pub fn new(definition: &Definition<'_>) -> Result<Self, String> {
        let (normalizer, pre_tokenizer) = (kind(&definition.normalizer), kind(&definition.pre_tokenizer));
        if normalizer != "BertNormalizer" || pre_tokenizer != "BertPreTokenizer" {
            return Err(format!("wordpiece reads BertNormalizer and BertPreTokenizer, not {normalizer:?} and {pre_tokenizer:?}"));
        }
        let options: Options = Options::deserialize(&definition.normalizer).map_err(|error| error.to_string())?;
        let model: Model = definition.model()?;
        let unknown_id = model.vocab.iter().find(|(entry, _)| entry.0 == model.unk_token).map(|(_, &id)| id);
        let unknown_id = unknown_id.ok_or_else(|| format!("its vocabulary has no unknown token {:?}", model.unk_token))?;
        let trie = Trie::new(model.vocab.iter().map(|(entry, &id)| (entry.0.as_bytes(), id)));
        Ok(Self {
            characters: Characters::new(options),
            splitter: Splitter::new(),
            lowercase: options.lowercase,
            continuing: trie.find(model.continuing_subword_prefix.as_bytes()),
            trie,
            unknown_id,
            max_word_chars: model.max_input_chars_per_word,
        })
    }

    /// Appends the pieces of one normalized word; `span` gives the bytes that a range of its own bytes came from.
    fn pieces(&self, word: &[u8], span: impl Fn(usize, usize) -> (u32, u32), tokens: &mut Tokens) {
        let n_before = tokens.len();
        let (mut at, mut from) = (0, Some(Trie::ROOT));
        while at < word.len() {
            let longest = from.and_then(|node| self.trie.prefixes_from(node, &word[at..]).last());
            let Some((length, id)) = longest else {
                tokens.truncate(n_before);
                tokens.push(self.unknown_id, span(0, word.len()));
                return;
            };
            tokens.push(id, span(at, at + length));
            (at, from) = (at + length, self.continuing);
        }
    }

    /// A word of letters, digits and the like that no normalization touches but that of case.
    fn ascii_word(&self, word: &[u8], tokens: &mut Tokens) {
        let mut lower = [0; ASCII_WORD_BYTES];
        let lower = &mut lower[..word.len()];
        lower.copy_from_slice(word);
        if self.lowercase {
            lower.make_ascii_lowercase();
        }
        if word.len() > self.max_word_chars {
            return tokens.push(self.unknown_id, (0, word.len() as u32));
        }
        self.pieces(lower, |start, end| (start as u32, end as u32), tokens);
    }

    /// A word whose characters become one character each, or none. False where one does not, and then nothing was appended.
    fn plain_word(&self, word: &str, tokens: &mut Tokens) -> bool {
        let mut sources = Vec::with_capacity(word.len().min(self.max_word_chars.saturating_mul(4)));
        let (mut n_chars, mut span) = (0, None);
        for (start, character) in word.char_indices() {
            let (start, end) = (start as u32, (start + character.len_utf8()) as u32);
            match self.characters.form(character) {
                Form::Gone => {}
                Form::InContext => return false,
                Form::One(character) => {
                    n_chars += 1;
                    span = Some((span.map_or(start, |(first, _)| first), end));
                    if n_chars <= self.max_word_chars {
                        sources.push(Source { character, start, end });
                    }
                }
            }
        }
        match span {
            Some(span) if n_chars > self.max_word_chars => tokens.push(self.unknown_id, span),
            _ => self.sourced_word(&sources, tokens),
        }
        true
    }

    /// A word whose normalization is any number of characters, among which there may be blanks and punctuation.
    fn word_in_context(&self, word: &str, tokens: &mut Tokens) {
        let sources = self.characters.normalize(word);
        for part in sources.split(|source| source.character.is_whitespace()) {
            let mut rest = part;
            while let Some(at) = rest.iter().position(|source| is_punctuation(source.character)) {
                self.sourced_word(&rest[..at], tokens);
                self.sourced_word(&rest[at..=at], tokens);
                rest = &rest[at + 1..];
            }
            self.sourced_word(rest, tokens);
        }
    }

    fn sourced_word(&self, sources: &[Source], tokens: &mut Tokens) {
        let (Some(first), Some(last)) = (sources.first(), sources.last()) else { return };
        if sources.len() > self.max_word_chars {
            return tokens.push(self.unknown_id, (first.start, last.end));
        }
        let normalized: String = sources.iter().map(|source| source.character).collect();
        let char_of_byte: Vec<usize> =
            sources.iter().enumerate().flat_map(|(i, s)| std::iter::repeat_n(i, s.character.len_utf8())).collect();
        let span = |start: usize, end: usize| (sources[char_of_byte[start]].start, sources[char_of_byte[end - 1]].end);
        self.pieces(normalized.as_bytes(), span, tokens);
    }
}

impl WordModel for WordPiece {
    fn split(&self, stretch: &Stretch<'_>, from: usize, words: &mut Words) -> usize {
        self.splitter.split(&self.characters, stretch.text, from, words)
    }

    fn tokenize(&self, word: &str, tokens: &mut Tokens) {
        if word.len() <= ASCII_WORD_BYTES && word.bytes().all(|byte| byte.is_ascii_graphic()) {
            self.ascii_word(word.as_bytes(), tokens);
        } else if !self.plain_word(word, tokens) {
            self.word_in_context(word, tokens);
        }
    }

    fn is_cut(&self, text: &str, at: usize) -> bool {
        let class = |character| self.characters.class(character);
        text[at..].chars().next().is_some_and(|character| class(character) != chars::Class::Word)
    }

    fn explain(&self) -> String {
        "engine: wordpiece (BERT family; words by SIMD masks, longest match in a trie)\n\
         reading: long documents are read in parts, cut where a word ends"
            .into()
    }
}
