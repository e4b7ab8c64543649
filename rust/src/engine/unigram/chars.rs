//! What each character is to a Unigram tokenizer: does its normalizer touch it, is it a grapheme cluster by itself, may a word end at it.

use std::sync::Arc;

use unicode_normalization_alignments::char::canonical_combining_class;
use unicode_segmentation::UnicodeSegmentation;

use super::chain::Chain;
use crate::engine::metaspace::MARKER;
use crate::scan::CharTable;

/// Characters that join the next one to their cluster. A test compares them with the segmentation in use.
const PREPENDED: [std::ops::RangeInclusive<u32>; 15] = [
    0x600..=0x605,
    0x6dd..=0x6dd,
    0x70f..=0x70f,
    0x890..=0x891,
    0x8e2..=0x8e2,
    0xd4e..=0xd4e,
    0x110bd..=0x110bd,
    0x110cd..=0x110cd,
    0x111c2..=0x111c3,
    0x113d1..=0x113d1,
    0x1193f..=0x1193f,
    0x11941..=0x11941,
    0x11a84..=0x11a89,
    0x11d46..=0x11d46,
    0x11f02..=0x11f02,
];

/// How words are told apart.
#[allow(clippy::enum_variant_names)] // all of it is about blanks
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// White space is removed (`WhitespaceSplit`).
    BetweenBlanks,
    /// Every blank becomes a marker that starts a token's text.
    AtBlanks,
    /// As before, after runs of blanks became one, or those at the ends were stripped: what a blank becomes depends on those beside it.
    AtRunsOfBlanks,
}

/// Facts about a character.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Class(u8);

impl Class {
    /// To the character map: a grapheme cluster by itself wherever its neighbours are, too.
    const IS_ALONE: u8 = 1;
    /// The character map leaves it as it is where it is alone.
    const IS_KEPT: u8 = 2;
    /// It and its copy in the normalized text are neither blanks nor markers, it is alone and kept.
    const IS_PLAIN: u8 = 4;
    /// Neither joins with a blank before it nor is removed, which would count with that blank.
    const MAY_START: u8 = 8;
    /// Neither joins with a blank after it nor changes what that becomes.
    const MAY_END: u8 = 16;
    /// Becomes one blank.
    const IS_BLANK: u8 = 32;
    /// An ASCII capital that becomes its small letter and would be plain as such.
    const IS_CAPITAL: u8 = 64;
    /// What becomes of it before the map is there, is made of clusters by themselves, changes no place with what is beside it and may start a
    /// word.
    const IS_SETTLED: u8 = 128;

    fn has(self, fact: u8) -> bool {
        self.0 & fact != 0
    }

    pub fn is_alone(self) -> bool {
        self.has(Self::IS_ALONE)
    }

    pub fn is_kept(self) -> bool {
        self.has(Self::IS_KEPT)
    }

    pub fn is_plain(self) -> bool {
        self.has(Self::IS_PLAIN)
    }

    pub fn may_start(self) -> bool {
        self.has(Self::MAY_START)
    }

    pub fn may_end(self) -> bool {
        self.has(Self::MAY_END)
    }

    pub fn is_blank(self) -> bool {
        self.has(Self::IS_BLANK)
    }

    pub fn is_settled(self) -> bool {
        self.has(Self::IS_SETTLED)
    }

    pub fn is_capital(self) -> bool {
        self.has(Self::IS_CAPITAL)
    }
}

/// The classes of all characters.
#[derive(Debug)]
pub struct Classes {
    ascii: [Class; 128],
    others: CharTable<Class>,
    keeps_prepended: bool,
}

impl Classes {
    /// # Errors
    /// Where a character that joins the next one to itself may become a blank: a word could then end in a blank unseen.
    pub fn new(chain: &Arc<Chain>, words: Words) -> Result<Self, String> {
        let prepended = || PREPENDED.into_iter().flatten().filter_map(char::from_u32).map(String::from);
        let hides_blanks = |text: String| {
            let normal = chain.normal(&text);
            normal != text && (normal.is_empty() || normal.ends_with(' '))
        };
        if prepended().any(hides_blanks) {
            return Err("its normalizer removes characters that prepend to others".into());
        }
        let keeps_prepended = prepended().all(|text| chain.normal(&text) == text);
        let chain = Arc::clone(chain);
        let of = move |character| class(character, &chain, words);
        let ascii = std::array::from_fn(|byte| of(char::from(byte as u8)));
        Ok(Self { ascii, others: CharTable::new(of), keeps_prepended })
    }

    /// Are characters that join the next one to their cluster left as they are?
    pub fn keeps_prepended(&self) -> bool {
        self.keeps_prepended
    }

    #[inline]
    pub fn of(&self, character: char) -> Class {
        if character.is_ascii() { self.ascii[character as usize] } else { self.others.get(character) }
    }

    #[inline]
    pub fn of_ascii(&self, byte: u8) -> Class {
        self.ascii[(byte & 127) as usize]
    }
}

fn class(character: char, chain: &Chain, words: Words) -> Class {
    let text = String::from(character);
    let (before_map, normal) = (chain.text_before_map(&text), chain.normal(&text));
    let n_clusters = |text: &str| text.graphemes(true).count();
    let joins = |first: char, second: char| chain.has_map() && n_clusters(&String::from_iter([first, second])) == 1;
    // CR and LF are one cluster together: both count as never alone.
    let is_alone = |character: char| {
        !chain.has_map() || n_clusters(&format!("a{character}a")) == 3 && !joins(character, character) && !matches!(character, '\r' | '\n')
    };
    let are_settled = before_map.chars().all(is_alone);
    let is_alone = is_alone(character);
    // Marks change places where characters are decomposed.
    let is_mark = |character: char| chain.has_steps() && canonical_combining_class(character) != 0;
    let may_start = |first: char| !joins(' ', first) && !is_mark(first) && chain.map(&String::from(first)) != Some("");
    let may_start = before_map.chars().next().is_some_and(may_start);
    let may_end = before_map.chars().next_back().is_some_and(|last| !joins(last, ' '));
    let ends_in_blank = !is_alone || character.is_whitespace() || normal.is_empty() || normal.ends_with(' ');
    let is_space = character == MARKER || character.is_whitespace();
    let facts = [
        (Class::IS_ALONE, is_alone),
        (Class::IS_KEPT, chain.map(&text).is_none_or(|to| to == text)),
        (Class::IS_PLAIN, is_alone && normal == text && !is_space && !is_mark(character)),
        (Class::MAY_START, may_start),
        (Class::MAY_END, may_end && (words != Words::AtRunsOfBlanks || !ends_in_blank)),
        (Class::IS_BLANK, if words == Words::BetweenBlanks { is_one_blank(&normal) } else { normal == " " }),
        (Class::IS_SETTLED, are_settled && may_start),
        (Class::IS_CAPITAL, character.is_ascii_uppercase() && is_alone && normal == text.to_ascii_lowercase()),
    ];
    Class(facts.into_iter().filter(|(_, holds)| *holds).fold(0, |class, (fact, _)| class | fact))
}

fn is_one_blank(normal: &str) -> bool {
    let mut characters = normal.chars();
    characters.next().is_some_and(char::is_whitespace) && characters.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_characters_that_prepend_are_those_of_the_segmentation() {
        let joins_next = |character: &char| format!("{character}a").graphemes(true).count() == 1;
        let found: Vec<u32> = ('\0'..=char::MAX).filter(joins_next).map(u32::from).collect();
        assert_eq!(found, PREPENDED.into_iter().flatten().collect::<Vec<_>>());
    }
}
