//! Where words start, 64 bytes at a time: bit arithmetic on masks of character classes.
//!
//! Holds for ASCII. From the last word that starts before another character on, [`Pattern::match_end`] reads match by match, until ASCII
//! goes on after one. A match depends on nothing before it, so each of the two may start wherever a match ended.

use std::ops::Range;

use memchr::memmem;

use super::borders::Borders;
use super::classes::{Class, Classes};
use super::cut::Cut;
use super::pattern::{CONTROL_START, Pattern};
use super::region;
use crate::engine::words::{WINDOW_BYTES, Words};
use crate::scan::{ByteSet, masks, wide};

/// The kinds of [`Pattern`], for code that is made for each.
pub const GPT2: u8 = 0;
pub const GPT4: u8 = 1;
pub const CLIP: u8 = 2;

/// Finds words.
#[derive(Debug)]
pub struct Splitter {
    pub pattern: Pattern,
    pub classes: Classes,
    /// The digits of a byte's code: see [`Block`].
    pub code: [ByteSet; 3],
    /// Where long words may be cut, if they may.
    borders: Option<Borders>,
}

/// Bits of 64 bytes, by class. Eight classes in three masks: 0 other, 1 letter, 2 digit, 3 apostrophe, 4 space, 5 other blank, 6 line
/// end, 7 beyond ASCII.
#[derive(Debug, Clone, Copy)]
pub struct Block {
    letters: u64,
    numbers: u64,
    others: u64,
    apostrophes: u64,
    spaces: u64,
    blanks: u64,
    line_ends: u64,
    /// Whitespace, the end of the text or a character beyond ASCII follows.
    before_space: u64,
}

/// What a block leaves to the next one.
#[derive(Debug, Default, Clone, Copy)]
pub struct Carry {
    /// The classes of its last byte.
    letters: u64,
    numbers: u64,
    others: u64,
    lone_others: u64,
    spaces: u64,
    blanks: u64,
    line_ends: u64,
    free_spaces: u64,
    taken_line_ends: u64,
    /// Starts in the next block that a contraction makes, and those that it takes away.
    made: u64,
    unmade: u64,
    n_digits: usize,
}

impl Splitter {
    /// Reads words as the pattern does.
    pub fn new(pattern: Pattern, classes: Classes, borders: Option<Borders>) -> Self {
        let code = |byte: u8| match classes.ascii(byte) {
            _ if byte == b'\'' => 3,
            _ if byte == b' ' => 4,
            Class::Other => 0,
            Class::Letter => 1,
            Class::Number => 2,
            Class::Blank => 5,
            Class::LineEnd => 6,
        };
        let set = |digit: u32| ByteSet::ascii(|byte| code(byte) >> digit & 1 == 1).and_beyond_ascii();
        let code = [set(0), set(1), set(2)];
        Self { pattern, classes, code, borders }
    }

    /// As [`crate::engine::words::WordModel::split`].
    pub fn split(&self, text: &str, from: usize, words: &mut Words) -> usize {
        let mut n_bytes = WINDOW_BYTES;
        loop {
            let end = text.len().min(from + n_bytes);
            if self.pattern.has_controls() && memmem::find(&text.as_bytes()[from..end], CONTROL_START).is_some() {
                return self.characters(text, from, end, words, |_| false);
            }
            words.masks.clear();
            masks(&text.as_bytes()[from..end], &self.code, &mut words.masks);
            let resume = self.window(text, from, end, words);
            if resume > from {
                return resume;
            }
            n_bytes *= 4; // a word longer than the window: it is read again, but less often than it grows
        }
    }

    /// Calls back with what the model sees of a match: all of it, but for CLIP, where white space is removed, and a control string is cut
    /// again, by `ByteLevel`.
    #[inline]
    pub fn each_seen(&self, matched: &str, mut each: impl FnMut(Range<usize>)) {
        let Pattern::Clip { .. } = self.pattern else { return each(0..matched.len()) };
        let (start, end) = (self.classes.run(matched, 0, Class::is_space), matched.len());
        if self.pattern.control(&matched.as_bytes()[start..]) > 0 {
            [start..start + 2, start + 2..end - 2, end - 2..end].into_iter().for_each(each);
        } else if start < end {
            each(start..end);
        }
    }

