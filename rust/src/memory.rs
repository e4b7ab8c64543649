//! Memory, and when it comes: large buffers in huge pages, those that were let go for those that come, and what will be read next.
//!
//! The first touch of a page of 4 KiB costs as much time as tokenizing several hundred bytes, and rows take three times as many bytes as
//! their text. `NumPy` asks for its own arrays in huge pages too. But the system clears those as well: for rows that takes a fifth of the
//! time of a call.
#![allow(unsafe_code)] // slices of memory that is ours, a system call and a hint about it

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use bytemuck::Pod;
#[cfg(target_os = "linux")]
use memmap2::Advice;
use memmap2::MmapMut;

/// Of a huge page, where they are of the usual size.
pub const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Buffers from this size on lie in huge pages.
const LEAST_HUGE_BYTES: usize = HUGE_PAGE_BYTES / 2;

/// Of a cache line.
const LINE_BYTES: usize = 64;

/// Smaller buffers are not kept: allocators give their memory again by themselves.
const LEAST_KEPT_BYTES: usize = 128 << 10;

/// Of all buffers that a pool keeps.
const MOST_KEPT_BYTES: usize = 32 << 20;

/// A buffer is not lent for less than one part in so many of it: all of its memory stays with what it is lent for.
const MOST_PARTS: usize = 4;

/// Sizes of buffers are rounded up to one part in so many of the next power of two, so that one that is let go is good for a little more,
/// too.
const SIZES: usize = 8;

/// Numbers in memory that is zero by nature, so that no page is touched before it is written. A large buffer lies in huge pages of its own,
/// a small one in whole cache lines.
///
/// Large ones do not come from the allocator: of memory that was in use before it clears every small page, and then it is too late for huge
/// ones.
#[derive(Debug)]
pub struct Buffer<T> {
    start: NonNull<T>,
    count: usize,
    _owner: Owner<T>,
}

/// What frees the memory of a buffer. Never looked at: the buffer alone does that.
#[derive(Debug)]
enum Owner<T> {
    Allocator { _memory: Vec<T> },
    System { _memory: MmapMut },
}

// SAFETY: a buffer is its numbers, like a vector; the pointer is to memory that its owner owns.
unsafe impl<T: Send> Send for Buffer<T> {}
// SAFETY: the same.
unsafe impl<T: Sync> Sync for Buffer<T> {}

impl<T: Pod> Buffer<T> {
    /// `n` zeros.
    pub fn zeroed(n: usize) -> Self {
        let n_bytes = n.checked_mul(size_of::<T>()).filter(|&n_bytes| n_bytes >= LEAST_HUGE_BYTES);
        let (start, owner) = if let Some((mut memory, own)) = n_bytes.and_then(mapped) {
            let numbers: &mut [T] = bytemuck::cast_slice_mut(&mut memory[own]);
            (NonNull::from(numbers).cast(), Owner::System { _memory: memory })
        } else {
            let mut memory = vec![T::zeroed(); n + LINE_BYTES / size_of::<T>()];
            let start = (memory.as_ptr() as usize).wrapping_neg() % LINE_BYTES / size_of::<T>();
            (NonNull::from(&mut memory[start..start + n]).cast(), Owner::Allocator { _memory: memory })
        };
        Self { start, count: n, _owner: owner }
    }

    /// `n` times this value.
    pub fn filled(n: usize, value: T) -> Self {
        let mut buffer = Self::zeroed(n);
        buffer.fill(value);
        buffer
    }

    /// A copy. For tables that are read here and there: with small pages, each look would miss the processor's table of pages as well.
    pub fn copied(values: &[T]) -> Self {
        let mut buffer = Self::zeroed(values.len());
        buffer.copy_from_slice(values);
        buffer
    }
}

impl<T> Buffer<T> {
    /// Where the numbers start: for who owns this and nothing else, or writes no number that others read.
    pub fn start(&self) -> *mut T {
        self.start.as_ptr()
    }

    fn n_bytes(&self) -> usize {
        self.count * size_of::<T>()
    }
}

/// Memory that the system gives, and where in it so many bytes are, from the start of a huge page on; None where it gives none.
fn mapped(n_bytes: usize) -> Option<(MmapMut, Range<usize>)> {
    let n_in_pages = n_bytes.checked_next_multiple_of(HUGE_PAGE_BYTES)?;
    let memory = MmapMut::map_anon(n_in_pages.checked_add(HUGE_PAGE_BYTES)?).ok()?;
    let start = (memory.as_ptr() as usize).wrapping_neg() % HUGE_PAGE_BYTES;
    // Where the advice is not taken, nothing is lost.
    #[cfg(target_os = "linux")]
    let _ = memory.advise_range(Advice::HugePage, start, n_in_pages);
    Some((memory, start..start + n_bytes))
}

/// Buffers that were let go, for those that come. Bounded: the oldest are freed.
#[derive(Debug)]
pub struct Pool<T>(Mutex<VecDeque<Buffer<T>>>);

