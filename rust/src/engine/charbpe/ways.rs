//! In which way merges make each token.
//!
//! A vocabulary of `SentencePiece` becomes merges of every two tokens that make a third, so most tokens are made in several ways. Only one
//! of them ever happens: that of the token's text alone. For until a token is made, no merge went across its ends, and what happens
//! between them is what happens there alone. So all other merges may be left out, and each token is made in one way.

use std::collections::HashMap;

use crate::engine::merges::Ids;

/// No merge.
const NONE: usize = usize::MAX;

/// The merges that happen, of all of them: left part, right part and result, in the order of their ranks. `entries` are by id.
pub fn that_happen(merges: &[[u32; 3]], ids: &Ids<'_>, entries: &[&str]) -> Vec<[u32; 3]> {
    let mut ranks: HashMap<(u32, u32), usize, ahash::RandomState> = HashMap::default();
    ranks.reserve(merges.len());
    for (rank, &[left, right, _]) in merges.iter().enumerate() {
        ranks.insert((left, right), rank); // of equal pairs the last counts
    }
    let rank = |left: u32, right: u32| ranks.get(&(left, right)).copied().unwrap_or(NONE);
    let mut is_known = vec![false; entries.len()];
    let mut happening = Vec::new();
    for &[_, _, token] in merges {
        if std::mem::replace(&mut is_known[token as usize], true) {
            continue;
        }
        let mut buffer = [0; 4];
        let characters: Option<Vec<u32>> =
            entries[token as usize].chars().map(|character| ids.get(character.encode_utf8(&mut buffer))).collect();
        // What has an unknown character is made of other text.
        happening.extend(characters.and_then(|characters| last_merge(characters, token, merges, rank)));
    }
    happening.sort_unstable();
    happening.into_iter().map(|rank| merges[rank]).collect()
}

/// The rank of the merge that makes `token` of its characters; nothing where they become something else.
fn last_merge(mut parts: Vec<u32>, token: u32, merges: &[[u32; 3]], rank: impl Fn(u32, u32) -> usize) -> Option<usize> {
    let mut ranks: Vec<usize> = parts.windows(2).map(|pair| rank(pair[0], pair[1])).collect();
    while ranks.len() > 1 {
        let (at, &best) = ranks.iter().enumerate().min_by_key(|&(_, rank)| rank)?;
        let &[_, _, made] = merges.get(best)?;
        parts[at] = made;
        parts.remove(at + 1);
        ranks.remove(at);
        if at > 0 {
            ranks[at - 1] = rank(parts[at - 1], made);
        }
        if at < ranks.len() {
            ranks[at] = rank(made, parts[at + 1]);
        }
    }
    ranks.first().copied().filter(|&rank| merges.get(rank).is_some_and(|&[_, _, made]| made == token))
}
