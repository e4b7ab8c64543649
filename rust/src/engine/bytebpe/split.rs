//! Where the matches of the word patterns begin and end.
//!
//! The patterns are read as a machine over five classes of characters, which the regex engine of the oracle itself assigns. Every character
//! belongs to a match, so a match begins where the one before it ends.

use onig::Regex;

use crate::engine::cuts::WORD_PATTERNS;
use crate::scan::CharTable;

/// What a character is to the patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Class {
    /// `\p{L}`
    Letter,
    /// `\p{N}`
    Number,
    /// `\s`, but for line ends.
    Blank,
    /// `[\r\n]`
    Newline,
    /// Everything else.
    #[default]
    Other,
}

/// Which of the patterns of [`WORD_PATTERNS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// That of GPT-2.
    Gpt2,
    /// Those of GPT-4 and after it, which take so many digits together.
    Gpt4 {
        /// Digits of a match.
        max_digits: usize,
    },
}

/// Finds matches.
#[derive(Debug)]
pub struct Splitter {
    pattern: Pattern,
    ascii: [Class; 128],
    classes: CharTable<Class>,
    /// The letter of a contraction that a character stands for without regard to case, or 0.
    folds: CharTable<u8>,
}

impl Pattern {
    /// The pattern of a regular expression.
    pub fn of(regex: &str) -> Option<Self> {
        match WORD_PATTERNS.iter().position(|&pattern| pattern == regex)? {
            0 => Some(Self::Gpt2),
            1 => Some(Self::Gpt4 { max_digits: 1 }),
            2 => Some(Self::Gpt4 { max_digits: 3 }),
            _ => None,
        }
    }
}

impl Splitter {
    /// # Errors
    /// Where the regex engine refuses an expression; it has no reason to.
    pub fn new(pattern: Pattern) -> Result<Self, String> {
        let regex = |expression: &str| Regex::new(expression).map_err(|error| error.to_string());
        let members = [(Class::Letter, regex(r"\p{L}")?), (Class::Number, regex(r"\p{N}")?), (Class::Blank, regex(r"\s")?)];
        let class = move |character: char| class(&members, character);
        let folds = ["s", "t", "r", "e", "v", "m", "l", "d"].map(|letter| (letter.as_bytes()[0], regex(&format!("(?i:{letter})"))));
        let folds = folds.into_iter().map(|(letter, regex)| Ok((letter, regex?))).collect::<Result<Vec<_>, String>>()?;
        let any = regex("(?i:s|t|r|e|v|m|l|d)")?;
        let fold = move |character: char| {
            let mut buffer = [0; 4];
            let string = &*character.encode_utf8(&mut buffer);
            let matching = || folds.iter().find(|(_, regex)| is_match(regex, string)).map(|&(letter, _)| letter);
            is_match(&any, string).then(matching).flatten().unwrap_or_default()
        };
        Ok(Self {
            pattern,
            ascii: std::array::from_fn(|byte| class(byte as u8 as char)),
            classes: CharTable::new(class),
            folds: CharTable::new(fold),
        })
    }

    /// The class of a character.
    #[inline]
    pub fn class(&self, character: char) -> Class {
        self.classes.get(character)
    }

