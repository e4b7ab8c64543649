//! The table of the word cache: sets of two keys and what belongs to them, a cache line each; a full set uses the next one.

use wide::u32x4;

use super::cache::{Inline, Key, register};
use crate::memory::{Buffer, prefetch};

/// Where in a line the two [`Inline`]s are.
const VALUES: usize = 2;

/// A cache line: twice a key, then twice an [`Inline`].
pub type Line = [u32x4; 2 * VALUES];

/// Sets of two keys, a power of two of them. The first key is the newer one. A key of 0 is that
/// of places never written.
///
/// In huge pages, once there are many: words are spread all over the table, and with small pages nearly every look-up would miss the
/// processor's table of pages as well.
#[derive(Debug)]
pub struct Sets {
    places: Buffer<u32x4>,
    count: usize,
}

impl Clone for Sets {
    fn clone(&self) -> Self {
        Self { places: Buffer::copied(&self.places), count: self.count }
    }
}

impl Sets {
    /// Empty ones.
    pub fn new(n_sets: usize) -> Self {
        Self { places: Buffer::zeroed(n_sets * 2 * VALUES), count: n_sets }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// All of them, to look at.
    #[inline(always)]
    pub fn lines(&self) -> Lines<'_> {
        Lines(&self.places.as_chunks().0[..self.count])
    }

    /// As [`Lines::get`], in the neighbouring set too.
    pub fn find(&self, key: Key) -> Option<Inline> {
        let (lines, key) = (self.lines(), register(key));
        let at = lines.seek(key);
        // Its neighbour need not come from memory where there was a place in the set itself.
        let found =
            |at: usize| lines.line(at).map(|line| get(line, key)).filter(|(is_there, _)| *is_there).map(|(_, value)| value.to_array());
        found(at).or_else(|| if lines.line(at).is_none_or(has_place) { None } else { found(at ^ 1) })
    }

    /// Where there is a place: in its set, else in the neighbouring one. Where there is none, the oldest key of its set makes room.
    ///
    /// Without neighbours a tenth of all words would push each other out of full sets all the time, when half of the table is empty.
    pub fn put(&mut self, key: Key, value: Inline) {
        let key = register(key);
        let at = hash(key) & (self.count - 1);
        let lines = self.places.as_chunks_mut().0;
        let at = [at, at ^ 1].into_iter().find(|&at| has_place(&lines[at])).unwrap_or(at);
        let [older, _, older_value, _] = lines[at];
        lines[at] = [key, older, u32x4::new(value), older_value];
    }

    /// So many sets, with all that is in these.
    #[cold]
    pub fn grown(&self, n_sets: usize) -> Self {
        let mut larger = Self::new(n_sets);
        for line in self.lines().0 {
            for place in [1, 0] {
                let key: Key = bytemuck::cast(line[place]);
                if key != 0 {
                    larger.put(key, line[VALUES + place].to_array());
                }
            }
        }
        larger
    }
}

/// Where the sets are, for a loop over many words: found out once, and not for each of them.
#[derive(Debug, Clone, Copy)]
pub struct Lines<'s>(&'s [Line]);

impl<'s> Lines<'s> {
    /// The number of the set that a key would be in; its memory is on its way then.
    #[inline(always)]
    pub fn seek(self, key: u32x4) -> usize {
        let at = hash(key) & (self.0.len() - 1);
        if let Some(line) = self.0.get(at) {
            prefetch(line);
        }
        at
    }

    /// A set.
    #[inline(always)]
    pub fn line(self, at: usize) -> Option<&'s Line> {
        self.0.get(at)
    }
}

/// Is a key in a set, and what belongs to it; what belongs to another key otherwise. Without a branch on the outcome, which would
/// mispredict and make the words after it wait.
#[inline(always)]
pub fn get(line: &Line, key: u32x4) -> (bool, u32x4) {
    let (is_first, is_second) = (line[0] == key, line[1] == key);
    (is_first | is_second, line[VALUES + usize::from(is_second)])
}

/// Is the second place of a set empty? The older key of a set lies there, so that keys never leave a place behind.
#[inline(always)]
fn has_place(line: &Line) -> bool {
    line[1] == u32x4::splat(0)
}

/// The folded product of the two halves. It need not resist an adversary: a set that many words share only makes them be read again.
#[inline(always)]
fn hash(key: u32x4) -> usize {
    let [low, high]: [u64; 2] = bytemuck::cast(key);
    let product = u128::from(low ^ 0x9E37_79B9_7F4A_7C15) * u128::from(high ^ 0xD1B5_4A32_D192_ED03);
    (product as u64 ^ (product >> 64) as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(of: u32) -> Inline {
        [of, 2, 3, 4]
    }

    #[test]
    fn a_full_set_fills_its_neighbour_and_then_keeps_the_newest() {
        let mut sets = Sets::new(2);
        let keys = [1, 2, 3, 4, 5].map(|i: Key| (i << 120) | i);
        keys.iter().zip(1..5).for_each(|(&key, of)| sets.put(key, tokens(of)));
        assert!(keys[..4].iter().zip(1..).all(|(&key, of)| sets.find(key) == Some(tokens(of))), "all four places are used");
        sets.put(keys[4], tokens(5));
        assert_eq!(sets.find(keys[4]), Some(tokens(5)));
        assert_eq!(keys[..4].iter().filter(|&&key| sets.find(key).is_none()).count(), 1, "one of its set made room");
        assert_eq!(sets.lines().line(2), None, "there is no such set");
    }

    #[test]
    fn lines_do_not_cross_cache_lines_and_survive_growth() {
        let mut sets = Sets::new(64);
        let keys: Vec<Key> = (1..40_u128).map(|i| (i << 120) | (i * i)).collect();
        keys.iter().zip(0..).for_each(|(&key, of)| sets.put(key, tokens(of)));
        let before: Vec<Option<Inline>> = keys.iter().map(|&key| sets.find(key)).collect();
        assert!(before.iter().flatten().count() > 30);
        for n_sets in [256, 1 << 15] {
            sets = sets.grown(n_sets);
            assert_eq!(sets.lines().0.as_ptr() as usize % 64, 0);
            assert_eq!(sets.len(), n_sets);
            assert!(keys.iter().zip(&before).all(|(&key, tokens)| tokens.is_none() || sets.find(key) == *tokens));
        }
    }
}
