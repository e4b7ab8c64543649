//! Large buffers: in huge pages where the system has them on request.
//!
//! The first touch of a page of 4 KiB costs as much time as tokenizing several hundred bytes, and rows take three times as many bytes as their
//! text. `NumPy` asks for its own arrays in the same way.
#![allow(unsafe_code)] // one system call about memory that is ours

/// Bytes from which a buffer is worth the request: two huge pages.
#[cfg(target_os = "linux")]
const LARGE_BYTES: usize = 4 << 20;

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
