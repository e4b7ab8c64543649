//! The table of the word cache: sets of two keys and what belongs to them, a cache line each.

use super::cache::{Inline, Key};
use crate::memory::{HUGE_PAGE_BYTES, prefetch, zeroed};

/// Numbers of 4 bytes in a cache line.
const LINE: usize = 16;

/// Where in a line the two [`Inline`]s start, after the two keys.
const VALUES: usize = 8;

/// A cache line: twice a key, then twice an [`Inline`].
type Line = [u32; LINE];

/// Stands for what is not there.
const NOTHING: Inline = [0; 4];

/// Sets of two keys, a power of two of them. The first key is the newer one. A key of 0 is that of
/// places never written.
///
/// Memory that is zero by nature, and so costs nothing before it is written; a table of lines with an alignment of their own would be
/// written once to be empty.
#[derive(Debug)]
pub struct Sets {
    numbers: Vec<u32>,
    /// Numbers before the first line.
    n_before: usize,
    count: usize,
}

impl Sets {
    /// Empty ones.
    pub fn new(n_sets: usize) -> Self {
        let n_bytes = n_sets * size_of::<Line>();
        // Words are spread all over the table: with small pages nearly every look-up would miss the processor's table of pages as well.
        let alignment = if n_bytes < HUGE_PAGE_BYTES { size_of::<Line>() } else { HUGE_PAGE_BYTES } / size_of::<u32>();
        let numbers: Vec<u32> = zeroed(n_sets * LINE + alignment);
        let n_past = numbers.as_ptr() as usize / size_of::<u32>() % alignment;
        Self { numbers, n_before: (alignment - n_past) % alignment, count: n_sets }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    fn lines(&self) -> &[Line] {
        self.numbers[self.n_before..].as_chunks().0
    }

    /// The number of the set that a key would be in; its memory is on its way then.
    #[inline(always)]
    pub fn seek(&self, key: Key) -> usize {
        let at = hash(key) & (self.count - 1);
        if let Some(line) = self.lines().get(at) {
            prefetch(line);
        }
        at
    }

    /// What belongs to a key in its set, if it is there; what belongs to another key otherwise, and always where the set is that of
    /// another. Without a branch on the outcome, which would mispredict and make the words after it wait.
    #[inline(always)]
    pub fn get(&self, key: Key, at: usize) -> (bool, &Inline) {
        let Some(line) = self.lines().get(at) else { return (false, &NOTHING) };
        let [low, high] = halves(key);
        let is_key = |at: usize| (half(line, at) ^ low) | (half(line, at + 2) ^ high) == 0;
        let (is_first, is_second) = (is_key(0), is_key(4));
        let (values, _) = line[VALUES..].as_chunks();
        (is_first | is_second, &values[usize::from(is_second)])
    }

    /// The newer key comes first, and pushes out the one before the last.
    pub fn put(&mut self, key: Key, value: Inline) {
        let at = hash(key) & (self.count - 1);
        let line = &mut self.numbers[self.n_before..].as_chunks_mut::<LINE>().0[at];
        line.copy_within(0..4, 4);
        line.copy_within(VALUES..VALUES + 4, VALUES + 4);
        line[..4].copy_from_slice(&[0, 32, 64, 96].map(|shift| (key >> shift) as u32));
        line[VALUES..VALUES + 4].copy_from_slice(&value);
    }

    /// So many sets, with all that is in these.
    #[cold]
    pub fn grown(&self, n_sets: usize) -> Self {
        let mut larger = Self::new(n_sets);
        for line in &self.lines()[..self.count] {
            let (values, _) = line[VALUES..].as_chunks();
            for i in [1, 0] {
                let key = Key::from(half(line, 4 * i)) | Key::from(half(line, 4 * i + 2)) << 64;
                if key != 0 {
                    larger.put(key, values[i]);
                }
            }
        }
        larger
    }
}

/// Two numbers of a line as one.
#[inline(always)]
fn half(line: &Line, at: usize) -> u64 {
    u64::from(line[at]) | u64::from(line[at + 1]) << 32
}

#[inline(always)]
fn halves(key: Key) -> [u64; 2] {
    [key as u64, (key >> 64) as u64]
}

/// The folded product of the two halves. It need not resist an adversary: a set that many words share only makes them be read again.
#[inline(always)]
fn hash(key: Key) -> usize {
    let [low, high] = halves(key);
    let product = u128::from(low ^ 0x9E37_79B9_7F4A_7C15) * u128::from(high ^ 0xD1B5_4A32_D192_ED03);
    (product as u64 ^ (product >> 64) as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(of: u32) -> Inline {
        [of, 2, 3, 4]
    }

    fn found(sets: &Sets, key: Key) -> Option<Inline> {
        let (is_there, value) = sets.get(key, sets.seek(key));
        is_there.then_some(*value)
    }

    #[test]
    fn a_set_holds_the_two_newest_keys() {
        let mut sets = Sets::new(1);
        let keys = [1_u128 << 120 | 7, 2 << 120, 3 << 120 | 9 << 64];
        keys.iter().zip(1..).for_each(|(&key, of)| sets.put(key, tokens(of)));
        assert_eq!(keys.map(|key| found(&sets, key)), [None, Some(tokens(2)), Some(tokens(3))]);
        assert_eq!(sets.get(keys[1], 1), (false, &NOTHING), "there is no such set");
    }

    #[test]
    fn lines_do_not_cross_cache_lines_and_survive_growth() {
        let mut sets = Sets::new(64);
        let keys: Vec<Key> = (1..40_u128).map(|i| (i << 120) | (i * i)).collect();
        keys.iter().zip(0..).for_each(|(&key, of)| sets.put(key, tokens(of)));
        let before: Vec<Option<Inline>> = keys.iter().map(|&key| found(&sets, key)).collect();
        assert!(before.iter().flatten().count() > 30);
        for n_sets in [256, 1 << 15] {
            sets = sets.grown(n_sets);
            assert_eq!(sets.lines().as_ptr() as usize % 64, 0);
            assert_eq!(sets.len(), n_sets);
            assert!(keys.iter().zip(&before).all(|(&key, tokens)| tokens.is_none() || found(&sets, key) == *tokens));
        }
    }
}
