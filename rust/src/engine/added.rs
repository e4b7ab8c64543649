//! Added tokens: strings that are one token wherever they stand in a text, and what lies between them.

use std::iter::successors;
use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::packed::Searcher;
use aho_corasick::{AhoCorasick, Anchored, Input, Match as Found, MatchKind, Span, StartKind};
use regex::Regex;

use crate::error::{Error, Result};

/// Bytes of a beginning, by which places are found where a token may start: two characters of most scripts.
const BEGINNING_BYTES: usize = 6;

/// Where a token is longer, beginnings are not looked for: from each of them on, that many bytes may be read again.
const LONGEST_BEGUN_BYTES: usize = 64;

/// One added token, with the rules of Hugging Face `AddedToken`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // the rules of Hugging Face `AddedToken`, as it names them
pub struct AddedToken {
    /// The string; not empty.
    pub content: String,
    /// Its id.
    pub id: u32,
    /// Only where neither side touches a word character.
    pub single_word: bool,
    /// Takes the blanks before it along.
    pub lstrip: bool,
    /// Takes the blanks after it along.
    pub rstrip: bool,
    /// Found, and then read as text all the same: a special token where special tokens are text. It still hides other added tokens that
    /// overlap with it.
    pub is_text: bool,
}

/// A part of a text: one token, or text between tokens. Never an empty text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Section {
    /// Text to tokenize.
    Text(Range<usize>),
    /// An added token, the blanks it takes along included, and its id.
    Token(Range<usize>, u32),
}

/// Finds added tokens in texts, leftmost and then longest first.
///
/// Tokens are found in passes, as `tokenizers` does it: first those that are matched before normalization, and in what is left those that
/// are matched after it.
#[derive(Debug, Default)]
pub struct AddedTokens {
    passes: Vec<Pass>,
}

#[derive(Debug)]
struct Pass {
    /// Where there are beginnings, it looks at one place only.
    finder: AhoCorasick,
    /// Finds where a token may start, many bytes at a time: a run of blanks may be a token, and then every blank stops the finder itself.
    beginnings: Option<Searcher>,
    tokens: Vec<AddedToken>,
}

/// A place where the string of an added token stands.
struct Match {
    /// With the blanks that go along.
    range: Range<usize>,
    /// Nothing where it is read as text.
    id: Option<u32>,
}

/// The word characters of `tokenizers`, which asks the same crate.
static WORD_AT_START: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\w").ok());

impl AddedTokens {
    /// Finds the tokens of each pass, in the order of the passes.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] where there are too many.
    pub fn new(passes: impl IntoIterator<Item = Vec<AddedToken>>) -> Result<Self> {
        let has_effect = |tokens: &Vec<AddedToken>| tokens.iter().any(|token| !token.is_text);
        let passes = passes.into_iter().filter(has_effect).map(Pass::new);
        Ok(Self { passes: passes.collect::<Result<_>>()? })
    }

    /// The text in sections, in order and without gaps.
    pub fn sections(&self, text: &str) -> Vec<Section> {
        self.read(text).0
    }

    /// Stretches of the text that no added token's string touches, in order. A text cut strictly inside one of them has the same sections.
    pub fn gaps(&self, text: &str) -> Vec<Range<usize>> {
        let mut taken = self.read(text).1;
        taken.sort_unstable_by_key(|range| range.start);
        let (mut gaps, mut end) = (Vec::new(), 0);
        for range in taken {
            if range.start > end {
                gaps.push(end..range.start);
            }
            end = end.max(range.end);
        }
        gaps.push(end..text.len());
        gaps
    }

    /// The sections of a text, and every place where the string of an added token was found.
    fn read(&self, text: &str) -> (Vec<Section>, Vec<Range<usize>>) {
        let mut sections = if text.is_empty() { vec![] } else { vec![Section::Text(0..text.len())] };
        let mut taken = Vec::new();
        for pass in &self.passes {
            let mut finer = Vec::with_capacity(sections.len());
            for section in sections {
                match section {
                    Section::Text(range) => pass.split(text, range, &mut finer, &mut taken),
                    Section::Token(..) => finer.push(section),
                }
            }
            sections = finer;
        }
        (sections, taken)
    }
}

