//! A text that one thread writes down while others read what is there.
#![allow(unsafe_code)] // memory that is shared between who writes it and who reads it

#[cfg(any(test, feature = "python"))]
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::memory::Buffer;

/// As much of a text as is there. What is there never changes and never moves.
#[derive(Debug, Default)]
pub struct GrowingText {
    memory: Buffer<u8>,
    /// So many bytes are there: whole characters.
    n_bytes: AtomicUsize,
}

/// Writes a text. There is one for each.
#[cfg(any(test, feature = "python"))] // only Python gives texts that have to be copied
#[derive(Debug, Default)]
pub struct Writer(Arc<GrowingText>);

impl GrowingText {
    /// The text so far.
    pub fn as_str(&self) -> &str {
        let n_bytes = self.n_bytes.load(Ordering::Acquire);
        // SAFETY: these bytes were copied from strings before their number was told, and nobody writes them again.
        unsafe { std::str::from_utf8_unchecked(std::slice::from_raw_parts(self.memory.start(), n_bytes)) }
    }
}

#[cfg(any(test, feature = "python"))]
impl Writer {
    /// The text, for others to read. It grows until there is no room for more; a longer one has the same beginning.
    pub fn text(&self) -> &Arc<GrowingText> {
        &self.0
    }

    /// Bytes for which there is room.
    fn n_free_bytes(&self) -> usize {
        self.0.memory.len() - self.0.n_bytes.load(Ordering::Relaxed)
    }

    /// Appends to the text. Where there is no room, it is copied to memory with room for `n_more_bytes`, if they are enough; what is not used
    /// of it is never touched.
    pub fn push(&mut self, more: &str, n_more_bytes: impl FnOnce(&str) -> usize) {
        if self.n_free_bytes() < more.len() {
            let text = self.0.as_str();
            let mut memory = Buffer::zeroed(text.len() + more.len().max(n_more_bytes(text)));
            memory[..text.len()].copy_from_slice(text.as_bytes());
            let n_bytes = AtomicUsize::new(text.len());
            self.0 = Arc::new(GrowingText { memory, n_bytes });
        }
        let n_bytes = self.0.n_bytes.load(Ordering::Relaxed);
        // SAFETY: there is room; only this one writer writes, beyond what others read.
        unsafe { self.0.memory.start().add(n_bytes).copy_from_nonoverlapping(more.as_ptr(), more.len()) };
        self.0.n_bytes.store(n_bytes + more.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn what_is_there_stays_where_it_is_and_longer_texts_begin_like_it() {
        let mut writer = Writer::default();
        assert!(writer.text().as_str().is_empty() && writer.n_free_bytes() == 0);
        writer.push("é", |_| 5);
        let short = Arc::clone(writer.text());
        assert_eq!((short.as_str(), writer.n_free_bytes()), ("é", 3));
        let start = short.as_str().as_ptr();
        writer.push("abc", |_| unreachable!("there is room"));
        assert_eq!((short.as_str(), short.as_str().as_ptr()), ("éabc", start));
        writer.push("de", |text| {
            assert_eq!(text, "éabc");
            1
        });
        assert_eq!((short.as_str(), writer.text().as_str(), writer.n_free_bytes()), ("éabc", "éabcde", 0));
    }

    #[test]
    fn others_read_whole_characters_of_the_beginning_at_any_time() {
        const N_TIMES: usize = 100_000;
        let mut writer = Writer::default();
        writer.push("中", |_| 4 * N_TIMES);
        let text = Arc::clone(writer.text());
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut n_before = 0;
                while n_before < 4 * N_TIMES {
                    let so_far = text.as_str();
                    assert!(so_far.len() >= n_before && so_far.len() % 4 == 3 || so_far.len() == 4 * N_TIMES);
                    assert!(so_far[n_before.next_multiple_of(4).min(so_far.len())..].chars().all(|character| "中a".contains(character)));
                    n_before = so_far.len();
                }
            });
            (1..N_TIMES).for_each(|_| writer.push("a中", |_| unreachable!("there is room")));
            writer.push("a", |_| unreachable!("there is room"));
        });
    }
}