/// The first numbers of a buffer that goes back to its pool in the end.
#[derive(Debug)]
pub struct Lent<T: Pod> {
    buffer: Buffer<T>,
    count: usize,
    pool: Arc<Pool<T>>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Pod> Pool<T> {
    /// `n` numbers, whatever they are: zeros, or what was in this memory before.
    pub fn lend(self: &Arc<Self>, n: usize) -> Lent<T> {
        let size = n.next_multiple_of((n.next_power_of_two() / SIZES).max(1));
        let mut buffer = self.kept(n).unwrap_or_else(|| Buffer::zeroed(size));
        if cfg!(test) && n * size_of::<T>() < LEAST_KEPT_BYTES {
            bytemuck::cast_slice_mut::<T, u8>(&mut buffer).fill(0xAA); // tests write few rows, and shall not find zeros
        }
        Lent { buffer, count: n, pool: Arc::clone(self) }
    }

    /// The smallest kept buffer that is large enough. Never waits: after a fork the lock may be held by a thread that is no more.
    fn kept(&self, n: usize) -> Option<Buffer<T>> {
        let mut kept = self.0.try_lock().ok()?;
        let fitting = kept.iter().enumerate().filter(|(_, buffer)| (n..=n.saturating_mul(MOST_PARTS)).contains(&buffer.len()));
        let (at, _) = fitting.min_by_key(|(_, buffer)| buffer.len())?;
        kept.remove(at)
    }

    fn keep(&self, buffer: Buffer<T>) {
        if !(LEAST_KEPT_BYTES..=MOST_KEPT_BYTES).contains(&buffer.n_bytes()) {
            return;
        }
        if let Ok(mut kept) = self.0.try_lock() {
            kept.push_back(buffer);
            while kept.iter().map(Buffer::n_bytes).sum::<usize>() > MOST_KEPT_BYTES {
                kept.pop_front();
            }
        }
    }
}

impl<T: Pod> Drop for Lent<T> {
    fn drop(&mut self) {
        self.pool.keep(std::mem::take(&mut self.buffer));
    }
}

impl<T: Pod> Lent<T> {
    /// Where the numbers start: for who owns this and nothing else.
    pub fn as_ptr(&self) -> *mut T {
        self.buffer.start()
    }

    /// Only the first `n`.
    pub fn truncate(&mut self, n: usize) {
        self.count = self.count.min(n);
    }
}

impl<T: Pod> Deref for Lent<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        &self.buffer[..self.count]
    }
}

impl<T: Pod> DerefMut for Lent<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.buffer[..self.count]
    }
}

impl<T: Pod> Default for Buffer<T> {
    fn default() -> Self {
        Self::zeroed(0)
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: so many numbers are there, in memory that the owner keeps where it is, and only the buffer gives it out.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl<T> DerefMut for Buffer<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above; and the buffer is borrowed for nothing else.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.count) }
    }
}

/// A column of zeros, or whatever the default is, in huge pages where they fit: no page is touched before it is written.
pub fn zeros<T: Copy + Default>(n: usize) -> Vec<T> {
    let column = vec![T::default(); n];
    prefer_huge_pages(column.as_ptr(), column.capacity());
    column
}

/// Room for so many more in a column, in huge pages where they fit.
pub fn reserve<T: Copy>(column: &mut Vec<T>, n_more: usize) {
    if column.capacity() - column.len() < n_more {
        // The advice splits a mapping, and an allocator moves only a whole one without touching what is in it.
        let mut longer = Vec::with_capacity(column.len() + n_more);
        prefer_huge_pages(longer.as_ptr(), longer.capacity());
        longer.extend_from_slice(column);
        *column = longer;
    }
}

/// The memory of a column comes in huge pages from now on, where it is large. Where the advice is not taken, nothing is lost.
fn prefer_huge_pages<T>(column: *const T, capacity: usize) {
    #[cfg(target_os = "linux")]
    {
        let n_before = (column as usize).wrapping_neg() % HUGE_PAGE_BYTES;
        let n_in_pages = (capacity * size_of::<T>()).saturating_sub(n_before) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
        if n_in_pages > 0 {
            // SAFETY: these whole pages lie inside memory that is the column's, and the advice changes no content.
            unsafe { libc::madvise(column.byte_add(n_before).cast_mut().cast(), n_in_pages, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (column, capacity);
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
        for n in [0, 1, 1000, 131_071, 131_072, 3_000_001] {
            let mut buffer = Buffer::<[i32; 2]>::zeroed(n);
            assert!(buffer.len() == n && buffer.iter().all(|&value| value == [0; 2]));
            assert_eq!(buffer.as_ptr() as usize % if n * 8 >= LEAST_HUGE_BYTES { HUGE_PAGE_BYTES } else { LINE_BYTES }, 0);
            buffer.fill([1; 2]);
            assert!(*Buffer::filled(n, [1; 2]) == *buffer && *Buffer::copied(&buffer) == *buffer);
            assert!(zeros::<u32>(n) == vec![0; n]);
            let mut column = vec![7_u16; n / 2];
            reserve(&mut column, n);
            assert!(column == vec![7; n / 2] && column.capacity() >= n / 2 + n);
        }
    }

    #[test]
    fn a_buffer_that_was_let_go_is_lent_again_where_it_fits() {
        const N: usize = LEAST_KEPT_BYTES;
        let pool = Arc::new(Pool::<i64>::default());
        let lend = |n: usize| {
            let mut lent = pool.lend(n);
            assert_eq!(lent.len(), n);
            lent.truncate(n + 1);
            let is_new = lent.first() != Some(&7);
            lent.fill(7);
            (is_new, lent)
        };
        assert!(lend(N).0 && lend(2 * N + 1).0, "nothing was let go, or it was too small");
        assert!(!lend(2 * N + N / SIZES).0, "sizes are rounded up");
        let both = [lend(N), lend(N)];
        assert!(!both[0].0 && !both[1].0 && lend(N).0, "each is lent once");
        drop(both);
        assert!(lend(N / 8).0 && lend(1).0 && lend(1).0 && lend(0).0, "not for much less than it holds; small ones are not kept");
        assert!(lend(MOST_KEPT_BYTES / 8).0 && !lend(MOST_KEPT_BYTES / 8).0 && lend(N).0, "the oldest made room");
        assert!(lend(MOST_KEPT_BYTES).0 && lend(MOST_KEPT_BYTES).0, "the largest are not kept");
    }
}
