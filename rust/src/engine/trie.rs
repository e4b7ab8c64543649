//! A static trie over byte strings: the longest entry that a text starts with, in one walk.
//!
//! A double array: the child of a node by some byte lies at the node's base, exclusive-or that byte, and is the node's own if the byte is
//! written there. So a step is one look at a small array where it fails and one more where it does not. Bases are only looked for among
//! the newest blocks: the array has some gaps, and a quarter of a million keys take some tens of milliseconds, for a tokenizer has to load
//! at once.

use std::collections::VecDeque;
use std::ops::Range;

/// No value.
const NONE: u32 = u32::MAX;

/// In place of the byte that leads to a place: it is free.
const FREE: u16 = u16::MAX;

/// Places that differ in their last byte only.
const BLOCK_PLACES: usize = 256;

/// Newest blocks that are searched for places.
const OPEN_BLOCKS: usize = 8;

/// Bases that are tried for a node before it gets a new block.
const MOST_ATTEMPTS: usize = 64;

/// A place in the trie: the node of a prefix of some key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node(u32);

#[derive(Debug, Clone, Copy)]
struct Unit {
    /// Where the children lie; block 0, which is free, where there are none.
    base: u32,
    /// Of the key that ends here, or [`NONE`].
    value: u32,
}

/// A map from byte strings to `u32`, walked byte by byte.
#[derive(Debug, Default)]
pub struct Trie {
    /// The byte that leads to each place, or [`FREE`].
    labels: Vec<u16>,
    units: Vec<Unit>,
}

/// A trie that still grows.
struct Builder {
    trie: Trie,
    /// Bases that are taken: two nodes with the same one would share children.
    is_base: Vec<bool>,
    /// Of each block, which places are free, a bit each, and how many.
    free: Vec<[u64; BLOCK_PLACES / 64]>,
    n_free: Vec<usize>,
}

/// Keys with the same beginning, and the node of that.
struct Pending {
    keys: Range<usize>,
    n_bytes: usize,
    node: usize,
}

impl Trie {
    /// Values are below `u32::MAX`; of equal keys the last one counts.
    pub fn new<'k>(keys: impl IntoIterator<Item = (&'k [u8], u32)>) -> Self {
        let mut keys: Vec<(u64, &[u8], u32)> = keys.into_iter().map(|(key, value)| (beginning(key), key, value)).collect();
        // Stable, so that the last of equal keys stays last; nearly all comparisons end at the numbers.
        keys.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.cmp(b.1)));
        let mut builder = Builder { trie: Self::default(), is_base: Vec::new(), free: Vec::new(), n_free: Vec::new() };
        builder.add_block();
        builder.n_free[0] = 0; // the root lies here and nothing else ever
        let mut pending = VecDeque::from([Pending { keys: 0..keys.len(), n_bytes: 0, node: 0 }]);
        let mut labels = Vec::new();
        while let Some(Pending { keys: mut range, n_bytes, node }) = pending.pop_front() {
            while range.start < range.end && keys[range.start].1.len() == n_bytes {
                builder.trie.units[node].value = keys[range.start].2;
                range.start += 1;
            }
            if range.is_empty() {
                continue;
            }
            labels.clear();
            for (_, key, _) in &keys[range.clone()] {
                if labels.last() != Some(&key[n_bytes]) {
                    labels.push(key[n_bytes]);
                }
            }
            let base = builder.place(node, &labels);
            for &label in &labels {
                let n_same = keys[range.clone()].iter().take_while(|(_, key, _)| key[n_bytes] == label).count();
                let keys = range.start..range.start + n_same;
                pending.push_back(Pending { keys, n_bytes: n_bytes + 1, node: base ^ label as usize });
                range.start += n_same;
            }
        }
        builder.trie
    }

    /// The node of the empty string.
    pub const ROOT: Node = Node(0);

    /// The node one byte further.
    #[inline]
    pub fn step(&self, node: Node, byte: u8) -> Option<Node> {
        let place = self.units.get(node.0 as usize)?.base ^ u32::from(byte);
        (*self.labels.get(place as usize)? == u16::from(byte)).then_some(Node(place))
    }

    /// The value of the key that ends here.
    #[inline]
    pub fn value(&self, node: Node) -> Option<u32> {
        self.units.get(node.0 as usize).map(|unit| unit.value).filter(|&value| value != NONE)
    }

    /// Every key that `bytes` starts with, shortest first, as its length and value.
    #[inline]
    pub fn prefixes<'t>(&'t self, bytes: &'t [u8]) -> impl Iterator<Item = (usize, u32)> + 't {
        self.prefixes_from(Self::ROOT, bytes)
    }

    /// As [`Trie::prefixes`], for keys that start with the string of `node`; lengths count from there.
    #[inline]
    pub fn prefixes_from<'t>(&'t self, node: Node, bytes: &'t [u8]) -> impl Iterator<Item = (usize, u32)> + 't {
        let walk = bytes.iter().enumerate().scan(node, |node, (at, &byte)| {
            *node = self.step(*node, byte)?;
            Some((at + 1, self.value(*node)))
        });
        walk.filter_map(|(length, value)| value.map(|value| (length, value)))
    }

    /// The node of a string, where some key starts with it.
    pub fn find(&self, string: &[u8]) -> Option<Node> {
        string.iter().try_fold(Self::ROOT, |node, &byte| self.step(node, byte))
    }
}

