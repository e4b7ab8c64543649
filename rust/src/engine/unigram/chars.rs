//! What each character is to a Unigram tokenizer: does its normalizer touch it, is it a grapheme cluster by itself, may a word end at it.

use std::sync::Arc;

use tokenizers::normalizers::Precompiled;
use unicode_segmentation::UnicodeSegmentation;

use crate::scan::CharTable;

/// Stands for a blank in the vocabulary.
pub const MARKER: char = '\u{2581}';

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
    /// A grapheme cluster by itself wherever its neighbours are, too.
    const IS_ALONE: u8 = 1;
    /// The normalizer leaves it as it is where it is alone.
    const IS_KEPT: u8 = 2;
    /// It and its copy in the normalized text are neither blanks nor markers, it is alone and kept.
    const IS_PLAIN: u8 = 4;
    /// Neither joins with a blank before it nor is removed, which would count with that blank.
    const MAY_START: u8 = 8;
    /// Neither joins with a blank after it nor changes what that becomes.
    const MAY_END: u8 = 16;
    /// Becomes one blank.
    const IS_BLANK: u8 = 32;

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
    pub fn new(charsmap: Option<Arc<Precompiled>>, words: Words) -> Result<Self, String> {
        let hides_blanks = |code: u32| {
            let character = char::from_u32(code).map(String::from).unwrap_or_default();
            charsmap.as_ref().and_then(|map| map.transform(&character)).is_some_and(|to| to.is_empty() || to.ends_with(' '))
        };
        if PREPENDED.into_iter().flatten().any(hides_blanks) {
            return Err("its character map removes characters that prepend to others".into());
        }
        let keeps_prepended = PREPENDED.into_iter().flatten().filter_map(char::from_u32).all(|character| {
            let text = String::from(character);
            charsmap.as_ref().and_then(|map| map.transform(&text)).is_none_or(|to| to == text)
        });
        let of = move |character| class(character, charsmap.as_deref(), words);
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

fn class(character: char, charsmap: Option<&Precompiled>, words: Words) -> Class {
    let text = String::from(character);
    let normal = charsmap.and_then(|map| map.transform(&text)).unwrap_or(&text);
    let n_clusters = |text: String| charsmap.map_or(3, |_| text.graphemes(true).count());
    // CR and LF are one cluster together: both count as never alone.
    let is_alone = charsmap.is_none()
        || n_clusters(format!("a{character}a")) == 3 && n_clusters(format!("{character}{character}")) == 2 && !"\r\n".contains(character);
    let is_kept = normal == text;
    let is_blank = match words {
        Words::BetweenBlanks => is_one_blank(normal),
        Words::AtBlanks | Words::AtRunsOfBlanks => normal == " ",
    };
    let is_mark = character == MARKER || character.is_whitespace() || character == ' ';
    let joins_next = charsmap.is_some() && n_clusters(format!("{character} ")) == 1;
    let ends_in_blank = !is_alone || character.is_whitespace() || normal.is_empty() || normal.ends_with(' ');
    let facts = [
        (Class::IS_ALONE, is_alone),
        (Class::IS_KEPT, is_kept),
        (Class::IS_PLAIN, is_alone && is_kept && !is_mark),
        (Class::MAY_START, charsmap.is_none() || n_clusters(format!(" {character}")) == 2 && !normal.is_empty()),
        (Class::MAY_END, !joins_next && (words != Words::AtRunsOfBlanks || !ends_in_blank)),
        (Class::IS_BLANK, is_blank),
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