    /// Where the match that begins at byte `at`, before the end of the text, ends.
    #[inline]
    pub fn match_end(&self, text: &str, at: usize) -> usize {
        match self.pattern {
            Pattern::Gpt2 => self.gpt2(text, at),
            Pattern::Gpt4 { max_digits } => self.gpt4(text, at, max_digits),
        }
    }

    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    fn gpt2(&self, text: &str, at: usize) -> usize {
        let bytes = text.as_bytes();
        if let (b'\'', Some(end)) = (bytes[at], contraction(&bytes[at + 1..])) {
            return at + 1 + end;
        }
        let start = if bytes[at] == b' ' { at + 1 } else { at };
        match self.at(text, start) {
            None => text.len(),
            Some((Class::Blank | Class::Newline, _)) => self.blanks(text, at).0,
            Some((class, end)) => self.run_end(text, end, class),
        }
    }

    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,n}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    fn gpt4(&self, text: &str, at: usize, max_digits: usize) -> usize {
        let Some((class, end)) = self.at(text, at) else { return at };
        let next = match class {
            Class::Letter => return self.run_end(text, end, Class::Letter),
            Class::Number => return self.digits_end(text, end, max_digits),
            Class::Newline => return self.newlines_or_blanks(text, at),
            Class::Blank | Class::Other => self.at(text, end),
        };
        if text.as_bytes()[at] == b'\''
            && let Some(end) = self.any_case_contraction(text, at + 1)
        {
            return end;
        }
        match next {
            Some((Class::Letter, end)) => self.run_end(text, end, Class::Letter),
            Some((Class::Other, end)) if class == Class::Other || text.as_bytes()[at] == b' ' => self.others_end(text, end),
            _ if class == Class::Other => self.run_end(text, end, Class::Newline),
            _ => self.newlines_or_blanks(text, at),
        }
    }

    /// The class of the character at a byte, and where it ends.
    #[inline]
    fn at(&self, text: &str, at: usize) -> Option<(Class, usize)> {
        let &byte = text.as_bytes().get(at)?;
        if byte < 128 {
            return Some((self.ascii[byte as usize], at + 1));
        }
        let character = text[at..].chars().next()?;
        Some((self.classes.get(character), at + character.len_utf8()))
    }

    #[inline]
    fn run_end(&self, text: &str, mut at: usize, class: Class) -> usize {
        while let Some((found, end)) = self.at(text, at)
            && found == class
        {
            at = end;
        }
        at
    }

    fn others_end(&self, text: &str, at: usize) -> usize {
        self.run_end(text, self.run_end(text, at, Class::Other), Class::Newline)
    }

    fn digits_end(&self, text: &str, mut at: usize, max_digits: usize) -> usize {
        for _ in 1..max_digits {
            match self.at(text, at) {
                Some((Class::Number, end)) => at = end,
                _ => break,
            }
        }
        at
    }

    fn newlines_or_blanks(&self, text: &str, at: usize) -> usize {
        let (end, newlines_end) = self.blanks(text, at);
        newlines_end.unwrap_or(end)
    }

    /// For a match of blanks that begins here: where it ends, which is before the last blank where a word follows that one. And where the
    /// last line end among all of them ends.
    fn blanks(&self, text: &str, start: usize) -> (usize, Option<usize>) {
        let (mut at, mut last, mut newlines_end) = (start, start, None);
        loop {
            match self.at(text, at) {
                Some((class @ (Class::Blank | Class::Newline), end)) => {
                    if class == Class::Newline {
                        newlines_end = Some(end);
                    }
                    (last, at) = (at, end);
                }
                Some(_) if last > start => return (last, newlines_end),
                _ => return (at, newlines_end),
            }
        }
    }

    /// Where a contraction in any case ends whose apostrophe ends here.
    fn any_case_contraction(&self, text: &str, at: usize) -> Option<usize> {
        let mut folded = text[at..].chars().map(|character| (self.folds.get(character), character.len_utf8()));
        let (first, first_length) = folded.next()?;
        if let b's' | b't' | b'm' | b'd' = first {
            return Some(at + first_length);
        }
        let (second, second_length) = folded.next()?;
        matches!([first, second], [b'r' | b'v', b'e'] | [b'l', b'l']).then_some(at + first_length + second_length)
    }
}

/// The length of what makes a contraction with an apostrophe before it.
fn contraction(after: &[u8]) -> Option<usize> {
    match after {
        [b's' | b't' | b'm' | b'd', ..] => Some(1),
        [b'r' | b'v', b'e', ..] | [b'l', b'l', ..] => Some(2),
        _ => None,
    }
}

fn class(members: &[(Class, Regex)], character: char) -> Class {
    if matches!(character, '\r' | '\n') {
        return Class::Newline;
    }
    let mut buffer = [0; 4];
    let string = &*character.encode_utf8(&mut buffer);
    members.iter().find(|(_, regex)| is_match(regex, string)).map_or(Class::Other, |&(class, _)| class)
}

fn is_match(regex: &Regex, string: &str) -> bool {
    regex.match_with_options(string, 0, onig::SearchOptions::SEARCH_OPTION_NONE, None).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches_of(pattern: Pattern, text: &str) -> Result<Vec<(usize, usize)>, String> {
        let splitter = Splitter::new(pattern)?;
        let (mut found, mut at) = (Vec::new(), 0);
        while at < text.len() {
            let end = splitter.match_end(text, at);
            found.push((at, end));
            at = end;
        }
        Ok(found)
    }

    fn check(text: &str) -> Result<(), Box<dyn std::error::Error>> {
        for expression in WORD_PATTERNS {
            let expected: Vec<_> = Regex::new(expression)?.find_iter(text).collect();
            let pattern = Pattern::of(expression).ok_or("a pattern is not known")?;
            assert_eq!(matches_of(pattern, text)?, expected, "{pattern:?} {text:?}");
        }
        Ok(())
    }

    #[test]
    fn random_texts_split_as_the_regex_engine_splits_them() -> Result<(), Box<dyn std::error::Error>> {
        let parts: Vec<&str> =
            "a B s T ' ' '' 're 'LL 'Ve 1 12 1234 \u{e9} \u{4e2d} \u{301} \u{17f} \u{212a} \u{b2} \u{2160} ! = - \u{2014} \u{1f600} ' 'd"
                .split(' ')
                .chain([" ", "  ", "   ", "\n", "\r\n", "\t", "\n\n", "\u{a0}", "\u{3000}", "\u{85}", "\u{b}", "\0", "\u{ad}", "\u{2028}"])
                .collect();
        let mut state = 1_u64;
        let mut random = |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % bound
        };
        let text: Vec<String> = (0..400).map(|_| (0..=random(25)).map(|_| parts[random(parts.len())]).collect()).collect();
        text.iter().try_for_each(|text| check(text))
    }

    #[test]
    fn every_character_has_the_class_and_the_case_the_regex_engine_gives_it() -> Result<(), Box<dyn std::error::Error>> {
        let characters = (0..0x3_0000_u32).filter_map(char::from_u32);
        let text: String = characters.flat_map(|character| ['\'', character, 'x', '\'', 'r', character, ' ', character, '!']).collect();
        check(&text)
    }
}