impl Builder {
    fn add_block(&mut self) {
        let n_places = self.trie.labels.len() + BLOCK_PLACES;
        self.trie.labels.resize(n_places, FREE);
        self.trie.units.resize(n_places, Unit { base: 0, value: NONE });
        self.is_base.resize(n_places, false);
        self.free.push([u64::MAX; BLOCK_PLACES / 64]);
        self.n_free.push(BLOCK_PLACES);
    }

    /// Gives a node children by these bytes, and returns its base.
    fn place(&mut self, node: usize, labels: &[u8]) -> usize {
        let base = self.free_base(labels).unwrap_or_else(|| {
            self.add_block();
            self.trie.labels.len() - BLOCK_PLACES
        });
        self.trie.units[node].base = base as u32;
        self.is_base[base] = true;
        self.n_free[base / BLOCK_PLACES] -= labels.len();
        for &label in labels {
            let place = base ^ label as usize;
            self.trie.labels[place] = u16::from(label);
            self.free[place / BLOCK_PLACES][place % BLOCK_PLACES / 64] &= !(1 << (place % 64));
        }
        base
    }

    fn free_base(&self, labels: &[u8]) -> Option<usize> {
        let first = *labels.first()? as usize;
        let blocks = self.n_free.len().saturating_sub(OPEN_BLOCKS)..self.n_free.len();
        let blocks = blocks.filter(|&block| self.n_free[block] >= labels.len());
        let places = blocks.flat_map(|block| self.free_places(block));
        let fits = |&base: &usize| !self.is_base[base] && labels.iter().all(|&label| self.trie.labels[base ^ label as usize] == FREE);
        places.map(|place| place ^ first).take(MOST_ATTEMPTS).find(fits)
    }

    /// The free places of a block, ascending.
    fn free_places(&self, block: usize) -> impl Iterator<Item = usize> + '_ {
        self.free[block].iter().enumerate().flat_map(move |(i, &word)| {
            let next = |&rest: &u64| Some(rest & rest.wrapping_sub(1)); // without its lowest bit
            let bits = std::iter::successors(Some(word), next).take_while(|&rest| rest != 0);
            bits.map(move |rest| block * BLOCK_PLACES + 64 * i + rest.trailing_zeros() as usize)
        })
    }
}

/// The first eight bytes of a key as a number that sorts as they do.
fn beginning(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let n_bytes = key.len().min(8);
    bytes[..n_bytes].copy_from_slice(&key[..n_bytes]);
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_the_keys_a_text_starts_with() {
        let keys: [&[u8]; 6] = [b"a", b"ab", b"abcd", b"b", b"", b"\xff\x00"];
        let trie = Trie::new(keys.iter().zip(0..).map(|(&key, value)| (key, value)));
        assert_eq!(trie.prefixes(b"abcx").collect::<Vec<_>>(), [(1, 0), (2, 1)]);
        assert_eq!(trie.prefixes(b"abcd").collect::<Vec<_>>(), [(1, 0), (2, 1), (4, 2)]);
        assert_eq!(trie.prefixes(b"\xff\x00!").collect::<Vec<_>>(), [(2, 5)]);
        assert_eq!(trie.prefixes(b"x").count(), 0);
        assert_eq!(trie.value(Trie::ROOT), Some(4));
    }

    #[test]
    fn every_key_is_found_and_nothing_else() {
        let keys: Vec<String> = (0..5000_u32).map(|i| format!("{:x}", i.wrapping_mul(2_654_435_761))).collect();
        let trie = Trie::new(keys.iter().zip(0..).map(|(key, value)| (key.as_bytes(), value)));
        for (key, value) in keys.iter().zip(0..) {
            assert_eq!(trie.find(key.as_bytes()).and_then(|node| trie.value(node)), Some(value));
        }
        assert_eq!(trie.find(b"no such key"), None);
    }

    #[test]
    fn an_empty_trie_has_no_prefixes() {
        assert_eq!(Trie::new([]).prefixes(b"abc").count(), 0);
    }

    #[test]
    fn of_equal_keys_the_last_counts() {
        let trie = Trie::new([(b"a".as_slice(), 1), (b"a".as_slice(), 2)]);
        assert_eq!(trie.prefixes(b"a").collect::<Vec<_>>(), [(1, 2)]);
    }
}
