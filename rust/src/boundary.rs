//! Break points: after which tokens a word, sentence or paragraph of the text ends.
//!
//! They are looked for where the planner asks, around a chunk's end, and never marked for all tokens: finding words and sentences takes
//! longer than tokenizing.

use std::cmp::Reverse;
use std::ops::RangeInclusive;

use crate::config::Boundary;
use crate::segments::Segments;

/// Where a document may be cut, for the planner.
#[derive(Debug)]
pub enum Breaks<'t> {
    /// After any token.
    Anywhere,
    /// Rather where a segment ends.
    Preferred(Preferred<'t>),
}

/// The segments of a text, and its tokens.
#[derive(Debug)]
pub struct Preferred<'t> {
    text: &'t str,
    byte_spans: &'t [(u32, u32)],
    segments: Segments<'t>,
    /// The strongest kind of boundary that counts.
    wanted: Boundary,
}

impl<'t> Breaks<'t> {
    /// The boundaries of `text` up to the kind that is asked for.
    pub fn new(text: &'t str, byte_spans: &'t [(u32, u32)], wanted: Boundary) -> Self {
        match wanted {
            Boundary::Token => Self::Anywhere,
            _ => Self::Preferred(Preferred { text, byte_spans, segments: Segments::new(text), wanted }),
        }
    }

    /// The last of the strongest boundaries in `earliest..=latest`; `latest` itself where any place will do.
    pub fn last_in(&self, earliest: usize, latest: usize) -> usize {
        self.nearest_in(earliest, latest, latest)
    }

    /// The strongest boundary in `earliest..=latest`, of equals the nearest to `ideal`, of two as near the later.
    pub fn nearest_in(&self, earliest: usize, ideal: usize, latest: usize) -> usize {
        let ideal = ideal.clamp(earliest, latest);
        match self {
            Self::Anywhere => ideal,
            Self::Preferred(preferred) => preferred.nearest(&(earliest..=latest), ideal).unwrap_or(ideal),
        }
    }
}

impl Preferred<'_> {
    /// The strongest boundary: of the strongest kind that there is among these tokens.
    fn nearest(&self, tokens: &RangeInclusive<usize>, ideal: usize) -> Option<usize> {
        let kinds = [Boundary::Paragraph, Boundary::Sentence, Boundary::Word].into_iter().filter(|&kind| kind <= self.wanted);
        kinds.into_iter().find_map(|kind| self.nearest_of(kind, tokens, ideal))
    }

    /// Looks at more and more tokens around the ideal one.
    fn nearest_of(&self, kind: Boundary, tokens: &RangeInclusive<usize>, ideal: usize) -> Option<usize> {
        let mut reach = match kind {
            Boundary::Token | Boundary::Word => 4,
            Boundary::Sentence => 32,
            Boundary::Paragraph => 4096, // often there is none, and line ends are quickly looked for
        };
        loop {
            let near = (*tokens.start()).max(ideal.saturating_sub(reach))..=(*tokens.end()).min(ideal + reach);
            let found = self.begun_by(kind, near.clone()).into_iter().min_by_key(|&token| (token.abs_diff(ideal), Reverse(token)));
            if found.is_some() || near == *tokens {
                return found;
            }
            reach *= 4;
        }
    }

    /// The tokens before which a segment of this kind begins.
    fn begun_by(&self, kind: Boundary, tokens: RangeInclusive<usize>) -> Vec<usize> {
        let from = tokens.clone().map(|token| self.around_gap(token).0).min().unwrap_or(0);
        let to = tokens.clone().map(|token| self.around_gap(token).1).max().unwrap_or(0);
        let starts = self.segments.starts(kind, from, to);
        if starts.is_empty() {
            return vec![];
        }
        let has_start = |(from, to)| starts.get(starts.partition_point(|&start| start < from)).is_some_and(|&start| start <= to);
        tokens.filter(|&token| has_start(self.around_gap(token)) && has_start(self.gap(token))).collect()
    }

    /// Bytes that the gap before a token is part of, quickly.
    fn around_gap(&self, token: usize) -> (usize, usize) {
        let from = token.checked_sub(1).map_or(0, |before| self.byte_spans[before].0);
        (from as usize, self.byte_spans[token].1 as usize)
    }

    /// The bytes between the visible part of the token before and a token's own. Tokens of some tokenizers carry the blanks around them, and
    /// a boundary on either side of a blank is the same boundary.
    fn gap(&self, token: usize) -> (usize, usize) {
        let before_end = token.checked_sub(1).map_or(0, |before| self.visible(before).1);
        (before_end, self.visible(token).0)
    }

    /// Where the visible part of a token starts and ends. One that is nothing but blanks starts at its end, and ends at its start.
    fn visible(&self, token: usize) -> (usize, usize) {
        let (start, end) = self.byte_spans[token];
        let (start, text) = (start as usize, self.text.get(start as usize..end as usize).unwrap_or_default());
        (start + text.len() - text.trim_start().len(), start + text.trim_end().len())
    }
}

