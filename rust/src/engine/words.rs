//! Reads texts word by word: the loop that all fast engines share.
//!
//! A [`WordModel`] says where words begin and end and what the tokens of one word are. Everything else is here: added tokens, the cache of
//! words already read, spans, and parts of long texts. A word is whatever the model can tokenize from its own bytes alone.

use std::sync::atomic::{AtomicBool, Ordering};

use super::added::{AddedTokens, Section};
use super::cache::{Key, Known, LONGEST_BYTES, WordCache, inline_tokens};
use super::lookup::{Sought, seek, write};
use super::news::News;
use super::tokens::TOKEN_BYTES;
use super::{Engine, Piece, Tokens};
use crate::at_rest::Learned;

/// Parts of a long text are about this long: enough work for a thread, and few enough for their joining to cost nothing.
const PIECE_BYTES: usize = 64 * 1024;

/// Words that are looked up together, before the tokens of the first are written: their cache misses overlap.
const WORDS_TOGETHER: usize = 64;

/// Bytes of text a splitter should hand over at a time: its words stay in the first-level cache.
pub const WINDOW_BYTES: usize = 4 * 1024;

/// What is beside a stretch of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// The document's start or end.
    Document,
    /// An added token.
    AddedToken,
    /// More of the text, which the model does not need to see.
    Cut,
}

/// Text that is read as one: from the document's start, an added token or a cut to the next.
#[derive(Debug, Clone, Copy)]
pub struct Stretch<'t> {
    /// The text itself.
    pub text: &'t str,
    /// What comes before it.
    pub before: Edge,
    /// What comes after it.
    pub after: Edge,
}

/// The words of a stretch, with what splitters need to find them.
#[derive(Debug, Default, Clone)]
pub struct Words {
    /// Start and end in the stretch, in bytes, ascending; on character boundaries.
    pub spans: Vec<(u32, u32)>,
    /// For splitters: memory that is used again.
    pub masks: Vec<[u64; 3]>,
    /// As before, where more places are written than there are words.
    pub places: Vec<(u32, u32)>,
}

/// A kind of tokenizer, as far as it differs from the others.
pub trait WordModel: Send + Sync {
    /// Appends the words from byte `from` of the stretch on, and returns where the words after them start; the length of the stretch
    /// where there are none. Should stop after some [`WINDOW_BYTES`].
    fn split(&self, stretch: &Stretch<'_>, from: usize, words: &mut Words) -> usize;

    /// Asks for the memory that [`WordModel::single_token`] will look at; a word's key is [`NO_KEY`](super::cache::NO_KEY) where it is long.
    fn expect(&self, key: Key) {
        let _ = key;
    }

    /// The token that a word is, and its span in the word, where one look tells; None where the word has to be read.
    fn single_token(&self, word: &str, key: Key) -> Option<(u32, (u32, u32))> {
        let _ = (word, key);
        None
    }

    /// Appends the tokens of a word; spans count from the word's start, in bytes, on character boundaries.
    fn tokenize(&self, word: &str, tokens: &mut Tokens);

    /// May the first word of a stretch have other tokens than the same word elsewhere? Then it is read by [`WordModel::tokenize_first`].
    fn reads_first_apart(&self, before: Edge) -> bool {
        let _ = before;
        false
    }

    /// Appends the tokens of the first word of a stretch.
    fn tokenize_first(&self, word: &str, before: Edge, tokens: &mut Tokens) {
        let _ = before;
        self.tokenize(word, tokens);
    }

    /// The span of an added token that starts at byte `start` of the document and takes `content` of it, blanks included.
    fn added_span(&self, content: &str, start: u32) -> (u32, u32) {
        (start, start + content.len() as u32)
    }

    /// May the stretch be cut at byte `at`, a character boundary inside it, because no word reaches across and none changes?
    fn is_cut(&self, text: &str, at: usize) -> bool;

    /// Must a stretch that begins like this be read in one piece?
    fn is_whole(&self, text: &str) -> bool {
        let _ = text;
        false
    }

    /// A line for people: what is read how.
    fn explain(&self) -> String;
}

/// Readers that are kept: more threads than this lose theirs when they are done.
const N_READERS: usize = 64;

/// An engine made of a model.
#[derive(Debug)]
pub struct WordEngine<M> {
    model: M,
    added: AddedTokens,
    /// What they have in their caches serves the next call.
    readers: Learned<Reader, N_READERS>,
    news: News,
    /// Do several threads read one text? Where one reads alone, it has nobody to tell.
    has_several: AtomicBool,
}

/// What a thread needs to read: kept for the next call.
#[derive(Debug, Default, Clone)]
struct Reader {
    cache: WordCache,
    words: Words,
    sought: Vec<Sought>,
}

impl<M: WordModel> WordEngine<M> {
    /// An engine that finds these added tokens in texts and reads the rest by this model.
    pub fn new(model: M, added: AddedTokens) -> Self {
        Self { model, added, readers: Learned::default(), news: News::default(), has_several: AtomicBool::new(false) }
    }

