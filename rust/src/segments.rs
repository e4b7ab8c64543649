//! Where words, sentences and paragraphs begin in a stretch of a text, without reading the rest of the text.
//!
//! The rules of UAX #29 look back and ahead without bound, but not across plain letters: what was before two letters in a row has no say
//! in what comes after them, and what is after a letter has none in what comes before it. So a stretch is read from two letters before it
//! to one letter after it. Where none are near, the whole text is read, once.

use std::cell::OnceCell;
use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use crate::config::Boundary;

/// Bytes that are looked through together.
const BLOCK_BYTES: usize = 64;

/// How far letters are looked for, in bytes.
const REACH_BYTES: usize = 1024;

/// Letters that the rules know as such, and as nothing else: no marks, no letters that join or extend words in a way of their own.
const PLAIN_LETTERS: [(char, char); 14] = [
    ('a', 'z'),
    ('A', 'Z'),
    ('\u{e0}', '\u{f6}'),     // Latin
    ('\u{3b1}', '\u{3c9}'),   // Greek
    ('\u{410}', '\u{44f}'),   // Cyrillic
    ('\u{5d0}', '\u{5ea}'),   // Hebrew
    ('\u{628}', '\u{63a}'),   // Arabic
    ('\u{641}', '\u{64a}'),   // Arabic
    ('\u{915}', '\u{939}'),   // Devanagari
    ('\u{e01}', '\u{e2e}'),   // Thai
    ('\u{3041}', '\u{3096}'), // Hiragana
    ('\u{30a1}', '\u{30fa}'), // Katakana
    ('\u{4e00}', '\u{9fff}'), // Han
    ('\u{ac00}', '\u{d7a3}'), // Hangul
];

/// The segments of a text.
#[derive(Debug)]
pub struct Segments<'t> {
    text: &'t str,
    /// The starts of all words, sentences and paragraphs, where they had to be looked for.
    whole: [OnceCell<Vec<usize>>; 3],
}

impl<'t> Segments<'t> {
    /// Those of `text`; nothing is read yet.
    pub fn new(text: &'t str) -> Self {
        Self { text, whole: Default::default() }
    }

    /// The starts of segments of a kind in `from..=to`, in bytes, ascending.
    pub fn starts(&self, kind: Boundary, from: usize, to: usize) -> Vec<usize> {
        let window = match kind {
            Boundary::Paragraph => self.window_of_paragraphs(from, to),
            _ => self.window_between_letters(from, to),
        };
        let Some(window) = window else { return self.among_all(kind, from, to) };
        // A start that is only the window's own does not count.
        let is_inside = |at: usize| at > window.start || at == 0;
        let starts = all_starts(kind, &self.text[window.clone()]).map(|at| window.start + at);
        starts.skip_while(|&at| at < from || !is_inside(at)).take_while(|&at| at <= to).collect()
    }

    fn among_all(&self, kind: Boundary, from: usize, to: usize) -> Vec<usize> {
        let all = self.whole[kind as usize - 1].get_or_init(|| all_starts(kind, self.text).collect());
        let range = all.partition_point(|&at| at < from)..all.partition_point(|&at| at <= to);
        all.get(range).unwrap_or_default().to_vec()
    }

    /// From the second of two letters in a row before `from`, to a letter at or after `to`.
    fn window_between_letters(&self, from: usize, to: usize) -> Option<Range<usize>> {
        let before = self.text.get(..from)?.char_indices().rev();
        let mut follower = None;
        let mut start = (from <= REACH_BYTES).then_some(0);
        for (at, character) in before.take_while(|&(at, _)| at + REACH_BYTES >= from) {
            let is_letter = is_plain_letter(character);
            if let (true, Some(second)) = (is_letter, follower) {
                start = Some(second);
                break;
            }
            follower = is_letter.then_some(at);
        }
        let after = self.text.get(to..)?;
        let letter = after.char_indices().take_while(|&(at, _)| at <= REACH_BYTES).find(|&(_, character)| is_plain_letter(character));
        let end = letter.map(|(at, character)| to + at + character.len_utf8());
        Some(start?..end.or((after.len() <= REACH_BYTES).then_some(self.text.len()))?)
    }

    /// From the white space before `from`, to the character at `to`: all that a paragraph's start depends on.
    fn window_of_paragraphs(&self, from: usize, to: usize) -> Option<Range<usize>> {
        let start = self.text.get(..from)?.trim_end().len();
        let next = self.text.get(to..)?.chars().next().map_or(0, char::len_utf8);
        (from - start <= REACH_BYTES).then_some(start..to + next)
    }
}

/// The starts of the segments of a kind.
fn all_starts(kind: Boundary, text: &str) -> Box<dyn Iterator<Item = usize> + '_> {
    match kind {
        Boundary::Token => Box::new(std::iter::empty()),
        Boundary::Word => Box::new(text.split_word_bound_indices().map(|(at, _)| at)),
        Boundary::Sentence => Box::new(text.split_sentence_bound_indices().map(|(at, _)| at)),
        Boundary::Paragraph => Box::new(paragraph_starts(text)),
    }
}

fn is_plain_letter(character: char) -> bool {
    PLAIN_LETTERS.iter().any(|&(first, last)| (first..=last).contains(&character))
}

/// Could the byte be, or begin, a line end?
fn is_line_end(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r' || byte == 0xE2
}