#[cfg(test)]
mod tests {
    use unicode_segmentation::UnicodeSegmentation;

    use super::*;
    use crate::engine::Tokens;

    /// Every character is a token.
    fn characters(text: &str) -> Tokens {
        text.char_indices().map(|(byte, c)| (0, (byte as u32, (byte + c.len_utf8()) as u32))).collect()
    }

    fn preferred<'t>(text: &'t str, tokens: &'t Tokens, wanted: Boundary) -> Preferred<'t> {
        Preferred { text, byte_spans: tokens.byte_spans(), segments: Segments::new(text), wanted }
    }

    fn begun_by(text: &str, kind: Boundary) -> Vec<usize> {
        let tokens = characters(text);
        preferred(text, &tokens, kind).begun_by(kind, 0..=tokens.len() - 1)
    }

    #[test]
    fn words_end_at_blanks_and_punctuation() {
        assert!(begun_by("ab cd", Boundary::Word).contains(&3));
        assert!(!begun_by("ab cd", Boundary::Word).contains(&1));
    }

    #[test]
    fn sentences_end_after_their_blank() {
        assert!(begun_by("Yes. No.", Boundary::Sentence).contains(&5));
        assert!(!begun_by("Yes. No.", Boundary::Sentence).contains(&6));
    }

    #[test]
    fn the_strongest_boundary_wins_and_then_the_nearest() {
        let text = "ab. Cd ef gh";
        let tokens = characters(text);
        let breaks = Breaks::new(text, tokens.byte_spans(), Boundary::Sentence);
        assert_eq!(breaks.last_in(1, 11), 4);
        assert_eq!(breaks.last_in(5, 11), 10);
        assert_eq!(breaks.nearest_in(5, 7, 11), 7);
        assert_eq!(breaks.nearest_in(1, 11, 11), 4);
        assert_eq!(Breaks::new(text, tokens.byte_spans(), Boundary::Word).last_in(5, 8), 7);
    }

    /// The strongest boundary before each token, by reading all of the text: slow and obvious.
    fn strengths(text: &str, tokens: &Tokens, wanted: Boundary) -> Vec<Boundary> {
        let all = Segments::new(text);
        let kinds = [
            (Boundary::Word, text.split_word_bound_indices().map(|(at, _)| at).collect::<Vec<_>>()),
            (Boundary::Sentence, text.split_sentence_bound_indices().map(|(at, _)| at).collect()),
            (Boundary::Paragraph, all.starts(Boundary::Paragraph, 0, text.len())),
        ];
        let preferred = preferred(text, tokens, wanted);
        let strength = |token| {
            let (from, to) = preferred.gap(token);
            let has_one = |starts: &[usize]| starts.iter().any(|start| (from..=to).contains(start));
            kinds.iter().rev().find(|(kind, starts)| *kind <= wanted && has_one(starts)).map_or(Boundary::Token, |(kind, _)| *kind)
        };
        (0..tokens.len()).map(strength).collect()
    }

    #[test]
    fn what_is_found_near_the_end_is_what_reading_everything_finds() {
        let text = "One two. Three, four!\n\nFive \u{4e2d}\u{6587}\u{3002}\u{65e5}\u{672c} 3.14 e.g. Mr. X? ".repeat(8);
        let tokens = characters(&text);
        let n_tokens = tokens.len();
        for wanted in [Boundary::Word, Boundary::Sentence, Boundary::Paragraph] {
            let (breaks, strengths) = (Breaks::new(&text, tokens.byte_spans(), wanted), strengths(&text, &tokens, wanted));
            for (earliest, latest) in (0..n_tokens).flat_map(|i| [1, 7, 90].map(|n| (i, (i + n).min(n_tokens - 1)))) {
                let ideal = usize::midpoint(earliest, latest);
                let best = (earliest..=latest).max_by_key(|&i| (strengths[i], Reverse(i.abs_diff(ideal)), i));
                assert_eq!(Some(breaks.nearest_in(earliest, ideal, latest)), best, "{wanted:?} {earliest} {latest}");
                assert_eq!(Some(breaks.last_in(earliest, latest)), (earliest..=latest).max_by_key(|&i| (strengths[i], i)));
            }
        }
    }
}
