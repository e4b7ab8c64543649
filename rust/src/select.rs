//! Which chunks of a document become rows. What is chosen depends on the document alone, never on the others in the call.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::config::Select;

/// Indices of the chosen chunks, ascending.
pub fn choose(select: Select, ids: &[u32], chunks: &[Range<usize>]) -> Vec<usize> {
    let n_chunks = chunks.len();
    match select {
        Select::Head(k) => (0..k.min(n_chunks)).collect(),
        Select::Tail(k) => (n_chunks.saturating_sub(k)..n_chunks).collect(),
        Select::HeadTail(k) if k < n_chunks => (0..k.div_ceil(2)).chain(n_chunks - k / 2..n_chunks).collect(),
        Select::Random { max_chunks, seed } => best(n_chunks, max_chunks, &random_scores(n_chunks, seed ^ fingerprint(ids))),
        Select::TfIdf(k) if k < n_chunks => best(n_chunks, k, &tfidf_scores(ids, chunks)),
        Select::All | Select::HeadTail(_) | Select::TfIdf(_) => (0..n_chunks).collect(),
    }
}

/// The `k` chunks of the highest score, in document order; of equals the earlier.
fn best(n_chunks: usize, k: usize, scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n_chunks).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order.truncate(k);
    order.sort_unstable();
    order
}

/// Mean over a chunk's tokens of `ln(chunks / chunks with the token)`: chunks of what the rest of the document does not speak of.
fn tfidf_scores(ids: &[u32], chunks: &[Range<usize>]) -> Vec<f64> {
    let mut chunks_with: HashMap<u32, u32> = HashMap::new();
    for chunk in chunks {
        let distinct: HashSet<u32> = ids[chunk.clone()].iter().copied().collect();
        for id in distinct {
            *chunks_with.entry(id).or_default() += 1;
        }
    }
    let rarity = |id: &u32| (chunks.len() as f64 / f64::from(chunks_with[id])).ln();
    chunks.iter().map(|chunk| ids[chunk.clone()].iter().map(rarity).sum::<f64>() / chunk.len().max(1) as f64).collect()
}

/// Uniform numbers by `SplitMix64` (Steele, Lea, Flood 2014): one line, and the same on every platform for good.
fn random_scores(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64
    };
    (0..n).map(|_| next()).collect()
}

/// FNV-1a over the ids, so that equal seeds draw differently from different documents.
fn fingerprint(ids: &[u32]) -> u64 {
    ids.iter().fold(0xCBF2_9CE4_8422_2325, |hash, &id| (hash ^ u64::from(id)).wrapping_mul(0x0000_0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(select: Select) -> Vec<usize> {
        // Ten chunks of two tokens; only chunk 7 has tokens of its own.
        let ids: Vec<u32> = (0..20).map(|i| if i / 2 == 7 { 100 + i } else { i % 2 }).collect();
        let chunks: Vec<_> = (0..10).map(|i| 2 * i..2 * i + 2).collect();
        choose(select, &ids, &chunks)
    }

    #[test]
    fn each_kind_takes_what_its_name_says() {
        assert_eq!(chosen(Select::All).len(), 10);
        assert_eq!(chosen(Select::Head(3)), [0, 1, 2]);
        assert_eq!(chosen(Select::Tail(3)), [7, 8, 9]);
        assert_eq!(chosen(Select::HeadTail(3)), [0, 1, 9]);
        assert_eq!(chosen(Select::TfIdf(1)), [7]);
    }

    #[test]
    fn a_draw_repeats_with_its_seed_only() {
        let draw = |seed| chosen(Select::Random { max_chunks: 4, seed });
        assert_eq!(draw(1), draw(1));
        assert!((2..12).any(|seed| draw(seed) != draw(1)));
        assert!(draw(1).is_sorted() && draw(1).len() == 4);
    }

    #[test]
    fn more_than_there_are_is_all() {
        for select in [Select::Head(99), Select::Tail(99), Select::HeadTail(99), Select::TfIdf(99)] {
            assert_eq!(chosen(select).len(), 10, "{select:?}");
        }
    }
}
