//! In which way merges make each token.
//!
//! A vocabulary of `SentencePiece` becomes merges of every two tokens that make a third, so most tokens are made in several ways. Only one
//! of them ever happens: that of the token's text alone. For until a token is made, no merge went across its ends, and what happens
//! between them is what happens there alone. So all other merges may be left out, and each token is made in one way.

use std::collections::HashMap;

use crate::engine::merges::{NONE, Pairs};

/// The merges that happen, of all of them: left part, right part and result, in the order of their ranks. `entries` are by id.
pub fn that_happen(merges: &[[u32; 3]], entries: &[&str]) -> Vec<[u32; 3]> {
    let mut ranks = Pairs::new(merges.len());
    for (&[left, right, _], rank) in merges.iter().zip(0..) {
        ranks.insert(left, right, rank); // of equal pairs the last counts
    }
    let ids = character_ids(entries);
    let mut is_known = vec![false; entries.len()];
    let (mut happening, mut word) = (Vec::new(), Word::default());
    for &[_, _, token] in merges {
        if std::mem::replace(&mut is_known[token as usize], true) {
            continue;
        }
        word.parts.clear();
        word.parts.extend(entries[token as usize].chars().map_while(|character| ids.get(&character)));
        // What has an unknown character is made of other text.
        if word.parts.len() == entries[token as usize].chars().count() {
            happening.extend(word.last_merge(token, merges, &ranks));
        }
    }
    happening.sort_unstable();
    happening.into_iter().map(|rank| merges[rank as usize]).collect()
}

/// The ids of entries that are one character.
fn character_ids(entries: &[&str]) -> HashMap<char, u32, ahash::RandomState> {
    let only = |entry: &str| entry.chars().next().filter(|character| character.len_utf8() == entry.len());
    entries.iter().zip(0..).filter_map(|(entry, id)| Some((only(entry)?, id))).collect()
}

/// A token on its way from its characters: memory that is used again.
#[derive(Debug, Default)]
struct Word {
    parts: Vec<u32>,
    /// The merge of each part with the next.
    ranks: Vec<u32>,
}

impl Word {
    /// The rank of the merge that makes `token` of its characters; nothing where they become something else.
    fn last_merge(&mut self, token: u32, merges: &[[u32; 3]], ranks: &Pairs) -> Option<u32> {
        self.ranks.clear();
        self.ranks.extend(self.parts.windows(2).map(|pair| ranks.get(pair[0], pair[1])));
        while self.ranks.len() > 1 {
            let (at, &best) = self.ranks.iter().enumerate().min_by_key(|&(_, rank)| rank)?;
            if best == NONE {
                return None;
            }
            let [_, _, made] = merges[best as usize];
            self.parts[at] = made;
            self.parts.remove(at + 1);
            self.ranks.remove(at);
            if at > 0 {
                self.ranks[at - 1] = ranks.get(self.parts[at - 1], made);
            }
            if at < self.ranks.len() {
                self.ranks[at] = ranks.get(made, self.parts[at + 1]);
            }
        }
        self.ranks.first().copied().filter(|&rank| rank != NONE && merges[rank as usize][2] == token)
    }
}
