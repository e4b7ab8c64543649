//! What is done to a text before it is taken apart: ALBERT and `XLNet` decompose characters and remove their accents, then comes the character
//! map of `SentencePiece`.

use serde_json::Value;
use tokenizers::normalizers::Precompiled;
use unicode_normalization_alignments::UnicodeNormalization;
use unicode_normalization_alignments::char::is_combining_mark;
use unicode_segmentation::UnicodeSegmentation;

use crate::engine::aligned::{Aligned, Span, spans};
use crate::engine::definition::kind;

/// Clusters below this length are looked up whole before their characters are.
const WHOLE_CLUSTER_BYTES: usize = 6;

/// Normalizers, in order, as far as they change characters.
#[derive(Debug, Default)]
pub struct Chain {
    /// Before the map.
    steps: Vec<Step>,
    charsmap: Option<Precompiled>,
}

/// A normalizer of `tokenizers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// `Replace`: two of the first character become one of the second.
    Pair(char, char),
    /// `NFD`.
    Decompose,
    /// `NFKD`.
    DecomposeCompatible,
    StripAccents,
    Lowercase,
}

impl Step {
    /// The step that a normalizer is, where it is one.
    fn of(normalizer: &Value) -> Option<Self> {
        match kind(normalizer) {
            "NFD" => Some(Self::Decompose),
            "NFKD" => Some(Self::DecomposeCompatible),
            "StripAccents" => Some(Self::StripAccents),
            "Lowercase" => Some(Self::Lowercase),
            "Replace" => {
                let only = |text: &str| text.chars().next().filter(|character| text.len() == character.len_utf8());
                let pattern = normalizer["pattern"]["String"].as_str()?;
                let (first, second) = pattern.split_at_checked(1)?;
                let of = only(first).filter(|character| first == second && character.is_ascii_punctuation())?;
                let to = normalizer["content"].as_str().and_then(only).filter(char::is_ascii_punctuation)?;
                Some(Self::Pair(of, to))
            }
            _ => None,
        }
    }

    fn apply(self, characters: Vec<(char, Span)>) -> Vec<(char, Span)> {
        let plain = characters.iter().map(|&(character, _)| character);
        match self {
            // Most texts have no pair: then nothing is copied.
            Self::Pair(of, _) if !characters.windows(2).any(|pair| pair[0].0 == of && pair[1].0 == of) => characters,
            Self::Pair(of, to) => joined(&characters, of, to),
            Self::Decompose => moved(&characters, plain.nfd()),
            Self::DecomposeCompatible => moved(&characters, plain.nfkd()),
            Self::StripAccents => characters.into_iter().filter(|&(character, _)| !is_combining_mark(character)).collect(),
            Self::Lowercase => {
                characters.into_iter().flat_map(|(character, span)| character.to_lowercase().map(move |lower| (lower, span))).collect()
            }
        }
    }
}

/// Two of `of` become one of `to`, which stands for the second.
fn joined(characters: &[(char, Span)], of: char, to: char) -> Vec<(char, Span)> {
    let mut joined = Vec::with_capacity(characters.len());
    let mut rest = characters;
    loop {
        rest = match *rest {
            [(first, _), (second, span), ref others @ ..] if first == of && second == of => {
                joined.push((to, span));
                others
            }
            [other, ref others @ ..] => {
                joined.push(other);
                others
            }
            [] => return joined,
        };
    }
}

/// Decomposed characters, each with the number of characters it adds. As in `NormalizedString::transform`, they use those before them up
/// in order, marks that change places too, and one that is added stands for the same as the one before it.
fn moved(characters: &[(char, Span)], decomposed: impl Iterator<Item = (char, isize)>) -> Vec<(char, Span)> {
    let mut spans = characters.iter().map(|&(_, span)| span);
    let mut last = (0, 0);
    decomposed
        .map(|(character, n_added)| {
            if n_added <= 0 {
                last = spans.next().unwrap_or(last);
            }
            (character, last)
        })
        .collect()
}

impl Chain {
    /// Puts a normalizer at the end. False where it cannot stand there, or is not known here.
    ///
    /// # Errors
    /// Where a character map cannot be read.
    pub fn push(&mut self, normalizer: &Value) -> Result<bool, String> {
        if self.charsmap.is_some() {
            return Ok(false);
        }
        if kind(normalizer) == "Precompiled" {
            let charsmap: Precompiled =
                serde::Deserialize::deserialize(normalizer).map_err(|error: serde_json::Error| error.to_string())?;
            self.charsmap = Some(charsmap);
            return Ok(true);
        }
        // Pairs are looked for in the text as it is; what other steps make would be another matter.
        let leaves = |step: &Step, of: char| matches!(*step, Step::Pair(_, to) if to != of);
        let fits = |step: &Step| !matches!(*step, Step::Pair(of, _) if !self.steps.iter().all(|before| leaves(before, of)));
        let step = Step::of(normalizer).filter(fits);
        self.steps.extend(step);
        Ok(step.is_some())
    }

    pub fn is_empty(&self) -> bool {
        !self.has_steps() && !self.has_map()
    }

    /// Is there anything before the map?
    pub fn has_steps(&self) -> bool {
        !self.steps.is_empty()
    }

    pub fn has_map(&self) -> bool {
        self.charsmap.is_some()
    }

    /// Does a text hold two characters that become one? Everything else depends on single characters and the marks after them.
    pub fn has_pair(&self, text: &[u8]) -> bool {
        self.steps.iter().any(|step| matches!(*step, Step::Pair(of, _) if text.windows(2).any(|pair| pair == [of as u8; 2])))
    }

    /// What the map makes of a cluster or a character, where it changes it.
    pub fn map(&self, text: &str) -> Option<&str> {
        self.charsmap.as_ref()?.transform(text)
    }

    /// What the map makes of a whole cluster.
    pub fn map_cluster(&self, cluster: &str) -> Option<&str> {
        if cluster.len() < WHOLE_CLUSTER_BYTES { self.map(cluster) } else { None }
    }

    /// The word before the map.
    pub fn before_map(&self, word: &str) -> Aligned {
        let characters = word.chars().zip(spans(word)).collect();
        self.steps.iter().fold(characters, |characters, step| step.apply(characters)).into_iter().collect()
    }

    /// The text before the map, without what its characters stand for.
    pub fn text_before_map(&self, text: &str) -> String {
        if self.has_steps() { self.before_map(text).text } else { text.to_owned() }
    }

    /// The text after all.
    pub fn normal(&self, text: &str) -> String {
        let before_map = self.text_before_map(text);
        let mut normal = String::with_capacity(before_map.len());
        for cluster in before_map.graphemes(true) {
            match self.map_cluster(cluster) {
                Some(whole) => normal.push_str(whole),
                None => each_character(cluster, |_, part| normal.push_str(self.map(part).unwrap_or(part))),
            }
        }
        normal
    }
}

/// Calls back with every character of a text, also as a part of it.
pub fn each_character(text: &str, mut each: impl FnMut(char, &str)) {
    text.char_indices().for_each(|(at, character)| each(character, &text[at..at + character.len_utf8()]));
}