/// Without a branch for each byte, so that the compiler looks at many at once.
fn has_line_end(block: &[u8]) -> bool {
    block.iter().fold(false, |any, &byte| any | is_line_end(byte))
}

/// Bytes at which text goes on after a blank line: after a run of white space with two line ends or a paragraph separator in it.
fn paragraph_starts(text: &str) -> impl Iterator<Item = usize> + '_ {
    let mut after = 0;
    std::iter::from_fn(move || {
        loop {
            let run = next_line_end(text, after)?;
            let n_white_bytes = text[run..].len() - text[run..].trim_start().len();
            // A character that begins like a line end and is none is passed.
            let n_bytes = n_white_bytes.max(text[run..].chars().next().map_or(1, char::len_utf8));
            after = run + n_bytes;
            if n_line_ends(&text[run..run + n_white_bytes]) >= 2 && after < text.len() {
                return Some(after);
            }
        }
    })
}

/// The first place from `from` on where a line end could begin.
fn next_line_end(text: &str, from: usize) -> Option<usize> {
    let blocks = text.as_bytes()[from..].chunks(BLOCK_BYTES).enumerate().filter(|(_, block)| has_line_end(block));
    let mut places = blocks.filter_map(|(i, block)| Some(from + i * BLOCK_BYTES + block.iter().position(|&byte| is_line_end(byte))?));
    places.next()
}

/// Line ends in white space. CR LF is one; a paragraph separator is as good as two.
fn n_line_ends(white: &str) -> usize {
    let mut before = ' ';
    let count = |character| {
        let is_second_half = std::mem::replace(&mut before, character) == '\r' && character == '\n';
        match character {
            '\n' | '\r' if !is_second_half => 1,
            '\u{2029}' => 2,
            _ => 0,
        }
    };
    white.chars().map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the rules look at, and letters to stop at.
    const PARTS: [&str; 44] = [
        "a",
        "b",
        "C",
        "D",
        "word",
        "Word",
        " ",
        " ",
        ".",
        ". ",
        "?!",
        "...",
        "'",
        "\u{2019}",
        ":",
        ",",
        ";",
        "_",
        "1",
        "23",
        "(",
        ")\"",
        "\n",
        "\r\n",
        "\r",
        "\u{2029}",
        "\u{85}",
        "\t",
        "\u{301}",
        "\u{ad}",
        "\u{200d}",
        "\u{1f1e9}",
        "\u{1f468}",
        "\u{2764}\u{fe0f}",
        "\u{5d0}\"",
        "\u{5d1}",
        "\u{30ab}\u{30bf}",
        "\u{304b}\u{306a}",
        "\u{4e2d}\u{6587}",
        "\u{3002}",
        "\u{ac00}",
        "\u{436}\u{434}",
        "\u{e9}t\u{e9}",
        "\u{3000}",
    ];

    /// The same, slowly and obviously.
    fn paragraph_starts_one_by_one(text: &str) -> Vec<usize> {
        let (mut line_ends, mut after_return) = (0, false);
        let starts = text.char_indices().filter_map(|(byte, character)| {
            if !character.is_whitespace() {
                after_return = false;
                return (std::mem::take(&mut line_ends) >= 2).then_some(byte);
            }
            line_ends += match character {
                '\n' if after_return => 0, // the second half of one CR LF
                '\n' | '\r' => 1,
                '\u{2029}' => 2,
                _ => 0,
            };
            after_return = character == '\r';
            None
        });
        starts.collect()
    }

    fn assert_equal_to_all(text: &str, from: usize, to: usize) {
        let segments = Segments::new(text);
        for kind in [Boundary::Word, Boundary::Sentence, Boundary::Paragraph] {
            let expected: Vec<usize> = all_starts(kind, text).filter(|at| (from..=to).contains(at)).collect();
            assert_eq!(segments.starts(kind, from, to), expected, "{kind:?} in {from}..={to} of {text:?}");
        }
    }

    #[test]
    fn starts_in_a_stretch_are_those_of_the_whole_text() {
        let mut state = 7_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..4000 {
            let (n_parts, n_kinds) = (1 + random(40), 2 + random(PARTS.len() - 2));
            let first = random(PARTS.len());
            let text: String = (0..n_parts).map(|_| PARTS[(first + random(n_kinds)) % PARTS.len()]).collect();
            assert_eq!(paragraph_starts(&text).collect::<Vec<_>>(), paragraph_starts_one_by_one(&text), "{text:?}");
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            for _ in 0..8 {
                let from = random(places.len());
                assert_equal_to_all(&text, places[from], places[from + random(places.len() - from)]);
            }
        }
    }

    #[test]
    fn texts_without_letters_are_read_whole() {
        for text in ["1. 2? ".repeat(2000), " \n".repeat(2000), "\u{1f1e9}".repeat(3000), "a. ".repeat(2000)] {
            let middle = (text.len() / 2..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(0);
            assert_equal_to_all(&text, middle, (middle + 40..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(0));
        }
    }

    #[test]
    fn only_blank_lines_end_paragraphs() {
        assert_eq!(paragraph_starts("\n\n\u{201c}a \u{2029}").collect::<Vec<_>>(), [2]);
        assert_eq!(paragraph_starts("a\nb\n\nc\r\nd\r\n \r\ne\u{2029}f").collect::<Vec<_>>(), [5, 14, 18]);
    }
}
