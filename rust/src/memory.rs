//! Memory, and when it comes: large buffers in huge pages, and what will be read next.
//!
//! The first touch of a page of 4 KiB costs as much time as tokenizing several hundred bytes, and rows take three times as many bytes as their
//! text. `NumPy` asks for its own arrays in the same way.
#![allow(unsafe_code)] // a system call and a hint, both about memory that is ours

use std::ops::{Deref, DerefMut, Range};

/// Of a huge page, where they are of the usual size.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Of a cache line.
const LINE_BYTES: usize = 64;

/// Numbers in memory that is zero by nature, so that no page is touched before it is written. A large buffer lies in whole huge pages,
/// a small one in whole cache lines.
#[derive(Debug)]
pub struct Buffer<T> {
    memory: Vec<T>,
    own: Range<usize>,
}

impl<T: Copy + Default> Buffer<T> {
    /// `n` zeros, or whatever the default is.
    pub fn zeroed(n: usize) -> Self {
        let n_bytes = n * size_of::<T>();
        let unit = if n_bytes < HUGE_PAGE_BYTES { LINE_BYTES } else { HUGE_PAGE_BYTES };
        let memory = vec![T::default(); (n_bytes.next_multiple_of(unit) + unit) / size_of::<T>()];
        let n_before = memory.as_ptr() as usize % unit;
        let start = if n_before == 0 { 0 } else { (unit - n_before) / size_of::<T>() };
        let buffer = Self { memory, own: start..start + n };
        #[cfg(target_os = "linux")]
        if unit == HUGE_PAGE_BYTES {
            ask_for_huge_pages(&buffer);
        }
        buffer
    }

    /// Only the first `n`.
    pub fn truncate(&mut self, n: usize) {
        self.own.end = self.own.end.min(self.own.start + n);
    }

    /// The memory, and where in it the numbers are.
    pub fn into_memory(self) -> (Vec<T>, Range<usize>) {
        (self.memory, self.own)
    }
}

impl<T: Copy + Default> Default for Buffer<T> {
    fn default() -> Self {
        Self::zeroed(0)
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        &self.memory[self.own.clone()]
    }
}

impl<T> DerefMut for Buffer<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.own.clone()]
    }
}

/// Of memory that starts at a huge page.
#[cfg(target_os = "linux")]
fn ask_for_huge_pages<T>(memory: &[T]) {
    // SAFETY: the range is borrowed, and the advice changes no content. Where it is not taken, nothing is lost.
    unsafe { libc::madvise(memory.as_ptr().cast_mut().cast(), size_of_val(memory), libc::MADV_HUGEPAGE) };
}

/// Asks for the memory of a value, without waiting for it.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which reads nothing that a program could see, about memory that is borrowed.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_every_size_are_zero_and_start_where_pages_or_lines_do() {
        for n in [0, 1, 1000, 3_000_001] {
            let mut buffer = Buffer::<[i32; 2]>::zeroed(n);
            assert!(buffer.len() == n && buffer.iter().all(|&value| value == [0; 2]));
            assert_eq!(buffer.as_ptr() as usize % if n > 1000 { HUGE_PAGE_BYTES } else { LINE_BYTES }, 0);
            buffer.fill([1; 2]);
            buffer.truncate(5);
            let (memory, own) = buffer.into_memory();
            assert!(own.len() == n.min(5) && memory[own].iter().all(|&value| value == [1; 2]));
        }
    }
}
