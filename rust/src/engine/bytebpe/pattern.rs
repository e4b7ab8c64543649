//! The regular expressions that cut a text into words, read by hand: one match at a time, character by character.
//!
//! The slow and obvious form of what [`super::split`] does 64 bytes at a time, and what runs beside characters beyond ASCII.

use super::classes::{Class, Classes};

/// Expressions of published tokenizers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// GPT-2 and `RoBERTa`, the one built into `ByteLevel`.
    Gpt2,
    /// GPT-4 and what followed, with so many digits in a word at most: Llama 3 three, Qwen one.
    Gpt4 {
        /// At least one.
        most_digits: usize,
    },
    /// CLIP, which removes white space and reads lowered text. Here a blank before a word is part of it, and white space is a word too; both
    /// are left out where words are tokenized.
    Clip {
        /// Are the strings of [`CONTROLS`] matches?
        has_controls: bool,
    },
}

/// The expression built into `ByteLevel`.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const QWEN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The expression of CLIP, of which it takes the matches only, and the beginning that some of its files have.
const CLIP: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
const CLIP_CONTROLS: &str = r"<\|startoftext\|>|<\|endoftext\|>|";

/// What stands at the start of a control string, and the strings.
pub const CONTROL_START: &[u8] = b"<|";
const CONTROLS: [&[u8]; 2] = [b"<|startoftext|>", b"<|endoftext|>"];

impl Pattern {
    /// As [`Pattern::known`], where matches are kept and all else is removed.
    pub fn known_kept(regex: &str) -> Option<Self> {
        let has_controls = regex.starts_with(CLIP_CONTROLS);
        (regex.strip_prefix(CLIP_CONTROLS).unwrap_or(regex) == CLIP).then_some(Self::Clip { has_controls })
    }

    /// The pattern that this regular expression is, letter by letter.
    pub fn known(regex: &str) -> Option<Self> {
        match regex {
            GPT2 => Some(Self::Gpt2),
            QWEN => Some(Self::Gpt4 { most_digits: 1 }),
            LLAMA3 => Some(Self::Gpt4 { most_digits: 3 }),
            _ => None,
        }
    }

    /// How long the contraction is that starts at byte `at`, an apostrophe; 0 where none does.
    #[inline]
    pub fn contraction(self, text: &[u8], at: usize) -> usize {
        let fold = |byte: u8| if self == Self::Gpt2 { byte } else { byte.to_ascii_lowercase() };
        let byte = |i: usize| text.get(at + i).map_or(0, |&byte| fold(byte));
        match (byte(1), byte(2)) {
            (b's' | b't' | b'm' | b'd', _) => 2,
            (b'r' | b'v', b'e') | (b'l', b'l') => 3,
            // U+017F, the long s: the only other character that folds to one of these letters.
            (0xC5, 0xBF) if matches!(self, Self::Gpt4 { .. }) => 3,
            _ => 0,
        }
    }

    /// Are there control strings that are matches?
    pub fn has_controls(self) -> bool {
        self == Self::Clip { has_controls: true }
    }

    /// The length of the control string that a text starts with, in any case of its letters; 0 where none is a match.
    #[inline]
    pub fn control(self, text: &[u8]) -> usize {
        if !self.has_controls() || !text.starts_with(CONTROL_START) {
            return 0;
        }
        let is_at_start = |control: &[u8]| text.get(..control.len()).is_some_and(|start| start.eq_ignore_ascii_case(control));
        CONTROLS.into_iter().find(|control| is_at_start(control)).map_or(0, <[u8]>::len)
    }

    /// Is the border of a word at byte `at`, where it would be by the characters beside it, perhaps inside a control string?
    pub fn may_reach_across(self, text: &str, at: usize) -> bool {
        self.has_controls() && text.as_bytes()[at] == b'|'
    }

    /// The length of the contraction or control string at byte `at`; 0 where there is none.
    fn fixed(self, text: &[u8], at: usize) -> usize {
        match text[at] {
            b'\'' => self.contraction(text, at),
            b'<' => self.control(&text[at..]),
            _ => 0,
        }
    }

    /// As for GPT-2, but that every digit is a match, and that there may be a blank before anything.
    fn clip_end(self, classes: &Classes, text: &str, at: usize) -> usize {
        let body = at + usize::from(text.as_bytes()[at] == b' ');
        let Some((first, next)) = classes.at(text, body).filter(|(first, _)| !first.class.is_space()) else {
            return space_end(classes, text, at);
        };
        match self.fixed(text.as_bytes(), body) {
            0 if first.class == Class::Number => next,
            0 => classes.run(text, next, |class| class == first.class),
            length => body + length,
        }
    }

    /// Where the match that starts at byte `at`, before the end, ends.
    pub fn match_end(self, classes: &Classes, text: &str, at: usize) -> usize {
        let length = self.fixed(text.as_bytes(), at);
        if length > 0 {
            return at + length;
        }
        match self {
            Self::Gpt2 => gpt2_end(classes, text, at),
            Self::Gpt4 { most_digits } => gpt4_end(classes, text, at, most_digits),
            Self::Clip { .. } => self.clip_end(classes, text, at),
        }
    }
}

fn gpt2_end(classes: &Classes, text: &str, at: usize) -> usize {
    let body = at + usize::from(text.as_bytes()[at] == b' ');
    match classes.class_at(text, body) {
        Some(class) if !class.is_space() => classes.run(text, body, |other| other == class),
        _ => space_end(classes, text, at),
    }
}

fn gpt4_end(classes: &Classes, text: &str, at: usize, most_digits: usize) -> usize {
    let Some((first, next)) = classes.at(text, at) else { return at };
    let second = classes.class_at(text, next);
    match (first.class, second) {
        (Class::Letter, _) | (Class::Other | Class::Blank, Some(Class::Letter)) => classes.run(text, next, |class| class == Class::Letter),
        (Class::Number, _) => number_end(classes, text, at, most_digits),
        (Class::Other, _) => others_end(classes, text, next),
        (_, Some(Class::Other)) if text.as_bytes()[at] == b' ' => others_end(classes, text, next),
        _ => lines_end(classes, text, at).unwrap_or_else(|| space_end(classes, text, at)),
    }
}

fn number_end(classes: &Classes, text: &str, mut at: usize, most_digits: usize) -> usize {
    for _ in 0..most_digits {
        match classes.at(text, at) {
            Some((traits, next)) if traits.class == Class::Number => at = next,
            _ => break,
        }
    }
    at
}

/// `[^\s\p{L}\p{N}]*[\r\n]*`.
fn others_end(classes: &Classes, text: &str, at: usize) -> usize {
    let end = classes.run(text, at, |class| class == Class::Other);
    classes.run(text, end, |class| class == Class::LineEnd)
}

/// `\s*[\r\n]+`: to the last line end of a run of spaces.
fn lines_end(classes: &Classes, text: &str, mut at: usize) -> Option<usize> {
    let mut end = None;
    while let Some((traits, next)) = classes.at(text, at).filter(|(traits, _)| traits.class.is_space()) {
        if traits.class == Class::LineEnd {
            end = Some(next);
        }
        at = next;
    }
    end
}

/// `\s+(?!\S)|\s+`: leaves the last space of several to what follows.
fn space_end(classes: &Classes, text: &str, at: usize) -> usize {
    let (mut last, mut end) = (at, at);
    while let Some((_, next)) = classes.at(text, end).filter(|(traits, _)| traits.class.is_space()) {
        (last, end) = (end, next);
    }
    if end == text.len() || last == at { end } else { last }
}
