//! The function `outline`: what Python wants to know of a tokenizer's definition before it makes a chunker of it.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::engine::Outline;

/// Padding written into a definition: id, segment and direction.
type Padding = (Option<u32>, u32, Option<String>);

/// The padding of a `tokenizer.json`, and the id of the first of `tokens` that is an added token of it, else of the first in its
/// vocabulary; a `ValueError` where it is none, as far as it is read for that.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)] // PyO3 hands arguments over by value
pub fn outline(py: Python<'_>, tokenizer_json: &[u8], tokens: Vec<String>) -> PyResult<(Option<Padding>, Option<u32>)> {
    let read = || Outline::parse(tokenizer_json).map(|outline| (outline.first_id(&tokens), outline.padding));
    let (id, padding) = py.detach(read).map_err(PyValueError::new_err)?;
    Ok((padding.map(|padding| (padding.pad_id, padding.pad_type_id, padding.direction)), id))
}
