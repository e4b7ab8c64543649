//! Byte-pair encoding for any merges: as `Word::merge_all` of `tokenizers`, with a queue of all pairs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::pairs::{FIRST_MERGE, NONE, Pairs};

/// The tokens of a word by the byte they start at, and how long they are: at the first byte, for the next, and at the last byte, for the
/// one before.
#[derive(Debug)]
pub struct Symbols {
    tokens: Vec<u32>,
    lengths: Vec<u32>,
}

/// Merges a word; `made` has the number of what each merge makes. Stale entries of the queue count as they do in `tokenizers`: one that
/// would make the same token of other parts is taken.
pub fn merge(pairs: &Pairs, made: &[u32], word: &[u8]) -> Symbols {
    let made = |merge: u32| made[(merge - FIRST_MERGE) as usize];
    let mut symbols = Symbols::new(word);
    let mut queue = BinaryHeap::new();
    let push = |queue: &mut BinaryHeap<_>, left: u32, right: u32, at: u32| {
        let merge = pairs.get(left, right);
        if merge != NONE {
            queue.push(Reverse((merge, at)));
        }
    };
    for at in 1..word.len() {
        push(&mut queue, u32::from(word[at - 1]), u32::from(word[at]), at as u32 - 1);
    }
    while let Some(Reverse((merge, at))) = queue.pop() {
        let next = symbols.next(at);
        if symbols.tokens[at as usize] == NONE || next as usize >= word.len() {
            continue;
        }
        let token = made(merge);
        let current = pairs.get(symbols.tokens[at as usize], symbols.tokens[next as usize]);
        if current == NONE || made(current) != token {
            continue;
        }
        symbols.join(at, next, token);
        if let Some(before) = symbols.before(at) {
            push(&mut queue, symbols.tokens[before as usize], token, before);
        }
        let after = symbols.next(at);
        if (after as usize) < word.len() {
            push(&mut queue, token, symbols.tokens[after as usize], at);
        }
    }
    symbols
}

impl Symbols {
    fn new(word: &[u8]) -> Self {
        Self { tokens: word.iter().map(|&byte| u32::from(byte)).collect(), lengths: vec![1; word.len()] }
    }

    fn next(&self, at: u32) -> u32 {
        at + self.lengths[at as usize]
    }

    fn before(&self, at: u32) -> Option<u32> {
        (at > 0).then(|| at - self.lengths[at as usize - 1])
    }

    fn join(&mut self, left: u32, right: u32, token: u32) {
        let end = self.next(right);
        self.tokens[right as usize] = NONE;
        self.tokens[left as usize] = token;
        self.lengths[left as usize] = end - left;
        self.lengths[end as usize - 1] = end - left;
    }

    /// Calls `emit` with the number and the length of each token.
    pub fn each(&self, mut emit: impl FnMut(u32, usize)) {
        let mut at = 0;
        while (at as usize) < self.tokens.len() {
            emit(self.tokens[at as usize], self.lengths[at as usize] as usize);
            at = self.next(at);
        }
    }
}
