//! All substrings of some words.

use ahash::AHashSet;

/// Longer strings are taken to be substrings: the set stays small, and there are few such entries in a vocabulary.
const MOST_BYTES: usize = 48;

/// The substrings of some words, on character boundaries; a string of over [`MOST_BYTES`] counts as one.
#[derive(Debug)]
pub struct Substrings<'w>(AHashSet<&'w str>);

impl<'w> Substrings<'w> {
    /// Those of `words`.
    pub fn of(words: &'w [String]) -> Self {
        let distinct: AHashSet<&str> = words.iter().map(String::as_str).collect();
        let mut substrings = AHashSet::new();
        for word in distinct {
            let boundaries: Vec<usize> = word.char_indices().map(|(byte, _)| byte).chain([word.len()]).collect();
            for (i, &start) in boundaries.iter().enumerate() {
                let ends = boundaries[i + 1..].iter().take_while(|&&end| end - start <= MOST_BYTES);
                substrings.extend(ends.map(|&end| &word[start..end]));
            }
        }
        Self(substrings)
    }

    /// These, and some other strings.
    pub fn and(mut self, strings: impl Iterator<Item = &'w str>) -> Self {
        self.0.extend(strings);
        self
    }

    /// Is it one?
    pub fn contains(&self, string: &str) -> bool {
        string.len() > MOST_BYTES || self.0.contains(string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_word_is_in_and_nothing_else() {
        let words = ["añb".to_owned(), "xy".to_owned()];
        let substrings = Substrings::of(&words);
        assert!(["a", "ñ", "b", "añ", "ñb", "añb", "x", "y", "xy"].iter().all(|part| substrings.contains(part)));
        assert!(["", "ab", "bx", "yx"].iter().all(|other| !substrings.contains(other)));
    }
}