    /// Appends the words that end in a window, and returns where the one after them starts.
    fn window(&self, text: &str, from: usize, end: usize, words: &mut Words) -> usize {
        let mut open = from;
        while open < end {
            let is_ascii = match self.pattern {
                Pattern::Gpt2 => self.ascii::<GPT2>(text, from, end, &mut open, words),
                Pattern::Gpt4 { .. } => self.ascii::<GPT4>(text, from, end, &mut open, words),
                Pattern::Clip { .. } => self.ascii::<CLIP>(text, from, end, &mut open, words),
            };
            if !is_ascii {
                open = self.characters(text, open, end, words, |rest| rest.iter().take(2).all(u8::is_ascii));
            } else if end == text.len() {
                words.spans.push((open as u32, end as u32));
                return end;
            } else {
                return open;
            }
        }
        open
    }

    /// Appends words, one match after the other, up to the end or to a place where what is left `suffices`.
    fn characters(&self, text: &str, mut open: usize, end: usize, words: &mut Words, suffices: impl Fn(&[u8]) -> bool) -> usize {
        while open < end {
            let stop = region::word_end(self.pattern, &self.classes, text, open);
            match &self.borders {
                Some(borders) if !region::is_loose(&self.classes, &text[open..stop]) => borders.push(text, open, stop, &mut words.spans),
                _ => words.spans.push((open as u32, stop as u32)),
            }
            open = stop;
            if suffices(&text.as_bytes()[open..]) {
                break;
            }
        }
        open
    }

    /// Appends the words from `open` on that end before the next character beyond ASCII, and leaves the start of the next one in `open`.
    /// True where the window ends without such a character.
    fn ascii<const KIND: u8>(&self, text: &str, from: usize, end: usize, open: &mut usize, words: &mut Words) -> bool {
        let (start, is_ascii) = wide(Cut::<KIND> { splitter: self, text, from, end, open: *open, words });
        *open = start;
        is_ascii
    }

    /// Match starts of `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
    #[inline(always)]
    pub fn gpt2(&self, text: &str, base: usize, block: &Block, carry: &mut Carry) -> u64 {
        let whitespace = block.whitespace();
        let runs = block.letters & !(block.letters << 1 | carry.letters)
            | block.numbers & !(block.numbers << 1 | carry.numbers)
            | block.others & !(block.others << 1 | carry.others);
        // A run of one class starts a match unless a space before it does; of whitespace, the first and the last byte start one.
        let mut starts = runs & !(block.spaces << 1 | carry.spaces)
            | whitespace & !(whitespace << 1 | carry.free_spaces)
            | whitespace & !block.before_space;
        starts = (starts & !carry.unmade) | carry.made;
        let apostrophes = block.apostrophes & starts & (block.letters >> 1 | 1 << 63);
        *carry = Carry { free_spaces: whitespace >> 63, ..block.carry() };
        self.contractions(text, base, apostrophes, carry, starts)
    }

    /// Match starts of `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`, where a contraction may have a space before it
    /// and any case: the matches of CLIP, and what is between them.
    #[inline(always)]
    pub fn clip(&self, text: &str, base: usize, block: &Block, carry: &mut Carry) -> u64 {
        let whitespace = block.whitespace();
        let others = block.others & !(block.others << 1 | carry.others);
        let bodies = block.letters & !(block.letters << 1 | carry.letters) | block.numbers | others;
        let mut starts = bodies & !(block.spaces << 1 | carry.spaces)
            | whitespace & !(whitespace << 1 | carry.free_spaces)
            | whitespace & !block.before_space;
        starts = (starts & !carry.unmade) | carry.made;
        let apostrophes = block.apostrophes & others & (block.letters >> 1 | 1 << 63);
        *carry = Carry { free_spaces: whitespace >> 63, ..block.carry() };
        self.contractions(text, base, apostrophes, carry, starts)
    }

    /// Match starts of the GPT-4 patterns.
    #[inline(always)]
    pub fn gpt4(&self, text: &str, base: usize, block: &Block, carry: &mut Carry) -> u64 {
        let before = *carry;
        // Line ends right after other characters belong to their match.
        let first_taken = block.line_ends & (block.others << 1 | before.others | before.taken_line_ends);
        let taken = block.line_ends & !block.line_ends.wrapping_add(first_taken);
        let free = block.whitespace() & !taken;
        let blanks = block.spaces | block.blanks;
        let lone = block.others & !(block.others << 1 | before.others) & !(block.spaces << 1 | before.spaces);
        let letters = block.letters & !(block.letters << 1 | before.letters);
        let mut starts = free & !(free << 1 | before.free_spaces)
            | blanks & !block.before_space
            | lone
            | letters & !(blanks << 1 | before.blanks) & !(lone << 1 | before.lone_others);
        *carry = Carry {
            free_spaces: free >> 63,
            blanks: blanks >> 63,
            lone_others: lone >> 63,
            taken_line_ends: taken >> 63,
            n_digits: before.n_digits,
            ..block.carry()
        };
        starts = (starts & !before.unmade) | before.made;
        if block.numbers != 0 {
            starts |= self.numbers(block.numbers, before.numbers, carry);
        }
        let indents = blanks & (block.line_ends << 1 | before.line_ends);
        if indents != 0 {
            starts |= indents_before_text(text.as_bytes(), base, indents);
        }
        self.contractions(text, base, block.apostrophes & lone & (block.letters >> 1 | 1 << 63), carry, starts)
    }

