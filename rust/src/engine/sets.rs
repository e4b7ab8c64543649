//! The table of the word cache: sets of two keys and what belongs to them, a cache line each; a full set uses those beside it.

use wide::u32x4;

use super::cache::{Inline, Key, register};
use crate::memory::{Buffer, prefetch};

/// Where in a line the two [`Inline`]s are.
const VALUES: usize = 2;

/// So many sets, side by side, take each other's keys where one is full. Without that, a tenth of all words would push each other out all the
/// time when half of the table is empty; between two sets, few words do, but a word as common as " it" may be among them. With more than four,
/// words that are new take longer, as sets are looked through that do not have them.
const NEIGHBOURS: usize = 4;

/// A cache line: twice a key, then twice an [`Inline`].
pub type Line = [u32x4; 2 * VALUES];

/// Sets of two keys, a power of two of them. The first key is the newer one, or was found later. A key of 0 is that
/// of places never written. A key is in set `home ^ step` only if all sets from `home` to `home ^ (step - 1)` are full, and a full set stays so.
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
        debug_assert!(n_sets.is_power_of_two() && n_sets >= NEIGHBOURS);
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

    /// As [`get`], in the sets beside it too; and in which it is.
    pub fn find(&self, key: Key) -> Option<(usize, Inline)> {
        let (lines, key) = (self.lines(), register(key));
        for at in neighbours(lines.seek(key)) {
            let line = lines.line(at)?;
            let (is_there, value) = get(line, key);
            if is_there {
                return Some((at, value.to_array()));
            }
            // The next one need not come from memory where there was a place in this one.
            if has_place(line) {
                return None;
            }
        }
        None
    }

    /// Moves a key that is in set `at` to its own, as the newer one there, and the older one of it to `at`, unless that is a guest too. Only
    /// what lies in its own set is found by [`get`] alone.
    pub fn bring_home(&mut self, key: Key, at: usize) {
        let (key, mask) = (register(key), self.count - 1);
        let home = hash(key) & mask;
        let lines: &mut [Line] = self.places.as_chunks_mut().0;
        let [newer, older, newer_value, older_value] = lines[home];
        // A key that is itself a guest there would be sought on another way to `at`, on which a set may have a place.
        if at == home || hash(older) & mask != home {
            return;
        }
        debug_assert!(get(&lines[at], key).0);
        let place = usize::from(lines[at][1] == key);
        lines[home] = [key, newer, lines[at][VALUES + place], newer_value];
        (lines[at][place], lines[at][VALUES + place]) = (older, older_value);
    }

    /// Where there is a place: in its set, else in the first beside it that has one. Where there is none, the oldest key of its set makes room.
    pub fn put(&mut self, key: Key, value: Inline) {
        let key = register(key);
        let at = hash(key) & (self.count - 1);
        let lines: &mut [Line] = self.places.as_chunks_mut().0;
        let at = neighbours(at).find(|&at| has_place(&lines[at])).unwrap_or(at);
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

/// A set, and those beside it.
fn neighbours(at: usize) -> impl Iterator<Item = usize> {
    (0..NEIGHBOURS).map(move |step| at ^ step)
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

    fn keys<const N: usize>() -> [Key; N] {
        std::array::from_fn(|i| (i as Key + 1) << 120 | (i * i) as Key)
    }

    fn known(sets: &Sets, key: Key) -> Option<Inline> {
        sets.find(key).map(|(_, value)| value)
    }

    #[test]
    fn full_sets_fill_those_beside_them_and_then_keep_the_newest() {
        const N_KEYS: usize = 2 * NEIGHBOURS;
        let mut sets = Sets::new(NEIGHBOURS);
        let keys = keys::<{ N_KEYS + 1 }>();
        keys.iter().zip(0..N_KEYS as u32).for_each(|(&key, of)| sets.put(key, tokens(of)));
        assert!(keys.iter().zip(0..N_KEYS as u32).all(|(&key, of)| known(&sets, key) == Some(tokens(of))), "all places are used");
        sets.put(keys[N_KEYS], tokens(7));
        assert_eq!(known(&sets, keys[N_KEYS]), Some(tokens(7)));
        assert_eq!(keys[..N_KEYS].iter().filter(|&&key| sets.find(key).is_none()).count(), 1, "one of its set made room");
        assert_eq!(sets.lines().line(NEIGHBOURS), None, "there is no such set");
    }

    #[test]
    fn keys_that_are_brought_home_are_there_and_none_is_lost() {
        const N_SETS: usize = 64;
        let mut sets = Sets::new(N_SETS);
        let keys = keys::<{ 2 * N_SETS }>();
        keys.iter().zip(0..).for_each(|(&key, of)| sets.put(key, tokens(of)));
        let before = keys.map(|key| known(&sets, key));
        let mut n_moved = 0;
        for (&key, value) in keys.iter().zip(&before) {
            let (Some((at, _)), Some(value)) = (sets.find(key), value) else { continue };
            let home = sets.lines().seek(register(key));
            sets.bring_home(key, at);
            let is_home = get(&sets.lines().0[home], register(key)) == (true, u32x4::new(*value));
            assert!(is_home || at != home);
            n_moved += usize::from(is_home && at != home);
            assert!(keys.map(|key| known(&sets, key)) == before, "{at}");
        }
        assert!(n_moved > 9 && before.iter().flatten().count() > N_SETS, "{n_moved}");
    }

    #[test]
    fn lines_do_not_cross_cache_lines_and_survive_growth() {
        let mut sets = Sets::new(64);
        let keys = keys::<40>();
        keys.iter().zip(0..).for_each(|(&key, of)| sets.put(key, tokens(of)));
        let before: Vec<Option<Inline>> = keys.iter().map(|&key| known(&sets, key)).collect();
        assert!(before.iter().flatten().count() > 30);
        for n_sets in [256, 1 << 15] {
            sets = sets.grown(n_sets);
            assert_eq!(sets.lines().0.as_ptr() as usize % 64, 0);
            assert_eq!(sets.len(), n_sets);
            assert!(keys.iter().zip(&before).all(|(&key, tokens)| tokens.is_none() || known(&sets, key) == *tokens));
        }
    }
}