impl Pass {
    fn new(tokens: Vec<AddedToken>) -> Result<Self> {
        let beginnings = beginnings(&tokens);
        let start_kind = if beginnings.is_some() { StartKind::Anchored } else { StartKind::Unanchored };
        let contents = tokens.iter().map(|token| &token.content);
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).start_kind(start_kind).build(contents);
        let finder = finder.map_err(|error| Error::Tokenizer(format!("the added tokens cannot be searched for: {error}.")))?;
        Ok(Self { finder, beginnings, tokens })
    }

    /// Where the first token stands from byte `from` on; of several there, the longest.
    fn next(&self, text: &str, mut from: usize) -> Option<Found> {
        let Some(beginnings) = &self.beginnings else { return self.finder.find(Input::new(text).span(from..text.len())) };
        loop {
            let start = beginnings.find_in(text, Span::from(from..text.len()))?.start();
            let found = self.finder.find(Input::new(text).span(start..text.len()).anchored(Anchored::Yes));
            if found.is_some() {
                return found;
            }
            from = start + 1;
        }
    }

    /// Appends the sections of one section of `text`, and the places of all matches.
    fn split(&self, text: &str, section: Range<usize>, sections: &mut Vec<Section>, taken: &mut Vec<Range<usize>>) {
        let base = section.start;
        let mut end = 0;
        self.each_match(&text[section.clone()], |found| {
            taken.push(base + found.range.start..base + found.range.end);
            let Some(id) = found.id else { return };
            if found.range.start > end {
                sections.push(Section::Text(base + end..base + found.range.start));
            }
            sections.push(Section::Token(base + found.range.start..base + found.range.end, id));
            end = found.range.end;
        });
        if base + end < section.end {
            sections.push(Section::Text(base + end..section.end));
        }
    }

    /// As `AddedVocabulary::find_matches` of `tokenizers`.
    fn each_match(&self, text: &str, mut take: impl FnMut(Match)) {
        let mut end = 0;
        for found in successors(self.next(text, 0), |found| self.next(text, found.end())) {
            let token = &self.tokens[found.pattern().as_usize()];
            let (mut start, mut stop) = (found.start(), found.end());
            if token.is_text || token.single_word && touches_a_word(&text[..start], &text[stop..]) {
                take(Match { range: start..stop, id: None });
                continue;
            }
            if token.lstrip {
                start = text[..start].trim_end().len().max(end); // blanks that the token before took are gone
            }
            if token.rstrip {
                stop = text.len() - text[stop..].trim_start().len();
            }
            take(Match { range: start..stop, id: Some(token.id) });
            end = stop;
        }
    }
}

/// A finder of what tokens begin with; nothing where some are too long, or there are too many beginnings for the processor.
fn beginnings(tokens: &[AddedToken]) -> Option<Searcher> {
    let mut beginnings = Vec::with_capacity(tokens.len());
    for token in tokens {
        let content = token.content.as_bytes();
        beginnings.push(&content[..content.len().min(BEGINNING_BYTES)]);
    }
    beginnings.sort_unstable();
    beginnings.dedup_by(|next, before| next.starts_with(before)); // where a longer one is, there is the shorter one
    let are_short = tokens.iter().all(|token| token.content.len() <= LONGEST_BEGUN_BYTES);
    if are_short { Searcher::new(beginnings) } else { None }
}