    /// The cut at or after `from` in a stretch of `text`, if there is one before its end.
    fn next_cut(&self, text: &str, from: usize) -> Option<usize> {
        (from.max(1)..text.len()).find(|&at| text.is_char_boundary(at) && self.model.is_cut(text, at))
    }
}

impl<M: WordModel> Engine for WordEngine<M> {
    fn pieces(&self, text: &str) -> Vec<Piece> {
        let (mut pieces, mut start) = (Vec::new(), 0);
        let is_whole = |section: &Section| matches!(section, Section::Text(range) if self.model.is_whole(&text[range.clone()]));
        let gaps = if self.added.sections(text).iter().any(is_whole) { vec![] } else { self.added.gaps(text) };
        for gap in gaps {
            // Strictly inside a gap, so that no added token and nothing beside one is cut.
            while let Some(cut) = self.next_cut(&text[gap.clone()], (start + PIECE_BYTES).saturating_sub(gap.start)) {
                pieces.push(Piece { context_start: start, own: start..gap.start + cut });
                start = gap.start + cut;
            }
        }
        pieces.push(Piece { context_start: start, own: start..text.len() });
        pieces
    }

    fn encode(&self, text: &str, piece: &Piece, tokens: &mut Tokens) -> Result<(), String> {
        let own = &text[piece.own.clone()];
        let mut reader = self.readers.take();
        let mut before = if piece.own.start == 0 { Edge::Document } else { Edge::Cut };
        for section in self.added.sections(own) {
            match section {
                Section::Token(range, id) => {
                    tokens.push(id, self.model.added_span(&own[range.clone()], position(piece, range.start)));
                    before = Edge::AddedToken;
                }
                Section::Text(range) => {
                    let after = match () {
                        () if range.end < own.len() => Edge::AddedToken,
                        () if piece.own.end < text.len() => Edge::Cut,
                        () => Edge::Document,
                    };
                    let base = position(piece, range.start);
                    reader.read(&self.model, &Stretch { text: &own[range], before, after }, base, tokens);
                }
            }
        }
        if self.has_several.load(Ordering::Relaxed) {
            reader.cache.exchange(&self.news);
        } else {
            reader.cache.keep_to_itself();
        }
        self.readers.put(reader);
        Ok(())
    }

    fn share(&self, n_threads: usize) {
        self.has_several.store(n_threads > 1, Ordering::Relaxed);
        self.readers.share(n_threads);
    }

    fn explain(&self) -> String {
        self.model.explain()
    }
}

fn position(piece: &Piece, at: usize) -> u32 {
    (piece.own.start + at) as u32
}

impl Reader {
    /// Appends the tokens of a stretch that starts at byte `base` of its document.
    fn read<M: WordModel>(&mut self, model: &M, stretch: &Stretch<'_>, base: u32, tokens: &mut Tokens) {
        let (mut from, mut is_first) = (0, model.reads_first_apart(stretch.before));
        while from < stretch.text.len() {
            self.words.spans.clear();
            from = model.split(stretch, from, &mut self.words);
            let spans = std::mem::take(&mut self.words.spans);
            let mut rest = spans.as_slice();
            if let (true, Some((&(start, end), others))) = (is_first, rest.split_first()) {
                let n_before = tokens.len();
                tokens.room((end - start) as usize / TOKEN_BYTES);
                model.tokenize_first(&stretch.text[start as usize..end as usize], stretch.before, tokens);
                tokens.shift_from(n_before, base + start);
                (rest, is_first) = (others, false);
            }
            for together in rest.chunks(WORDS_TOGETHER) {
                seek(self.cache.sets(), stretch.text.as_bytes(), together, &mut self.sought);
                self.write(model, stretch.text, together, base, tokens);
            }
            self.words.spans = spans;
        }
    }

    /// Appends the tokens of words that were looked up.
    fn write<M: WordModel>(&mut self, model: &M, text: &str, words: &[(u32, u32)], base: u32, tokens: &mut Tokens) {
        let mut at = 0;
        while at < words.len() {
            at += write(self.cache.sets(), &self.sought[at..], base, tokens);
            if let Some(&(start, end)) = words.get(at) {
                let key: Key = bytemuck::cast(self.sought[at].key);
                self.write_other(model, &text[start as usize..end as usize], key, base + start, tokens);
                at += 1;
            }
        }
    }

    /// Appends the tokens of a word that is not beside its key. Looks a word that is no longer than the cache takes up again: it may have
    /// been read, or forgotten, since.
    #[inline(never)]
    fn write_other<M: WordModel>(&mut self, model: &M, word: &str, key: Key, start: u32, tokens: &mut Tokens) {
        if word.len() > LONGEST_BYTES {
            // No cache keeps it, and it may be all of a text: its tokens go where they belong at once.
            let n_before = tokens.len();
            tokens.room(word.len() / TOKEN_BYTES);
            model.tokenize(word, tokens);
            return tokens.shift_from(n_before, start);
        }
        model.expect(key); // most words that get here are new: its memory comes while the cache is searched
        match self.cache.find(word.as_bytes(), key) {
            Known::Inline(found) => inline_tokens(found).for_each(|(id, (from, to))| tokens.push(id, (start + from, start + to))),
            Known::Aside(ids, spans) => tokens.extend_shifted(ids, spans, start),
            Known::Nothing => {
                if let Some((id, (from, to))) = model.single_token(word, key) {
                    tokens.push(id, (start + from, start + to));
                    return self.cache.insert_single(word.as_bytes(), key, id, (from, to));
                }
                let n_before = tokens.len();
                model.tokenize(word, tokens);
                let (ids, spans) = tokens.part(n_before..tokens.len());
                self.cache.insert(word.as_bytes(), key, ids, spans);
                tokens.shift_from(n_before, start);
            }
        }
    }
}
