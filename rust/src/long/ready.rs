//! Memory for the rows of a document that is still on its way.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::batch::{Reader, expected};
use crate::documents::MAX_DOCUMENT_BYTES;
use crate::engine::{Tokens, encode_into};
use crate::memory::Lent;
use crate::output::RowFormat;
use crate::rows::{RowId, RowMemory};
use crate::special::Frame;

/// Rows that there is room for, beside those that the beginning of a document speaks for, in parts of these.
const SPARE_ROWS: f64 = 0.5;

/// Memory that is made ready before it is asked once more whether there is still time.
const READY_BYTES: usize = 2 << 20;

impl Reader {
    /// Makes memory ready for the rows of a text of `n_bytes` that begins like this, in steps, until it `is_there`: the system clears each
    /// page when it is touched first, and that takes a sixth of the time of reading. The memory is lent next; where the text is sparser than its
    /// beginning, some of it stays with the rows unused.
    pub fn make_ready<T: RowId>(
        &self,
        (beginning, n_bytes): (&str, usize),
        frame: &Frame,
        format: &RowFormat,
        memory: &RowMemory,
        is_there: &AtomicBool,
    ) {
        let mut tokens = Tokens::default();
        if is_there.load(Ordering::Relaxed)
            || n_bytes > MAX_DOCUMENT_BYTES
            || encode_into(self.engine.as_ref(), beginning, &mut tokens).is_err()
        {
            return; // whoever reads the text says what is wrong with it
        }
        let form = self.form(frame, format);
        let n_places = |spare: f64| {
            let n_tokens = expected(tokens.len(), beginning.len(), n_bytes, spare);
            form.n_rows_ahead::<T>(n_tokens, n_bytes) * (frame.n_tokens() + form.room_tokens)
        };
        // Room for all rows, if the text is much denser than its beginning; but no more is touched than that speaks for.
        let (n_lent, n_touched) = (n_places(SPARE_ROWS), n_places(0.0));
        let mut ids = T::pool(memory).lend(n_lent);
        let mut offsets = form.has_offsets().then(|| memory.spans.lend(n_lent));
        let n_at_once = READY_BYTES / size_of::<T>();
        for start in (0..n_touched).step_by(n_at_once) {
            if is_there.load(Ordering::Relaxed) {
                break;
            }
            let end = (start + n_at_once).min(n_touched);
            ids.touch(start..end);
            if let Some(offsets) = &mut offsets {
                offsets.touch(start..end);
            }
        }
        ids.lend_next();
        offsets.into_iter().for_each(Lent::lend_next);
    }
}
