//! What the regular expressions of byte-level tokenizers see of a character.

use onig::Regex;
use unicode_normalization_alignments::IsNormalized;
use unicode_normalization_alignments::char::canonical_combining_class;
use unicode_normalization_alignments::is_nfc_quick;

use crate::scan::CharTable;

/// The kinds of characters that the expressions tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Class {
    /// None of the others.
    #[default]
    Other,
    /// `\p{L}`.
    Letter,
    /// `\p{N}`.
    Number,
    /// `\s`, line ends excepted.
    Blank,
    /// `\r` and `\n`.
    LineEnd,
}

impl Class {
    /// `\s`.
    pub fn is_space(self) -> bool {
        matches!(self, Self::Blank | Self::LineEnd)
    }
}

/// What is known of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traits {
    /// Its class.
    pub class: Class,
    /// NFC may change it, or the character before it: whatever is not surely normal by itself and a starter. Or it has a small letter; but
    /// ASCII is never loose.
    pub is_loose: bool,
}

/// The traits of all characters.
#[derive(Debug)]
pub struct Classes {
    ascii: [Class; 128],
    beyond: CharTable<Traits>,
    /// What comes before the expressions.
    pub changes: Changes,
}

/// What is done to a text before it is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changes {
    /// NFC.
    pub nfc: bool,
    /// Letters are lowered after that.
    pub lower: bool,
}

impl Changes {
    /// May anything change?
    pub fn any(self) -> bool {
        self.nfc || self.lower
    }
}

impl Classes {
    /// Asks Oniguruma, whose tables decide in `tokenizers`. Without changes no character is loose.
    ///
    /// # Errors
    /// Its message.
    pub fn new(changes: Changes) -> Result<Self, String> {
        let compile = |pattern: &str| Regex::new(pattern).map_err(|error| error.to_string());
        let (letter, number, space) = (compile(r"\p{L}")?, compile(r"\p{N}")?, compile(r"\s")?);
        let class = move |character: char| {
            let mut buffer = [0; 4];
            let string: &str = character.encode_utf8(&mut buffer);
            match () {
                () if matches!(character, '\r' | '\n') => Class::LineEnd,
                () if letter.is_match(string) => Class::Letter,
                () if number.is_match(string) => Class::Number,
                () if space.is_match(string) => Class::Blank,
                () => Class::Other,
            }
        };
        let ascii = std::array::from_fn(|byte| class(byte as u8 as char));
        let is_loose = move |character| changes.nfc && is_composed_loosely(character) || changes.lower && has_lower(character);
        let traits = move |character: char| Traits { class: class(character), is_loose: is_loose(character) };
        Ok(Self { ascii, beyond: CharTable::new(traits), changes })
    }

    /// The class of an ASCII byte.
    pub fn ascii(&self, byte: u8) -> Class {
        self.ascii[byte as usize & 127]
    }

    /// The traits of the character at byte `at`, and where the next one starts; nothing at the end.
    #[inline]
    pub fn at(&self, text: &str, at: usize) -> Option<(Traits, usize)> {
        let byte = *text.as_bytes().get(at)?;
        if byte < 128 {
            return Some((Traits { class: self.ascii[byte as usize], is_loose: false }, at + 1));
        }
        let character = text[at..].chars().next()?;
        Some((self.beyond.get(character), at + character.len_utf8()))
    }

    /// The class of the character at byte `at`; nothing at the end.
    #[inline]
    pub fn class_at(&self, text: &str, at: usize) -> Option<Class> {
        self.at(text, at).map(|(traits, _)| traits.class)
    }

    /// Could something change at or right before byte `at`?
    #[inline]
    pub fn is_loose_at(&self, text: &str, at: usize) -> bool {
        self.at(text, at).is_some_and(|(traits, _)| traits.is_loose)
    }

    /// Where the run of characters that `belongs` takes ends.
    #[inline]
    pub fn run(&self, text: &str, mut at: usize, belongs: impl Fn(Class) -> bool) -> usize {
        while let Some((traits, next)) = self.at(text, at) {
            if !belongs(traits.class) {
                break;
            }
            at = next;
        }
        at
    }
}

/// A starter that passes the quick check neither changes nor reaches back to the character before it.
fn is_composed_loosely(character: char) -> bool {
    canonical_combining_class(character) != 0 || is_nfc_quick(std::iter::once(character)) != IsNormalized::Yes
}

fn has_lower(character: char) -> bool {
    !character.to_lowercase().eq(std::iter::once(character))
}
