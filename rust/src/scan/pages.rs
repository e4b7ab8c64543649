//! A table over all code points that is computed where it is read.

use std::sync::OnceLock;

/// Code points of a page.
const PAGE_CHARS: usize = 256;

/// Pages of Unicode.
const N_PAGES: usize = 0x11_0000 / PAGE_CHARS;

/// A value for every character, from a function that is asked once for each character of a page when the page is first read.
///
/// The function may be as slow as the oracle's own: a text touches a few pages. A table of all of Unicode, computed on load, would
/// take longer than everything else there.
pub struct CharTable<T> {
    pages: Box<[OnceLock<Box<[T; PAGE_CHARS]>>]>,
    compute: Box<dyn Fn(char) -> T + Send + Sync>,
}

impl<T: Copy + Default> CharTable<T> {
    /// `compute` gives the value of a character; surrogates have the default.
    pub fn new(compute: impl Fn(char) -> T + Send + Sync + 'static) -> Self {
        Self { pages: (0..N_PAGES).map(|_| OnceLock::new()).collect(), compute: Box::new(compute) }
    }

    /// The value of `character`.
    #[inline]
    pub fn get(&self, character: char) -> T {
        let code = character as usize;
        let page = self.pages[code / PAGE_CHARS].get_or_init(|| self.page(code / PAGE_CHARS));
        page[code % PAGE_CHARS]
    }

    #[cold]
    #[allow(clippy::unnecessary_box_returns)] // it is kept in its box
    fn page(&self, page: usize) -> Box<[T; PAGE_CHARS]> {
        let value =
            |i: usize| char::from_u32((page * PAGE_CHARS + i) as u32).map_or_else(T::default, |character| (self.compute)(character));
        Box::new(std::array::from_fn(value))
    }
}

impl<T> std::fmt::Debug for CharTable<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let n_read = self.pages.iter().filter(|page| page.get().is_some()).count();
        formatter.debug_struct("CharTable").field("pages_read", &n_read).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_function() {
        let table = CharTable::new(|character| character as u32);
        for character in ['a', 'é', '中', '🎉', '\u{10ffff}'] {
            assert_eq!(table.get(character), character as u32);
        }
    }
}
