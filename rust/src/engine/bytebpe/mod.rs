//! Byte-level BPE: GPT-2, `RoBERTa`, `ModernBERT`, Qwen, Llama 3, CLIP and what is built like them.
//!
//! A word is a match of the pre-tokenizer's regular expression; where NFC or the lowering of letters may change something, a few of them
//! (see [`region`]).

mod borders;
mod classes;
mod cut;
mod ending;
mod load;
mod pattern;
mod region;
mod split;
#[cfg(test)]
mod tests;

use classes::{Class, Classes};
use load::{Read, Rules, Trim, WholeWords};
use split::Splitter;

use super::Tokens;
use super::added::AddedToken;
use super::cache::Key;
use super::definition::Definition;
use super::merges::{Merges, Model};
use super::words::{Edge, Stretch, WordModel, Words};

/// A byte-level BPE tokenizer.
#[derive(Debug)]
pub struct ByteBpe {
    splitter: Splitter,
    merges: Merges,
    whole_words: Option<WholeWords>,
    /// The last byte of a word is another token than the same byte elsewhere.
    marks_ends: bool,
    prefix_space: bool,
    trim: Option<Trim>,
}

impl ByteBpe {
    /// The tokenizer of a definition, whose added tokens these are: those matched before normalization and those after it.
    ///
    /// # Errors
    /// What of it the engine does not know.
    pub fn new(definition: &Definition<'_>, added: &[Vec<AddedToken>; 2]) -> Result<Self, String> {
        let rules = Rules::new(definition)?;
        // Where all are read as text, there is nothing that they could hide.
        let has_effect = added[1].iter().any(|token| !token.is_text);
        let may_change = |token: &&AddedToken| rules.changes.lower || rules.changes.nfc && !is_left_alone(token);
        if has_effect && let Some(token) = added[1].iter().find(may_change) {
            return Err(format!("its added token {:?} may change by composition or lowering", token.content));
        }
        let Read { merges, whole_words, marks_ends, borders } = load::read(&definition.model::<Model<'_>>()?)?;
        if marks_ends && rules.prefix_space || rules.changes.lower && !marks_ends {
            return Err("it marks the ends of words and puts a space before texts, or lowers letters and marks no ends".into());
        }
        let splitter = Splitter::new(rules.pattern, Classes::new(rules.changes)?, borders);
        Ok(Self { splitter, merges, whole_words, marks_ends, prefix_space: rules.prefix_space, trim: rules.trim })
    }

    /// Calls `emit` with the id and length of the tokens of a match.
    #[inline]
    fn match_tokens(&self, bytes: &[u8], mut emit: impl FnMut(u32, usize)) {
        if self.marks_ends {
            return ending::merge(&self.merges, bytes, self.splitter.classes.changes.lower, emit);
        }
        match self.whole_words.as_ref().and_then(|words| words.get(bytes)) {
            Some(&id) => emit(id, bytes.len()),
            None => self.merges.merge(bytes, emit),
        }
    }

    /// A word of one match that stands as it is.
    #[inline]
    fn read_match(&self, word: &str, trimming: Trimming, tokens: &mut Tokens) {
        self.splitter.each_seen(word, |seen| {
            let mut start = seen.start;
            self.match_tokens(&word.as_bytes()[seen], |id, length| {
                let end = start + length;
                let span = (floor(word, start), ceil(word, end));
                tokens.push(id, trimming.span(&word.as_bytes()[start..end], word, span));
                start = end;
            });
        });
    }

    /// A word that is normalized, or has a space before it, and may hold several matches then.
    #[cold]
    fn read_changed(&self, word: &str, prefix_space: bool, trimming: Trimming, tokens: &mut Tokens) {
        let Splitter { pattern, classes, .. } = &self.splitter;
        let normalized = region::normalized(word, classes.changes, prefix_space);
        let (mut start, mut n_done, mut pieces) = (0, 0, normalized.pieces());
        while start < normalized.text.len() {
            let end = pattern.match_end(classes, &normalized.text, start);
            self.splitter.each_seen(&normalized.text[start..end], |seen| {
                let seen = start + seen.start..start + seen.end;
                if seen.start > n_done {
                    pieces.next(seen.start - n_done);
                }
                self.match_tokens(&normalized.text.as_bytes()[seen.clone()], |id, length| {
                    let (piece, span) = pieces.next(length);
                    tokens.push(id, trimming.span(piece, word, span));
                });
                n_done = seen.end;
            });
            start = end;
        }
    }

    fn read(&self, word: &str, prefix_space: bool, trimming: Trimming, tokens: &mut Tokens) {
        if prefix_space || region::is_loose(&self.splitter.classes, word) {
            self.read_changed(word, prefix_space, trimming, tokens);
        } else {
            self.read_match(word, trimming, tokens);
        }
    }

    /// Is a space put before a stretch?
    fn puts_space(&self, text: &str, before: Edge) -> bool {
        self.prefix_space && before != Edge::Cut && !text.starts_with(' ')
    }
}

impl WordModel for ByteBpe {
    fn split(&self, stretch: &Stretch<'_>, from: usize, words: &mut Words) -> usize {
        if from == 0 && self.puts_space(stretch.text, stretch.before) {
            // The space may change where the first matches end.
            let end = region::next_border(self.splitter.pattern, &self.splitter.classes, stretch.text, 0);
            words.spans.push((0, end as u32));
            return end;
        }
        self.splitter.split(stretch.text, from, words)
    }

