//! Text that NFC or the lowering of letters may change: kept together as one word, normalized where the word is tokenized.
//!
//! Where a match of the expression, or the two characters after it, hold a loose character, the word goes on to the next place that is
//! the border of two matches whatever stands elsewhere, before and after normalization:
//! - before a space that no whitespace precedes. No pattern has a match that goes on from something else into a space. NFC makes no space
//!   of anything and nothing else of a space, and makes whitespace of whitespace only.
//! - between a letter and what is no letter, neither of them loose or followed by a loose character, so that NFC changes neither. In all
//!   patterns a match that takes a letter takes all that follow, or is a contraction, which ends at or before the last of them.
//!
//! NFC itself sees nothing across such a place: what is not loose never joins what precedes it. A word that ended before the loose
//! characters is the same either way: the character before them may join them, but an ASCII one that does stays of its class.

use unicode_normalization_alignments::UnicodeNormalization;
use unicode_normalization_alignments::char::{canonical_combining_class, compose, decompose_canonical};

use super::classes::{Changes, Class, Classes};
use super::pattern::Pattern;
use crate::engine::aligned::Aligned;

/// Where the word ends that starts at byte `at`.
#[inline]
pub fn word_end(pattern: Pattern, classes: &Classes, text: &str, at: usize) -> usize {
    let end = pattern.match_end(classes, text, at);
    if !classes.changes.any() {
        return end;
    }
    match first_loose(classes, text, at, end) {
        Some(loose) => next_border(pattern, classes, text, loose),
        None => end,
    }
}

/// May anything change in this word? ASCII aside, whose letters are lowered where they are read.
pub fn is_loose(classes: &Classes, word: &str) -> bool {
    classes.changes.any() && !word.is_ascii() && first_loose(classes, word, 0, word.len()).is_some()
}

/// The end of the first loose character in a match, or in the two characters after it.
fn first_loose(classes: &Classes, text: &str, mut at: usize, end: usize) -> Option<usize> {
    let mut n_beyond = 0;
    while let Some((traits, next)) = classes.at(text, at).filter(|_| n_beyond < 2) {
        if traits.is_loose {
            return Some(next);
        }
        n_beyond += usize::from(at >= end);
        at = next;
    }
    None
}

/// The first place after byte `at` that is the border of two matches; the end of the text where there is none.
pub fn next_border(pattern: Pattern, classes: &Classes, text: &str, mut at: usize) -> usize {
    // What comes before is not known to be a letter or no whitespace, so the border is not right here.
    let Some((mut before, next)) = classes.at(text, at) else { return at };
    at = next;
    while let Some((traits, next)) = classes.at(text, at) {
        let is_word_border = before.class == Class::Letter && !before.is_loose && traits.class != Class::Letter && !traits.is_loose;
        let is_space = text.as_bytes()[at] == b' ' && !before.class.is_space();
        if is_space || is_word_border && !classes.is_loose_at(text, next) && !pattern.may_reach_across(text, at) {
            return at;
        }
        (before, at) = (traits, next);
    }
    at
}

/// Is a text one that NFC surely leaves as it is? Composing holds all marks after one letter in memory, several times; this holds nothing.
///
/// No character has parts, marks stand in the order of their classes, and none is composed with the character that they belong to: where a
/// mark of the same class stands between the two, it never is.
fn is_composed(text: &str) -> bool {
    let (mut base, mut before, mut last_class) = (None, None, 0);
    text.chars().all(|character| {
        if before == Some(character) && last_class > 0 {
            return true; // a mark once more
        }
        let class = canonical_combining_class(character);
        let mut has_parts = false;
        decompose_canonical(character, |part| has_parts |= part != character);
        let is_in_order = class == 0 || class >= last_class;
        let is_beside = last_class == 0 || class > last_class;
        let is_joined = is_beside && base.is_some_and(|base| compose(base, character).is_some());
        base = if class == 0 { Some(character) } else { base };
        (before, last_class) = (Some(character), class);
        !has_parts && is_in_order && !is_joined
    })
}

/// What `NormalizedString` of `tokenizers` makes of a word, with its rules for what a changed character stands for: characters are used up
/// in order, and one that is added stands for the same as the byte before it.
pub fn normalized(word: &str, changes: Changes, prefix_space: bool) -> Aligned {
    let mut made = Aligned::with_capacity(word.len() + 1);
    if prefix_space {
        made.push(' ', (0, 0)); // becomes that of the first character
    }
    let mut rest = word.char_indices();
    let mut last_used = (0, 0);
    let mut append = |character: char, n_used: usize| {
        let mut used = rest.by_ref().take(n_used).map(|(at, used)| (at as u32, (at + used.len_utf8()) as u32));
        let first = used.next();
        let span = first.unwrap_or(last_used);
        last_used = used.last().or(first).unwrap_or(last_used);
        if changes.lower {
            character.to_lowercase().for_each(|lower| made.push(lower, span));
        } else {
            made.push(character, span);
        }
    };
    if changes.nfc && !is_composed(word) {
        word.chars().nfc().for_each(|(character, n_added)| append(character, usize::try_from(1 - n_added).unwrap_or(0)));
    } else {
        word.chars().for_each(|character| append(character, 1));
    }
    if prefix_space && let [space, first, ..] = made.spans.as_mut_slice() {
        *space = *first;
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_as_composed_is_what_composition_leaves_alone() {
        // Letters, marks of three classes, characters with parts, marks that are letters of their own, Hangul.
        let characters: Vec<char> =
            "aeq \u{301}\u{300}\u{323}\u{327}\u{345}\u{e9}\u{1ea1}\u{212b}\u{340}\u{9c7}\u{9be}\u{1100}\u{1161}\u{11a8}\u{ac00}"
                .chars()
                .collect();
        let (n, mut n_composed) = (characters.len(), 0);
        for i in 0..n.pow(4) {
            let text: String = [i, i / n, i / n / n, i / n / n / n].into_iter().map(|i| characters[i % n]).collect();
            let is_same = text.chars().nfc().map(|(character, _)| character).eq(text.chars());
            assert!(is_same || !is_composed(&text), "{text:?}");
            n_composed += usize::from(is_composed(&text));
        }
        assert!(n_composed > n.pow(4) / 8, "{n_composed} of {}", n.pow(4));
        assert!(is_composed("\u{301}\u{301}") && is_composed("q\u{327}\u{301}\u{301}") && !is_composed("q\u{301}\u{327}"));
    }
}
