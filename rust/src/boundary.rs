//! Break points: after which tokens a word, sentence or paragraph of the text ends.

use unicode_segmentation::UnicodeSegmentation;

use crate::config::Boundary;
use crate::engine::Tokens;

/// Where a document may be cut, for the planner.
#[derive(Debug, PartialEq, Eq)]
pub enum Breaks {
    /// After any token.
    Anywhere,
    /// `strength[i]`: the strongest boundary before token `i`.
    Preferred(Vec<Boundary>),
}

impl Breaks {
    /// Finds the boundaries of `text` up to the kind that is asked for.
    pub fn find(text: &str, tokens: &Tokens, wanted: Boundary) -> Self {
        if wanted == Boundary::Token {
            return Self::Anywhere;
        }
        let mut strength = vec![Boundary::Token; tokens.ids.len()];
        let gaps: Vec<(usize, usize)> = gaps(text, tokens);
        mark(&mut strength, &gaps, text.split_word_bound_indices().map(|(byte, _)| byte), Boundary::Word);
        if wanted >= Boundary::Sentence {
            mark(&mut strength, &gaps, text.split_sentence_bound_indices().map(|(byte, _)| byte), Boundary::Sentence);
        }
        if wanted >= Boundary::Paragraph {
            mark(&mut strength, &gaps, paragraph_starts(text), Boundary::Paragraph);
        }
        Self::Preferred(strength)
    }

    /// The last of the strongest boundaries in `earliest..=latest`; `latest` itself where any place will do.
    pub fn last_in(&self, earliest: usize, latest: usize) -> usize {
        match self {
            Self::Anywhere => latest,
            Self::Preferred(strength) => (earliest..=latest).max_by_key(|&end| (strength[end], end)).unwrap_or(latest),
        }
    }

    /// The strongest boundary in `earliest..=latest`, of equals the nearest to `ideal`.
    pub fn nearest_in(&self, earliest: usize, ideal: usize, latest: usize) -> usize {
        let ideal = ideal.clamp(earliest, latest);
        match self {
            Self::Anywhere => ideal,
            Self::Preferred(strength) => {
                let closeness = |end: usize| std::cmp::Reverse(end.abs_diff(ideal));
                (earliest..=latest).max_by_key(|&end| (strength[end], closeness(end))).unwrap_or(ideal)
            }
        }
    }
}

/// For each token, the bytes between the visible part of the token before it and its own. Tokens of some tokenizers carry the blanks
/// around them, and a boundary on either side of a blank is the same boundary.
fn gaps(text: &str, tokens: &Tokens) -> Vec<(usize, usize)> {
    let mut before_end = 0;
    let spans = tokens.byte_spans.iter().map(|&(start, end)| (start as usize, end as usize));
    spans
        .map(|(start, end)| {
            let token = text.get(start..end).unwrap_or_default();
            let gap = (before_end, start + token.len() - token.trim_start().len());
            before_end = start + token.trim_end().len();
            gap
        })
        .collect()
}

/// Marks every token whose gap holds one of the ascending positions.
fn mark(strength: &mut [Boundary], gaps: &[(usize, usize)], positions: impl Iterator<Item = usize>, kind: Boundary) {
    let mut positions = positions.peekable();
    for (strength, &(from, to)) in strength.iter_mut().zip(gaps) {
        while positions.next_if(|&position| position < from).is_some() {}
        if positions.peek().is_some_and(|&position| position <= to) {
            *strength = kind;
        }
    }
}

/// Bytes at which text goes on after a blank line: after a run of white space with two line ends or a paragraph separator in it.
fn paragraph_starts(text: &str) -> impl Iterator<Item = usize> + '_ {
    let (mut line_ends, mut after_return) = (0, false);
    text.char_indices().filter_map(move |(byte, character)| {
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
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every character is a token.
    fn characters(text: &str) -> Tokens {
        let byte_spans = text.char_indices().map(|(byte, c)| (byte as u32, (byte + c.len_utf8()) as u32)).collect();
        Tokens { ids: vec![0; text.chars().count()], byte_spans }
    }

    fn breaks_of(text: &str, kind: Boundary) -> Vec<usize> {
        match Breaks::find(text, &characters(text), kind) {
            Breaks::Anywhere => vec![],
            Breaks::Preferred(strength) => (0..strength.len()).filter(|&i| strength[i] == kind).collect(),
        }
    }

    #[test]
    fn words_end_at_blanks_and_punctuation() {
        assert!(breaks_of("ab cd", Boundary::Word).contains(&3));
        assert!(!breaks_of("ab cd", Boundary::Word).contains(&1));
    }

    #[test]
    fn sentences_end_after_their_blank() {
        assert!(breaks_of("Yes. No.", Boundary::Sentence).contains(&5));
        assert!(!breaks_of("Yes. No.", Boundary::Sentence).contains(&6));
    }

    #[test]
    fn only_blank_lines_end_paragraphs() {
        assert_eq!(paragraph_starts("a\nb\n\nc\r\nd\r\n \r\ne\u{2029}f").collect::<Vec<_>>(), [5, 14, 18]);
    }

    #[test]
    fn the_strongest_boundary_wins_and_then_the_last() {
        let breaks = Breaks::Preferred(vec![Boundary::Token, Boundary::Word, Boundary::Sentence, Boundary::Word, Boundary::Word]);
        assert_eq!(breaks.last_in(1, 4), 2);
        assert_eq!(breaks.last_in(3, 4), 4);
        assert_eq!(breaks.nearest_in(1, 4, 4), 2);
        assert_eq!(breaks.nearest_in(3, 3, 4), 3);
    }
}
