//! A static trie over byte strings: the longest entry that a text starts with, in one walk.
//!
//! Built in one pass over sorted keys, breadth first, so that the children of a node lie side by side: a quarter of a million keys take some
//! tens of milliseconds. A double array looks up in fewer steps but takes several times as long to build, and a tokenizer has to load
//! at once.

/// No value.
const NONE: u32 = u32::MAX;

/// Children up to which a linear search beats a binary one.
const LINEAR_CHILDREN: usize = 8;

/// A place in the trie: the node of a prefix of some key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node(u32);

/// A map from byte strings to `u32`, walked byte by byte.
#[derive(Debug, Default)]
pub struct Trie {
    /// First child of every node; one entry more than there are nodes.
    first_child: Vec<u32>,
    /// The byte that leads to each node.
    labels: Vec<u8>,
    /// The value of the key that ends at each node, or [`NONE`].
    values: Vec<u32>,
    /// Children of the root by byte, or [`NONE`]: most walks end here, and it has the most children.
    from_root: Vec<u32>,
}

impl Trie {
    /// Values are below `u32::MAX`; of equal keys the last one counts.
    pub fn new<'k>(keys: impl IntoIterator<Item = (&'k [u8], u32)>) -> Self {
        let mut keys: Vec<(&[u8], u32)> = keys.into_iter().collect();
        keys.sort_by(|a, b| a.0.cmp(b.0)); // stable, so that the last of equal keys stays last
        let mut trie = Self { labels: vec![0], values: vec![NONE], from_root: vec![NONE; 256], ..Self::default() };
        // The keys below each node, in the order of the nodes, and how many of their bytes lead there.
        let mut pending = std::collections::VecDeque::from([(0..keys.len(), 0)]);
        let mut node = 0;
        while let Some((mut range, depth)) = pending.pop_front() {
            trie.first_child.push(trie.labels.len() as u32);
            while range.start < range.end && keys[range.start].0.len() == depth {
                trie.values[node] = keys[range.start].1;
                range.start += 1;
            }
            while range.start < range.end {
                let label = keys[range.start].0[depth];
                let n_same = keys[range.clone()].iter().take_while(|(key, _)| key[depth] == label).count();
                pending.push_back((range.start..range.start + n_same, depth + 1));
                trie.labels.push(label);
                trie.values.push(NONE);
                range.start += n_same;
            }
            node += 1;
        }
        trie.first_child.push(trie.labels.len() as u32);
        for child in trie.children(Self::ROOT) {
            trie.from_root[trie.labels[child] as usize] = child as u32;
        }
        trie
    }

    /// The node of the empty string.
    pub const ROOT: Node = Node(0);

    fn children(&self, node: Node) -> std::ops::Range<usize> {
        self.first_child[node.0 as usize] as usize..self.first_child[node.0 as usize + 1] as usize
    }

    /// The node one byte further.
    #[inline]
    pub fn step(&self, node: Node, byte: u8) -> Option<Node> {
        if node == Self::ROOT {
            let child = self.from_root[byte as usize];
            return (child != NONE).then_some(Node(child));
        }
        let children = self.children(node);
        let labels = &self.labels[children.clone()];
        let at = if labels.len() <= LINEAR_CHILDREN {
            labels.iter().position(|&label| label == byte)?
        } else {
            labels.binary_search(&byte).ok()?
        };
        Some(Node((children.start + at) as u32))
    }

    /// The value of the key that ends here.
    #[inline]
    pub fn value(&self, node: Node) -> Option<u32> {
        let value = self.values[node.0 as usize];
        (value != NONE).then_some(value)
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
