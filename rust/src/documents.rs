//! Texts as they come from outside: checks UTF-8 and borrows, never copies.

use crate::error::{Error, Result};

/// Longest document in bytes: spans are 32 bits wide.
pub const MAX_DOCUMENT_BYTES: usize = u32::MAX as usize;

/// One document from bytes.
///
/// # Errors
/// [`Error::Document`] where the bytes are not UTF-8, or too many.
pub fn from_bytes(index: usize, bytes: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        Error::document(
            index,
            format!(
                "byte {at} (0x{:02x}) is not valid UTF-8; decode the text with its own encoding first, or give bytes that are UTF-8.",
                bytes[at]
            ),
        )
    })?;
    within_limit(index, text)
}

/// One document from text.
///
/// # Errors
/// [`Error::Document`] where it is longer than [`MAX_DOCUMENT_BYTES`].
pub fn within_limit(index: usize, text: &str) -> Result<&str> {
    if text.len() <= MAX_DOCUMENT_BYTES {
        return Ok(text);
    }
    Err(Error::document(index, format!("{} bytes are more than {MAX_DOCUMENT_BYTES}; split it into several documents.", text.len())))
}

/// The strings of an Arrow array with offsets (Utf8 or `LargeUtf8`): `offsets` has one entry more than there are strings.
///
/// # Errors
/// [`Error::Document`] where a string is not UTF-8 or its offsets leave the data.
pub fn from_offsets<'d, O: Copy + TryInto<usize>>(offsets: &[O], data: &'d [u8]) -> Result<Vec<&'d str>> {
    let position = |offset: O| offset.try_into().unwrap_or(usize::MAX);
    let ranges = offsets.windows(2).map(|pair| position(pair[0])..position(pair[1]));
    ranges
        .enumerate()
        .map(|(index, range)| {
            let bytes = data.get(range).ok_or_else(|| outside(index))?;
            from_bytes(index, bytes)
        })
        .collect()
}

/// The strings of an Arrow `Utf8View` array: 16 bytes a view, short strings inline, long ones in one of the buffers.
///
/// # Errors
/// As [`from_offsets`].
pub fn from_views<'d>(views: &'d [u8], buffers: &[&'d [u8]]) -> Result<Vec<&'d str>> {
    let (views, _) = views.as_chunks::<16>();
    views
        .iter()
        .enumerate()
        .map(|(index, view)| {
            let n_bytes = word(view, 0);
            let bytes = if n_bytes <= 12 {
                view.get(4..4 + n_bytes)
            } else {
                let (buffer, start) = (word(view, 8), word(view, 12));
                buffers.get(buffer).and_then(|data| data.get(start..start + n_bytes))
            };
            from_bytes(index, bytes.ok_or_else(|| outside(index))?)
        })
        .collect()
}

fn word(view: &[u8; 16], at: usize) -> usize {
    u32::from_le_bytes([view[at], view[at + 1], view[at + 2], view[at + 3]]) as usize
}

fn outside(index: usize) -> Error {
    Error::document(index, "its Arrow offsets point outside the data; rebuild the array.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_give_the_strings_between_them() {
        assert_eq!(from_offsets(&[1_i32, 3, 3], b"xabz"), Ok(vec!["ab", ""]));
        assert!(matches!(from_offsets(&[0_i64, 9], b"ab"), Err(Error::Document { index: 0, .. })));
        assert!(matches!(from_offsets(&[0_i64, -1], b"ab"), Err(Error::Document { index: 0, .. })));
    }

    #[test]
    fn views_are_inline_or_in_a_buffer() {
        let mut views = vec![2, 0, 0, 0, b'h', b'i', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        views.extend([13, 0, 0, 0, b't', b'h', b'i', b'r', 0, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(from_views(&views, &[b"_thirteen byte"]), Ok(vec!["hi", "thirteen byte"]));
        assert!(from_views(&views, &[]).is_err());
    }

    #[test]
    fn bad_bytes_are_named_with_their_document() {
        let error = from_bytes(3, b"ok\xff");
        assert!(matches!(error, Err(Error::Document { index: 3, message }) if message.contains("byte 2 (0xff)")));
    }
}
