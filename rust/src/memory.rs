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
        let unit = unit_of::<T>(n);
        let memory = vec![T::default(); places::<T>(n, unit)];
        let own = own_part(memory.as_ptr(), n, unit);
        #[cfg(target_os = "linux")]
        if unit == HUGE_PAGE_BYTES {
            ask_for_huge_pages(memory[own.clone()].as_ptr(), n);
        }
        Self { memory, own }
    }

    /// `n` times this value.
    pub fn filled(n: usize, value: T) -> Self {
        let (mut memory, own) = Self::reserved(n);
        memory.resize(own.end, value);
        Self { memory, own }
    }

    /// A copy. For tables that are read here and there: with small pages, each look would miss the processor's table of pages as well.
    pub fn copied(values: &[T]) -> Self {
        let (mut memory, own) = Self::reserved(values.len());
        memory.resize(own.start, T::default());
        memory.extend_from_slice(values);
        Self { memory, own }
    }

    /// Memory for `n` values that is not touched yet, and where in it they go.
    fn reserved(n: usize) -> (Vec<T>, Range<usize>) {
        let unit = unit_of::<T>(n);
        let memory = Vec::<T>::with_capacity(places::<T>(n, unit));
        let own = own_part(memory.as_ptr(), n, unit);
        #[cfg(target_os = "linux")]
        if unit == HUGE_PAGE_BYTES {
            ask_for_huge_pages(memory.as_ptr().wrapping_add(own.start), n);
        }
        (memory, own)
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

/// A column of zeros, or whatever the default is, in huge pages where they fit: no page is touched before it is written.
pub fn zeros<T: Copy + Default>(n: usize) -> Vec<T> {
    let column = vec![T::default(); n];
    #[cfg(target_os = "linux")]
    if n * size_of::<T>() >= 2 * HUGE_PAGE_BYTES {
        let first = own_part(column.as_ptr(), 0, HUGE_PAGE_BYTES).start;
        let n_in_page = HUGE_PAGE_BYTES / size_of::<T>();
        ask_for_huge_pages(column[first..].as_ptr(), (n - first) / n_in_page * n_in_page);
    }
    column
}

/// What memory for `n` values is a multiple of.
fn unit_of<T>(n: usize) -> usize {
    if n * size_of::<T>() < HUGE_PAGE_BYTES { LINE_BYTES } else { HUGE_PAGE_BYTES }
}

/// Places among which `n` are sure to start at a unit and to fill whole ones.
fn places<T>(n: usize, unit: usize) -> usize {
    ((n * size_of::<T>()).next_multiple_of(unit) + unit) / size_of::<T>()
}

/// The `n` places from the first one on at which a unit starts.
fn own_part<T>(memory: *const T, n: usize, unit: usize) -> Range<usize> {
    let n_past = memory as usize % unit;
    let start = if n_past == 0 { 0 } else { (unit - n_past) / size_of::<T>() };
    start..start + n
}

/// For `n` values that start at a huge page, and the places after them up to the next one: see [`places`].
#[cfg(target_os = "linux")]
fn ask_for_huge_pages<T>(memory: *const T, n: usize) {
    let n_bytes = (n * size_of::<T>()).next_multiple_of(HUGE_PAGE_BYTES);
    // SAFETY: the memory is ours, and the advice changes no content. Where it is not taken, nothing is lost.
    unsafe { libc::madvise(memory.cast_mut().cast(), n_bytes, libc::MADV_HUGEPAGE) };
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
            assert!(*Buffer::filled(n, [1; 2]) == *buffer && *Buffer::copied(&buffer) == *buffer);
            assert!(zeros::<u32>(n) == vec![0; n]);
            buffer.truncate(5);
            let (memory, own) = buffer.into_memory();
            assert!(own.len() == n.min(5) && memory[own].iter().all(|&value| value == [1; 2]));
        }
    }
}
