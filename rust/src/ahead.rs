//! Memory that several threads write side by side, asked for by one of them before the others come to it.
//!
//! Threads that touch a new page at the same time have the system clear a page each, and all but one are thrown away. Where two threads write
//! one row after the other, that befalls nearly every huge page.
#![allow(unsafe_code)] // a system call about memory

use std::ops::Range;

use crate::memory::HUGE_PAGE_BYTES;

/// The huge pages of memory that is given out from its start on. Each is to be asked for once. The last of them, as many as there are threads,
/// may not be needed in the end.
#[derive(Debug)]
pub struct Ahead {
    /// Addresses of those that are not asked for.
    left: Range<usize>,
    /// So much beyond what is given out shall be there: each thread asks for a page while the others write in those before.
    n_bytes: usize,
}

/// The address of one of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Page(usize);

impl Ahead {
    /// One thread alone has nothing asked for: a page is best cleared when it is written, because it is in the cache then.
    pub fn new<T>(memory: &[T], n_threads: usize) -> Self {
        let Range { start, end } = memory.as_ptr_range();
        let whole_pages = (start as usize).next_multiple_of(HUGE_PAGE_BYTES)..end as usize / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
        let left = if n_threads > 1 { whole_pages } else { 0..0 };
        Self { left, n_bytes: n_threads * HUGE_PAGE_BYTES }
    }

    /// The next page, if it is time to ask for it; `not_given_out` is the rest of the memory.
    pub fn next_page<T>(&mut self, not_given_out: &[T]) -> Option<Page> {
        let given_out_to = not_given_out.as_ptr() as usize;
        // Others write already where it begins, or will at once.
        self.left.start = self.left.start.max(given_out_to.next_multiple_of(HUGE_PAGE_BYTES));
        let is_time = !self.left.is_empty() && self.left.start < given_out_to + self.n_bytes;
        is_time.then(|| {
            let page = Page(self.left.start);
            self.left.start += HUGE_PAGE_BYTES;
            page
        })
    }
}

impl Page {
    /// Waits until the system has cleared the page. What is in it already stays, and others may write it meanwhile. Where the system knows no
    /// such request, the page comes when it is written.
    pub fn ask_for(self) {
        #[cfg(target_os = "linux")]
        // SAFETY: the request changes no content, and is refused where there is no memory.
        unsafe {
            libc::madvise(self.0 as *mut libc::c_void, HUGE_PAGE_BYTES, libc::MADV_POPULATE_WRITE);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = self.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Buffer;

    const NONE: [usize; 0] = [];
    const N_IN_PAGE: usize = HUGE_PAGE_BYTES / size_of::<u64>();

    fn pages(ahead: &mut Ahead, not_given_out: &[u64]) -> Vec<usize> {
        std::iter::from_fn(|| ahead.next_page(not_given_out)).map(|Page(address)| address).collect()
    }

    #[test]
    fn each_page_is_to_be_asked_for_once_and_before_it_is_given_out() {
        let memory = Buffer::<u64>::zeroed(6 * N_IN_PAGE + 1);
        let page = |number: usize| memory.as_ptr() as usize + number * HUGE_PAGE_BYTES;
        let mut ahead = Ahead::new(&memory, 2);
        assert_eq!(pages(&mut ahead, &memory), [page(0), page(1)]);
        assert_eq!(pages(&mut ahead, &memory), NONE);
        assert_eq!(pages(&mut ahead, &memory[1..]), [page(2)]);
        assert_eq!(pages(&mut ahead, &memory[N_IN_PAGE..]), NONE);
        assert_eq!(pages(&mut ahead, &memory[N_IN_PAGE + 1..]), [page(3)]);
        let mut ahead = Ahead::new(&memory, 2);
        assert_eq!(pages(&mut ahead, &memory[1..]), [page(1), page(2)], "the first one is written already");
        assert_eq!(pages(&mut ahead, &memory[3 * N_IN_PAGE + 1..]), [page(4), page(5)], "so are those up to here");
        let mut ahead = Ahead::new(&memory, 9);
        assert_eq!(pages(&mut ahead, &[]), NONE, "an empty slice may be anywhere");
        assert_eq!(pages(&mut ahead, &memory), [0, 1, 2, 3, 4, 5].map(page), "the rest of a page may be somebody else's");
    }

    #[test]
    fn only_whole_pages_and_only_for_several_threads() {
        let memory = Buffer::<u64>::zeroed(3 * N_IN_PAGE);
        let page = |number: usize| memory.as_ptr() as usize + number * HUGE_PAGE_BYTES;
        assert_eq!(pages(&mut Ahead::new(&memory, 1), &memory), NONE);
        assert_eq!(pages(&mut Ahead::new(&memory[1..], 9), &memory[1..]), [page(1), page(2)]);
        assert_eq!(pages(&mut Ahead::new(&memory[1..N_IN_PAGE], 9), &memory[1..]), NONE);
        assert_eq!(pages(&mut Ahead::new::<u64>(&[], 9), &memory), NONE);
    }

    #[test]
    fn a_page_that_was_asked_for_is_there_and_what_was_in_it_stays() {
        let mut memory = Buffer::<u64>::zeroed(3 * N_IN_PAGE);
        memory[7] = 7;
        let mut ahead = Ahead::new(&memory, 2);
        (0..2).filter_map(|_| ahead.next_page(&memory)).for_each(Page::ask_for);
        assert_eq!(memory[7], 7);
        #[cfg(target_os = "linux")]
        {
            let is_there = |number: usize| {
                let mut state = [0; 1];
                let start = memory[number * N_IN_PAGE..].as_ptr().cast_mut().cast();
                // SAFETY: one page is asked about, which takes one byte to answer.
                assert_eq!(unsafe { libc::mincore(start, 4096, state.as_mut_ptr()) }, 0);
                state[0] & 1 == 1
            };
            assert!(is_there(0) && is_there(1), "Linux knows this request since 5.14");
            assert!(!is_there(2));
        }
        assert!(memory[8..].iter().all(|&number| number == 0));
    }
}
