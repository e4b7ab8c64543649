//! The vocabulary, as it is walked: a trie whose nodes have scores, all that a step needs in one place.

use bytemuck::{Pod, Zeroable};

use crate::engine::metaspace::MARKER;
use crate::engine::trie::{self, Layout, Nodes, TAIL, Tails};
use crate::memory::Buffer;

/// What an unknown character costs beyond the worst piece.
const UNKNOWN_PENALTY: f64 = 10.0;

/// Scores are far from where sums of them could overflow.
const LARGEST_SCORE: f64 = 1e100;

/// Bits of a label: the byte that leads to a node, or one that no byte is.
const LABEL_BITS: u32 = 9;

/// In place of an id: no piece ends here.
const NO_ID: u32 = u32::MAX >> LABEL_BITS;

/// A node: a quarter of a cache line, so a step costs one miss.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
pub struct Unit {
    /// Where the children lie, or, with [`TAIL`], the rest of the only piece that goes on from here.
    base: u32,
    /// Id and label.
    tag: u32,
    /// Of the piece that ends here, or in the tail; below all scores where there is none.
    pub score: f64,
}

/// A place in a walk: the children of the node reached.
#[derive(Debug, Clone, Copy)]
pub struct Walk(u32);

/// The vocabulary.
#[derive(Debug)]
pub struct Pieces {
    units: Buffer<Unit>,
    tails: Tails,
    root: Walk,
    /// The node of the marker.
    pub marker: Unit,
    pub unknown_id: u32,
    pub unknown_score: f64,
    longest_bytes: usize,
}

impl Unit {
    fn new(node: trie::Unit, label: u16, scores: &[f64]) -> Self {
        let (id, score) = match scores.get(node.value as usize) {
            Some(&score) => (node.value, score),
            None => (NO_ID, f64::NEG_INFINITY),
        };
        Self { base: node.base, tag: id << LABEL_BITS | u32::from(label) & ((1 << LABEL_BITS) - 1), score }
    }

    #[inline]
    pub fn id(&self) -> u32 {
        self.tag >> LABEL_BITS
    }

    /// Does a piece end here?
    #[inline]
    pub fn is_piece(&self) -> bool {
        self.score > f64::NEG_INFINITY && !self.is_tailed()
    }

    #[inline]
    pub fn is_tailed(&self) -> bool {
        self.base & TAIL != 0
    }

    /// On from here; only where it is not tailed.
    #[inline]
    pub fn walk(&self) -> Walk {
        Walk(self.base)
    }
}

impl Pieces {
    /// # Errors
    /// Where there is no unknown piece, for then some texts have no tokens, or there are numbers beyond those that are expected.
    pub fn new(vocabulary: &[(&str, f64)], unknown_id: Option<usize>) -> Result<Self, String> {
        let unknown_id = unknown_id.filter(|&id| id < vocabulary.len()).ok_or("its model has no unknown piece")?;
        if vocabulary.len() >= NO_ID as usize || vocabulary.iter().any(|(_, score)| score.abs() > LARGEST_SCORE) {
            return Err("its vocabulary is too large, or a score in it".into());
        }
        // The marker has a node in any case.
        let mut bytes = [0; 4];
        let marker = MARKER.encode_utf8(&mut bytes).as_bytes();
        let ids = vocabulary.iter().zip(0..).map(|((piece, _), id)| (piece.as_bytes(), id));
        let nodes = Nodes::new([(marker, trie::NONE); 2].into_iter().chain(ids).collect(), Layout::Tailed);
        let scores: Vec<f64> = vocabulary.iter().map(|&(_, score)| score).collect();
        let units: Vec<Unit> = nodes.units.iter().zip(&nodes.labels).map(|(&node, &label)| Unit::new(node, label, &scores)).collect();
        let mut pieces = Self {
            root: Walk(units[0].base),
            marker: units[0],
            units: Buffer::copied(&units),
            tails: nodes.tails,
            unknown_id: unknown_id as u32,
            unknown_score: scores.iter().fold(f64::INFINITY, |worst, &score| if score < worst { score } else { worst }) - UNKNOWN_PENALTY,
            longest_bytes: vocabulary.iter().map(|(piece, _)| piece.len()).max().unwrap_or(0).max(4),
        };
        pieces.marker = pieces.find(marker).ok_or("the marker has no node")?;
        Ok(pieces)
    }

    pub fn longest_bytes(&self) -> usize {
        self.longest_bytes
    }

    pub fn is_unknown(&self, id: u32) -> bool {
        id == self.unknown_id
    }

    /// Where walks begin.
    #[inline]
    pub fn root(&self) -> Walk {
        self.root
    }

    /// The node one byte further.
    #[inline]
    pub fn step(&self, walk: Walk, byte: u8) -> Option<&Unit> {
        self.units.get((walk.0 ^ u32::from(byte)) as usize).filter(|unit| unit.tag & ((1 << LABEL_BITS) - 1) == u32::from(byte))
    }

    /// The bytes that the tail of a node takes of a text, if the text goes on so.
    #[inline]
    pub fn tail(&self, unit: &Unit, text: &[u8]) -> Option<usize> {
        self.tails.length(unit.base, text)
    }

    /// The node of a string that is not empty, where it has one.
    fn find(&self, string: &[u8]) -> Option<Unit> {
        let mut walk = self.root;
        let mut found = None;
        for &byte in string {
            let unit = *self.step(walk, byte)?;
            if unit.is_tailed() {
                return None;
            }
            walk = unit.walk();
            found = Some(unit);
        }
        found
    }

    /// The id of a run of unknown pieces: that of the piece that reads the same, if there is one.
    pub fn unknown(&self, text: &[u8]) -> u32 {
        self.id(text).unwrap_or(self.unknown_id)
    }

    fn id(&self, text: &[u8]) -> Option<u32> {
        self.piece(text).map(Unit::id)
    }

    /// Is it a piece?
    pub fn has(&self, text: &[u8]) -> bool {
        self.piece(text).is_some()
    }

    /// The score of a piece that is not the unknown one.
    pub fn known_score(&self, text: &[u8]) -> Option<f64> {
        self.piece(text).filter(|unit| !self.is_unknown(unit.id())).map(|unit| unit.score)
    }

    fn piece(&self, text: &[u8]) -> Option<&Unit> {
        let mut walk = self.root;
        for (i, &byte) in text.iter().enumerate() {
            let unit = self.step(walk, byte)?;
            let rest = &text[i + 1..];
            if unit.is_tailed() {
                return self.tail(unit, rest).filter(|&n_bytes| n_bytes == rest.len()).map(|_| unit);
            }
            if rest.is_empty() {
                return unit.is_piece().then_some(unit);
            }
            walk = unit.walk();
        }
        None
    }
}
