//! A static trie over byte strings: the longest entry that a text starts with, in one walk.
//!
//! A double array: the child of a node by some byte lies at the node's base, exclusive-or that byte, and is the node's own if the byte is
//! written there. So a step is one look at a small array where it fails and one more where it does not.

mod build;

pub use build::{Layout, Nodes, TAIL, Tails, Unit};

/// No value.
pub const NONE: u32 = u32::MAX;

/// A place in the trie: the node of a prefix of some key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node(u32);

/// A map from byte strings to `u32`, walked byte by byte.
#[derive(Debug, Default)]
pub struct Trie {
    /// The byte that leads to each place, or one that no byte is.
    labels: Vec<u16>,
    units: Vec<Unit>,
}

impl Trie {
    /// Values are below `u32::MAX`; of equal keys the last one counts.
    pub fn new<'k>(keys: impl IntoIterator<Item = (&'k [u8], u32)>) -> Self {
        let Nodes { labels, units, .. } = Nodes::new(keys.into_iter().collect(), Layout::Whole);
        Self { labels, units }
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

    /// Every key that starts with the string of `node` and goes on as `bytes` do, shortest first, as its length from there and value.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_the_keys_a_text_starts_with() {
        let keys: [&[u8]; 6] = [b"a", b"ab", b"abcd", b"b", b"", b"\xff\x00"];
        let trie = Trie::new(keys.iter().zip(0..).map(|(&key, value)| (key, value)));
        assert_eq!(trie.prefixes_from(Trie::ROOT, b"abcx").collect::<Vec<_>>(), [(1, 0), (2, 1)]);
        assert_eq!(trie.prefixes_from(Trie::ROOT, b"abcd").collect::<Vec<_>>(), [(1, 0), (2, 1), (4, 2)]);
        assert_eq!(trie.prefixes_from(Trie::ROOT, b"\xff\x00!").collect::<Vec<_>>(), [(2, 5)]);
        assert_eq!(trie.prefixes_from(Trie::ROOT, b"x").count(), 0);
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
        assert_eq!(Trie::new([]).prefixes_from(Trie::ROOT, b"abc").count(), 0);
    }

    #[test]
    fn of_equal_keys_the_last_counts() {
        let trie = Trie::new([(b"a".as_slice(), 1), (b"a".as_slice(), 2)]);
        assert_eq!(trie.prefixes_from(Trie::ROOT, b"a").collect::<Vec<_>>(), [(1, 2)]);
    }
}