    /// Starts in runs of digits.
    fn numbers(&self, numbers: u64, before: u64, carry: &mut Carry) -> u64 {
        let Pattern::Gpt4 { most_digits } = self.pattern else { return 0 };
        if most_digits == 1 {
            return numbers;
        }
        let (mut starts, mut rest) = (0, numbers);
        while rest != 0 {
            let bit = rest & rest.wrapping_neg();
            let is_run_start = bit & (numbers << 1 | before) == 0;
            carry.n_digits = if is_run_start || carry.n_digits == most_digits { 1 } else { carry.n_digits + 1 };
            starts |= if carry.n_digits == 1 { bit } else { 0 };
            rest &= rest - 1;
        }
        starts
    }

    /// Contractions at these apostrophes, each the start of a match: no match starts inside, and one starts after.
    #[inline(always)]
    fn contractions(&self, text: &str, base: usize, mut apostrophes: u64, carry: &mut Carry, starts: u64) -> u64 {
        let mut starts = u128::from(starts);
        let (mut made, mut unmade) = (0_u128, 0_u128);
        while apostrophes != 0 {
            let at = apostrophes.trailing_zeros() as usize;
            let length = self.pattern.contraction(text.as_bytes(), base + at);
            if length > 0 {
                unmade |= 1 << (at + 1);
                let is_letter = text.as_bytes().get(base + at + length).is_some_and(u8::is_ascii_alphabetic);
                made |= u128::from(is_letter) << (at + length);
            }
            apostrophes &= apostrophes - 1;
        }
        starts = (starts & !unmade) | made;
        (carry.made, carry.unmade) = ((made >> 64) as u64, (unmade >> 64) as u64);
        starts as u64
    }
}

impl Block {
    /// `followed` has the last byte's bit where whitespace follows it.
    #[inline(always)]
    pub fn new(&[low, middle, high]: &[u64; 3], inside: u64, followed: u64) -> Self {
        let (not_low, not_middle, not_high) = (!low, !middle, !high);
        Self {
            letters: low & not_middle & not_high & inside,
            numbers: not_low & middle & not_high & inside,
            others: not_high & !(low ^ middle) & inside,
            apostrophes: low & middle & not_high & inside,
            spaces: not_low & not_middle & high & inside,
            blanks: low & not_middle & high & inside,
            line_ends: not_low & middle & high & inside,
            before_space: high >> 1 | followed,
        }
    }

    #[inline(always)]
    fn whitespace(&self) -> u64 {
        self.spaces | self.blanks | self.line_ends
    }

    #[inline(always)]
    fn carry(&self) -> Carry {
        Carry {
            letters: self.letters >> 63,
            numbers: self.numbers >> 63,
            others: self.others >> 63,
            spaces: self.spaces >> 63,
            line_ends: self.line_ends >> 63,
            ..Carry::default()
        }
    }
}

/// Of blanks that follow a line end, the first of each run before something else than a line end, where the lines before are a match.
#[cold]
fn indents_before_text(text: &[u8], base: usize, mut indents: u64) -> u64 {
    let mut starts = 0;
    while indents != 0 {
        let at = base + indents.trailing_zeros() as usize;
        let is_blank = |byte: u8| byte == b' ' || byte.is_ascii() && byte != b'\r' && byte != b'\n' && (b'\t'..=b'\r').contains(&byte);
        let after = text[at..].iter().find(|&&byte| !is_blank(byte));
        // Before a character beyond ASCII it is not settled; then the words are read from an earlier start on anyway.
        if after.is_none_or(|&byte| byte.is_ascii() && byte != b'\r' && byte != b'\n') {
            starts |= indents & indents.wrapping_neg();
        }
        indents &= indents - 1;
    }
    starts
}
