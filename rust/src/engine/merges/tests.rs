//! Words in blocks and from the table of words, against the queue.

use std::collections::HashSet;

use super::Merges;
use super::block::MOST_BYTES;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// Merges of a few letters, each of which makes another token: those of two letters first, or any.
fn merges(random: &mut Random, n_letters: usize, n_merges: usize) -> Merges {
    let mut byte_ids = [0; 256];
    byte_ids.iter_mut().zip(0..).for_each(|(id, byte)| *id = byte);
    let mut contents: Vec<String> = (0..=255).map(|byte| char::from(byte).to_string()).collect();
    let mut known: HashSet<String> = contents.iter().cloned().collect();
    let mut merges = Vec::new();
    let letters: Vec<usize> = (0..n_letters).map(|i| usize::from(b'a') + i).collect();
    let newest_first = random.below(3) == 0;
    for _ in 0..n_merges {
        let mut part = || match random.below(3) {
            0 => letters[random.below(n_letters)],
            1 if newest_first => contents.len() - 1 - random.below(contents.len() - 256 + 1).min(2),
            _ => random.below(contents.len() - 256 + 1) + 255,
        };
        let [left, right] = [part(), part()].map(|part| if part <= 255 { letters[0] } else { part });
        let joined = contents[left].clone() + &contents[right];
        if joined.len() < 300 && known.insert(joined.clone()) {
            merges.push([left as u32, right as u32, contents.len() as u32]);
            contents.push(joined);
        }
    }
    Merges::new(&byte_ids, &merges, contents.len())
}

fn word(random: &mut Random, n_letters: usize) -> Vec<u8> {
    let n_bytes = [1, 5, 13, 16, 20, 70, 300, 1000, 3000][random.below(9)];
    let n_bytes = 1 + random.below(n_bytes);
    let period = match random.below(3) {
        0 => 1 + random.below(4),
        1 => 1 + random.below(40),
        _ => n_bytes,
    };
    let unit: Vec<u8> = (0..period).map(|_| b'a' + random.below(n_letters) as u8).collect();
    let mut word: Vec<u8> = unit.into_iter().cycle().take(n_bytes).collect();
    for _ in 0..random.below(3) {
        word[random.below(n_bytes)] = b'a';
    }
    word
}

fn tokens(merges: impl FnOnce(&mut dyn FnMut(u32, usize))) -> Vec<(u32, usize)> {
    let mut tokens = Vec::new();
    merges(&mut |id, length| tokens.push((id, length)));
    tokens
}

#[test]
fn every_way_of_merging_gives_the_same_tokens() {
    let mut random = Random(7);
    for _ in 0..1500 {
        let n_letters = 1 + random.below(4);
        let n_merges = 1 + random.below(60);
        let merges = merges(&mut random, n_letters, n_merges);
        for _ in 0..12 {
            let word = word(&mut random, n_letters);
            let expected = tokens(|emit| merges.merge_by_queue(&word, emit));
            let name = String::from_utf8_lossy(&word);
            assert_eq!(tokens(|emit| merges.merge(&word, emit)), expected, "{merges:?} {name}");
            if word.len() <= MOST_BYTES {
                assert_eq!(tokens(|emit| merges.merge_in_one_block(&word, emit)), expected, "{merges:?} {name}");
                assert_eq!(tokens(|emit| merges.merge_in_memory(&word, emit)), expected, "{merges:?} {name}");
            }
        }
    }
}