fn touches_a_word(before: &str, after: &str) -> bool {
    let is_word = |character: Option<char>| {
        let found = |character: char| WORD_AT_START.as_ref().is_some_and(|word| word.is_match(character.encode_utf8(&mut [0; 4])));
        character.is_some_and(found)
    };
    is_word(before.chars().next_back()) || is_word(after.chars().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(content: &str, id: u32) -> AddedToken {
        AddedToken { content: content.into(), id, single_word: false, lstrip: false, rstrip: false, is_text: false }
    }

    fn tokens(tokens: Vec<AddedToken>) -> AddedTokens {
        AddedTokens::new([tokens]).unwrap_or_default()
    }

    #[test]
    fn sections_tile_the_text() {
        let added = tokens(vec![token("<a>", 1), token("<a><b>", 2)]);
        assert_eq!(
            added.sections("x<a>y<a><b>"),
            [Section::Text(0..1), Section::Token(1..4, 1), Section::Text(4..5), Section::Token(5..11, 2)]
        );
        assert_eq!(added.sections(""), []);
    }

    #[test]
    fn blanks_go_with_the_token_that_takes_them() {
        let added = tokens(vec![AddedToken { lstrip: true, rstrip: true, ..token("M", 1) }]);
        assert_eq!(added.sections("a M M b"), [Section::Text(0..1), Section::Token(1..4, 1), Section::Token(4..6, 1), Section::Text(6..7)]);
    }

    #[test]
    fn a_single_word_touches_no_other() {
        let added = tokens(vec![AddedToken { single_word: true, ..token("ony", 1) }]);
        assert_eq!(added.sections("ony, pony"), [Section::Token(0..3, 1), Section::Text(3..9)]);
    }

    #[test]
    fn a_token_read_as_text_hides_what_overlaps_with_it() {
        let added = tokens(vec![AddedToken { is_text: true, ..token("<s>", 1) }, token("s>x", 2)]);
        assert_eq!(added.sections("<s>x s>x"), [Section::Text(0..5), Section::Token(5..8, 2)]);
        assert_eq!(added.gaps("<s>x s>x"), [3..5, 8..8]);
    }

    #[test]
    fn tokens_are_found_by_their_beginnings_as_without_them() {
        let contents =
            ["  ", "    ", "<a>", "<a><b>", "<", "[unused1]", "[unused12]", "used1", "||| |||", "<\u{ff5c}\u{2581}", "\u{2581}\u{e9}"];
        let parts = [" ", "  ", "<a", ">", "<b>", "[unused", "used", "1", "2]", "]", "|||", "| ", "x", "\u{e9}", "\u{2581}", "<\u{ff5c}"];
        let (mut texts, mut random) = (vec![String::new()], 7_u64);
        for _ in 0..3000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let n_parts = 1 + (random >> 60);
            texts.push((0..n_parts).map(|i| parts[(random >> (4 * i)) as usize % parts.len()]).collect());
        }
        texts.push(texts.concat());
        let long = "x".repeat(LONGEST_BEGUN_BYTES + 1);
        for others in [vec![], vec![long.as_str()]] {
            let contents = [&contents[..], &others].concat();
            let plain = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&contents).ok();
            let AddedTokens { passes } = tokens(contents.iter().zip(0..).map(|(content, id)| token(content, id)).collect());
            let has_beginnings = passes[0].beginnings.is_some();
            assert!(has_beginnings == others.is_empty() || cfg!(not(any(target_arch = "x86_64", target_arch = "aarch64"))));
            let mut n_found = 0;
            for text in &texts {
                let found: Vec<Found> = successors(passes[0].next(text, 0), |found| passes[0].next(text, found.end())).collect();
                assert_eq!(Some(&found), plain.as_ref().map(|plain| plain.find_iter(text).collect()).as_ref(), "{text}");
                n_found += found.len();
            }
            assert!(n_found > texts.len());
        }
    }

    #[test]
    fn later_passes_see_what_earlier_ones_left() {
        let added = AddedTokens::new([vec![token("ab", 1)], vec![token("bc", 2)]]).unwrap_or_default();
        assert_eq!(added.sections("abcbc"), [Section::Token(0..2, 1), Section::Text(2..3), Section::Token(3..5, 2)]);
    }
}
