//! Memory, and when it comes: large buffers in huge pages, and what will be read next.
//!
//! The first touch of a page of 4 KiB costs as much time as tokenizing several hundred bytes, and rows take three times as many bytes as their
//! text. `NumPy` asks for its own arrays in the same way.
#![allow(unsafe_code)] // a system call and a hint, both about memory that is ours

/// Of a huge page, where they are of the usual size.
pub const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Bytes from which a buffer is worth the request: one of them is sure to lie in it.
#[cfg(target_os = "linux")]
const LARGE_BYTES: usize = 2 * HUGE_PAGE_BYTES;

/// `n` zeros, or whatever the default is.
pub fn zeroed<T: Copy + Default>(n: usize) -> Vec<T> {
    let buffer = vec![T::default(); n]; // from memory that is zero already, for integers, so that no page is touched yet
    #[cfg(target_os = "linux")]
    ask_for_huge_pages(&buffer);
    buffer
}

#[cfg(target_os = "linux")]
fn ask_for_huge_pages<T>(buffer: &[T]) {
    let n_bytes = size_of_val(buffer);
    if n_bytes < LARGE_BYTES {
        return;
    }
    // SAFETY: sysconf reads a constant.
    let page_bytes = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let start = buffer.as_ptr() as usize;
    let first_page = start.next_multiple_of(page_bytes);
    // SAFETY: the range lies inside the buffer, and the advice changes no content. Where it is not taken, nothing is lost.
    unsafe { libc::madvise(first_page as *mut libc::c_void, start + n_bytes - first_page, libc::MADV_HUGEPAGE) };
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
    fn buffers_of_every_size_are_zero() {
        for n in [0, 1, 1000, 3_000_001] {
            let buffer = zeroed::<i64>(n);
            assert!(buffer.len() == n && buffer.iter().all(|&value| value == 0));
        }
    }
}
