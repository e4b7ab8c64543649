//! Lays the nodes of a trie out.
//!
//! Bases are only looked for among the newest blocks: the array has some gaps, and a quarter of a million keys take some tens of
//! milliseconds, for a tokenizer has to load at once. For the same reason the bytes of the sorted keys are copied one after the other.

use std::ops::Range;

use super::NONE;

/// In place of the byte that leads to a place: it is free.
const FREE: u16 = u16::MAX;

/// Places that differ in their last byte only.
const BLOCK_PLACES: usize = 256;

/// Newest blocks that are searched for places.
const OPEN_BLOCKS: usize = 8;

/// Bases that are tried for a node before it gets a new block.
const MOST_ATTEMPTS: usize = 64;

/// Set in a base: only one key goes on from here, and the rest of it stands in [`Tails`].
pub const TAIL: u32 = 1 << 31;

/// A node.
#[derive(Debug, Clone, Copy)]
pub struct Unit {
    /// Where the children lie, block 0, which is free, where there are none; or, with [`TAIL`], a place in [`Tails`].
    pub base: u32,
    /// Of the key that ends here, or in the tail, or [`NONE`].
    pub value: u32,
}

/// Does the rest of a key that shares it with no other get nodes?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Every byte of every key has a node.
    Whole,
    /// The rest is a tail: half of all nodes of a vocabulary are such.
    Tailed,
}

/// All nodes, and what leads to them.
#[derive(Debug, Default)]
pub struct Nodes {
    /// The byte that leads to each place, or one that no byte is.
    pub labels: Vec<u16>,
    /// As many.
    pub units: Vec<Unit>,
    /// None where the layout is [`Layout::Whole`].
    pub tails: Tails,
}

/// Rests of keys: the first byte of each lies in its reference, the others here after their number.
#[derive(Debug)]
pub struct Tails(Vec<u8>);

/// Keys in ascending order; of equal ones the last counts.
struct Sorted {
    bytes: Vec<u8>,
    /// Start of each in `bytes`, and the end of the last.
    starts: Vec<u32>,
    values: Vec<u32>,
}

/// A trie that still grows.
struct Builder {
    nodes: Nodes,
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

impl Default for Tails {
    /// None; those of one byte share a place.
    fn default() -> Self {
        Self(vec![0])
    }
}

impl Tails {
    /// Keeps a tail and returns what refers to it; nothing where it is too long, or there are too many.
    fn add(&mut self, tail: &[u8]) -> Option<u32> {
        let (&first, others) = tail.split_first()?;
        let n_others = u8::try_from(others.len()).ok()?;
        if others.is_empty() {
            return Some(TAIL | u32::from(first));
        }
        let at = u32::try_from(self.0.len()).ok().filter(|at| at >> 23 == 0)?;
        self.0.push(n_others);
        self.0.extend_from_slice(others);
        Some(TAIL | at << 8 | u32::from(first))
    }

    /// The bytes of the tail, where `text` starts with it.
    #[inline]
    pub fn length(&self, reference: u32, text: &[u8]) -> Option<usize> {
        let (&first, rest) = text.split_first()?;
        if u32::from(first) != reference & 255 {
            return None;
        }
        let (&n_others, others) = self.0.get(((reference & !TAIL) >> 8) as usize..)?.split_first()?;
        let n_others = n_others as usize;
        (rest.get(..n_others)? == others.get(..n_others)?).then_some(1 + n_others)
    }
}

impl Sorted {
    fn new(keys: &[(&[u8], u32)]) -> Self {
        let mut order: Vec<(u128, u32)> = keys.iter().zip(0..).map(|((key, _), at)| (beginning(key), at)).collect();
        // By the numbers alone, which goes without a branch, and then the few that share one.
        order.sort_unstable_by_key(|&(beginning, _)| beginning);
        for equal in order.chunk_by_mut(|a, b| a.0 == b.0) {
            equal.sort_unstable_by_key(|&(_, at)| (keys[at as usize].0, at));
        }
        let mut sorted = Self { bytes: Vec::new(), starts: vec![0], values: Vec::with_capacity(keys.len()) };
        sorted.bytes.reserve(keys.iter().map(|(key, _)| key.len()).sum());
        for (key, value) in order.into_iter().map(|(_, at)| keys[at as usize]) {
            sorted.bytes.extend_from_slice(key);
            sorted.starts.push(sorted.bytes.len() as u32);
            sorted.values.push(value);
        }
        sorted
    }

    fn n_bytes(&self, key: usize) -> usize {
        (self.starts[key + 1] - self.starts[key]) as usize
    }