    #[inline]
    fn expect(&self, key: Key) {
        if !self.marks_ends {
            self.merges.expect(key);
        }
    }

    #[inline]
    fn single_token(&self, word: &str, key: Key) -> Option<(u32, (u32, u32))> {
        if self.whole_words.is_some() || self.marks_ends || region::is_loose(&self.splitter.classes, word) {
            return None;
        }
        let id = self.merges.single(key)?;
        Some((id, Trimming::inside(self.trim).span(word.as_bytes(), word, (0, word.len() as u32))))
    }

    fn tokenize(&self, word: &str, tokens: &mut Tokens) {
        self.read(word, false, Trimming::inside(self.trim), tokens);
    }

    fn reads_first_apart(&self, before: Edge) -> bool {
        match before {
            Edge::Cut => false,
            Edge::AddedToken => self.prefix_space,
            Edge::Document => self.prefix_space || self.trim.is_some_and(|trim| trim.keeps_first_space),
        }
    }

    fn tokenize_first(&self, word: &str, before: Edge, tokens: &mut Tokens) {
        let keeps_first_space = before == Edge::Document && self.trim.is_some_and(|trim| trim.keeps_first_space);
        self.read(word, self.puts_space(word, before), Trimming { keeps_first_space, ..Trimming::inside(self.trim) }, tokens);
    }

    fn added_span(&self, content: &str, start: u32) -> (u32, u32) {
        self.trim.map_or((start, start + content.len() as u32), |trim| trim.added_span(content, start))
    }

    /// The borders of [`region`].
    fn is_cut(&self, text: &str, at: usize) -> bool {
        let classes = &self.splitter.classes;
        let (Some(before), Some((after, next))) = (text[..at].char_indices().next_back(), classes.at(text, at)) else { return false };
        let Some((before, _)) = classes.at(text, before.0) else { return false };
        if text.as_bytes()[at] == b' ' {
            return !before.class.is_space();
        }
        let is_word_border = before.class == Class::Letter && after.class != Class::Letter;
        let is_fixed = !before.is_loose && !after.is_loose && !classes.is_loose_at(text, next);
        is_word_border && is_fixed && !self.splitter.pattern.may_reach_across(text, at)
    }

    fn explain(&self) -> String {
        "engine: bytebpe (byte-level BPE; words by SIMD masks, merges in a flat table)\n\
         reading: long documents are read in parts, cut where a word ends"
            .into()
    }
}

/// Is an added token found in composed text wherever it stands in the text itself? Its characters are ASCII, none of them is what another
/// character composes to, and its last does not compose with a mark.
fn is_left_alone(token: &AddedToken) -> bool {
    let composes = |byte: &u8| byte.is_ascii_alphabetic() || matches!(byte, b'<' | b'=' | b'>');
    token.content.is_ascii()
        && !token.single_word
        && !token.content.contains(['K', '`', ';'])
        && !token.content.as_bytes().last().is_some_and(composes)
}

/// How the spans of a word's tokens are trimmed.
#[derive(Debug, Clone, Copy)]
struct Trimming {
    is_on: bool,
    /// Of a token at the start of the word, one leading space stays.
    keeps_first_space: bool,
}

impl Trimming {
    fn inside(trim: Option<Trim>) -> Self {
        Self { is_on: trim.is_some(), keeps_first_space: false }
    }

    /// As `process_offsets` of `tokenizers`: takes as many characters off a span as its token has spaces at that end.
    #[inline]
    fn span(self, token: &[u8], word: &str, span: (u32, u32)) -> (u32, u32) {
        let touches_spaces = token.first() == Some(&b' ') || token.last() == Some(&b' ');
        if self.is_on && touches_spaces { self.trimmed(token, word, span) } else { span }
    }

    fn trimmed(self, token: &[u8], word: &str, (mut start, end): (u32, u32)) -> (u32, u32) {
        let is_space = |byte: &&u8| **byte == b' ';
        let n_leading = token.iter().take_while(is_space).count();
        let n_trailing = token.iter().rev().take_while(is_space).count();
        if !(self.keeps_first_space && start == 0 && n_leading == 1) {
            start = forward(word, start, n_leading).min(end);
        }
        (start, backward(word, end, n_trailing).max(start))
    }
}

fn forward(word: &str, at: u32, n_chars: usize) -> u32 {
    word[at as usize..].chars().take(n_chars).fold(at, |at, character| at + character.len_utf8() as u32)
}

fn backward(word: &str, at: u32, n_chars: usize) -> u32 {
    word[..at as usize].chars().rev().take(n_chars).fold(at, |at, character| at - character.len_utf8() as u32)
}

fn floor(word: &str, at: usize) -> u32 {
    word.floor_char_boundary(at) as u32
}

fn ceil(word: &str, at: usize) -> u32 {
    word.ceil_char_boundary(at) as u32
}
