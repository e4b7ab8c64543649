//! The best segmentation of a text into pieces, as `Unigram::encode_optimized` of `tokenizers` finds it: the same sums in the same order,
//! and of equal ones the first.

use crate::engine::Tokens;
use crate::engine::trie::Trie;

/// What an unknown character costs beyond the worst piece.
const UNKNOWN_PENALTY: f64 = 10.0;

/// Bytes of normalized text that are segmented on the stack.
pub const SHORT_BYTES: usize = 96;

/// No path ends here yet.
const NOWHERE: u32 = u32::MAX;

/// The vocabulary.
#[derive(Debug)]
pub struct Pieces {
    trie: Trie,
    scores: Vec<f64>,
    unknown_id: u32,
    unknown_score: f64,
    longest_bytes: usize,
}

/// The best path that ends at a byte.
#[derive(Debug, Clone, Copy)]
pub struct End {
    score: f64,
    /// Where its last piece starts, or [`NOWHERE`].
    start: u32,
    id: u32,
}

pub const NO_END: End = End { score: 0.0, start: NOWHERE, id: 0 };

impl End {
    /// Where the last piece starts, where a path ends here.
    #[inline]
    pub fn start(&self) -> Option<usize> {
        (self.start != NOWHERE).then_some(self.start as usize)
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    /// The text before byte `n_bytes` is gone; paths begin there.
    pub fn shift(&mut self, n_bytes: usize) {
        self.start = match self.start() {
            Some(start) if start >= n_bytes => (start - n_bytes) as u32,
            _ => NOWHERE,
        };
    }

    #[inline]
    fn offer(&mut self, score: f64, start: usize, id: u32) {
        if self.start == NOWHERE || score > self.score {
            *self = Self { score, start: start as u32, id };
        }
    }
}

impl Pieces {
    /// # Errors
    /// Where there is no unknown piece: then some texts have no tokens.
    pub fn new(vocabulary: &[(&str, f64)], unknown_id: Option<usize>) -> Result<Self, String> {
        let unknown_id = unknown_id.filter(|&id| id < vocabulary.len()).ok_or("its model has no unknown piece")?;
        let trie = Trie::new(vocabulary.iter().zip(0..).map(|((piece, _), id)| (piece.as_bytes(), id)));
        let worst =
            vocabulary.iter().map(|&(_, score)| score).fold(f64::INFINITY, |worst, score| if score < worst { score } else { worst });
        Ok(Self {
            trie,
            scores: vocabulary.iter().map(|&(_, score)| score).collect(),
            unknown_id: unknown_id as u32,
            unknown_score: worst - UNKNOWN_PENALTY,
            longest_bytes: vocabulary.iter().map(|(piece, _)| piece.len()).max().unwrap_or(0).max(4),
        })
    }

    pub fn longest_bytes(&self) -> usize {
        self.longest_bytes
    }

    pub fn is_unknown(&self, id: u32) -> bool {
        id == self.unknown_id
    }

    /// Extends the best path to byte `at` of `text` by every piece that follows, and returns where the next character starts.
    #[inline]
    pub fn extend(&self, text: &[u8], at: usize, ends: &mut [End]) -> usize {
        let (here, next) = (ends[at].score, at + char_bytes(text[at]));
        let mut is_known = false;
        for (n_bytes, id) in self.trie.prefixes(&text[at..]) {
            ends[at + n_bytes].offer(self.scores[id as usize] + here, at, id);
            is_known |= at + n_bytes == next;
        }
        if !is_known {
            ends[next].offer(self.unknown_score + here, at, self.unknown_id);
        }
        next
    }

    /// The id of a run of unknown pieces: that of the piece that reads the same, if there is one.
    pub fn unknown(&self, text: &[u8]) -> u32 {
        self.trie.find(text).and_then(|node| self.trie.value(node)).unwrap_or(self.unknown_id)
    }

    /// Appends the tokens of a text of at most [`SHORT_BYTES`]; `span` says where a range of it came from.
    #[inline]
    pub fn short(&self, text: &[u8], span: impl Fn(usize, usize) -> (u32, u32), tokens: &mut Tokens) {
        let mut ends = [NO_END; SHORT_BYTES + 1];
        let ends = &mut ends[..=text.len()];
        let mut at = 0;
        while at < text.len() {
            at = self.extend(text, at, ends);
        }
        let n_before = tokens.len();
        let mut end = text.len();
        while end > 0 {
            let End { start, mut id, .. } = ends[end];
            let mut start = start as usize;
            if id == self.unknown_id {
                while start > 0 && ends[start].id == self.unknown_id {
                    start = ends[start].start as usize;
                }
                id = self.unknown(&text[start..end]);
            }
            tokens.push(id, span(start, end));
            end = start;
        }
        tokens.ids_mut()[n_before..].reverse();
        tokens.byte_spans_mut()[n_before..].reverse();
    }
}

#[inline]
fn char_bytes(lead: u8) -> usize {
    match lead {
        0..0xc0 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    }
}