    fn byte(&self, key: usize, at: usize) -> u8 {
        self.bytes[self.starts[key] as usize + at]
    }

    /// The rest of a key from some byte on.
    fn rest(&self, key: usize, at: usize) -> &[u8] {
        &self.bytes[self.starts[key] as usize + at..self.starts[key + 1] as usize]
    }
}

impl Nodes {
    /// Of equal keys the last one counts.
    pub fn new(keys: Vec<(&[u8], u32)>, layout: Layout) -> Self {
        let sorted = Sorted::new(&keys);
        let n_keys = keys.len();
        drop(keys);
        let mut builder = Builder { nodes: Self::default(), is_base: Vec::new(), free: Vec::new(), n_free: Vec::new() };
        builder.add_block();
        builder.n_free[0] = 0; // the root lies here and nothing else ever
        let mut pending = vec![Pending { keys: 0..n_keys, n_bytes: 0, node: 0 }];
        let mut children = Vec::new();
        while let Some(Pending { mut keys, n_bytes, node }) = pending.pop() {
            while keys.start < keys.end && sorted.n_bytes(keys.start) == n_bytes {
                builder.nodes.units[node].value = sorted.values[keys.start];
                keys.start += 1;
            }
            if keys.is_empty() || layout == Layout::Tailed && builder.add_tail(&sorted, &keys, n_bytes, node) {
                continue;
            }
            sorted.children(keys, n_bytes, &mut children);
            let base = builder.place(node, &children);
            let below = children.iter().map(|(label, keys)| (base ^ *label as usize, keys.clone()));
            pending.extend(below.map(|(node, keys)| Pending { keys, n_bytes: n_bytes + 1, node }));
        }
        builder.nodes
    }
}

impl Sorted {
    /// Groups keys by one of their bytes.
    fn children(&self, keys: Range<usize>, at: usize, children: &mut Vec<(u8, Range<usize>)>) {
        children.clear();
        for key in keys {
            let label = self.byte(key, at);
            match children.last_mut() {
                Some((last, keys)) if *last == label => keys.end = key + 1,
                _ => children.push((label, key..key + 1)),
            }
        }
    }
}

impl Builder {
    /// Makes the rest of a key that nobody shares a tail of its node.
    fn add_tail(&mut self, sorted: &Sorted, keys: &Range<usize>, n_bytes: usize, node: usize) -> bool {
        let unit = &mut self.nodes.units[node];
        if keys.len() != 1 || unit.value != NONE || node == 0 {
            return false;
        }
        let Some(reference) = self.nodes.tails.add(sorted.rest(keys.start, n_bytes)) else { return false };
        *unit = Unit { base: reference, value: sorted.values[keys.start] };
        true
    }

    fn add_block(&mut self) {
        let n_places = self.nodes.labels.len() + BLOCK_PLACES;
        self.nodes.labels.resize(n_places, FREE);
        self.nodes.units.resize(n_places, Unit { base: 0, value: NONE });
        self.is_base.resize(n_places, false);
        self.free.push([u64::MAX; BLOCK_PLACES / 64]);
        self.n_free.push(BLOCK_PLACES);
    }

    /// Gives a node children, and returns its base.
    fn place(&mut self, node: usize, children: &[(u8, Range<usize>)]) -> usize {
        let base = self.free_base(children).unwrap_or_else(|| {
            self.add_block();
            self.nodes.labels.len() - BLOCK_PLACES
        });
        self.nodes.units[node].base = base as u32;
        self.is_base[base] = true;
        self.n_free[base / BLOCK_PLACES] -= children.len();
        for &(label, _) in children {
            let place = base ^ label as usize;
            self.nodes.labels[place] = u16::from(label);
            self.free[place / BLOCK_PLACES][place % BLOCK_PLACES / 64] &= !(1 << (place % 64));
        }
        base
    }

    fn free_base(&self, children: &[(u8, Range<usize>)]) -> Option<usize> {
        let first = children.first()?.0 as usize;
        let blocks = self.n_free.len().saturating_sub(OPEN_BLOCKS)..self.n_free.len();
        let blocks = blocks.filter(|&block| self.n_free[block] >= children.len());
        let places = blocks.flat_map(|block| self.free_places(block));
        let is_free = |place: usize| self.nodes.labels[place] == FREE;
        let fits = |&base: &usize| !self.is_base[base] && children.iter().all(|&(label, _)| is_free(base ^ label as usize));
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

/// The first sixteen bytes of a key as a number that sorts as they do.
fn beginning(key: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    let n_bytes = key.len().min(16);
    bytes[..n_bytes].copy_from_slice(&key[..n_bytes]);
    u128::from_be_bytes(bytes)
}
