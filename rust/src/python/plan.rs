//! The class `Plan`: tokenized documents, from which rows are written straight into `NumPy` arrays.

use numpy::ndarray::Array2;
use numpy::{Element, IntoPyArray, PyArray1, PyArray2, PyArray3, PyArrayMethods};
use pyo3::prelude::*;

use super::chunker::RowSettings;
use super::error::{exception, to_py};
use super::lent::{array, flat_array};
use crate::error::Error;
use crate::output::{Output, Rows};
use crate::parallel::with_threads;
use crate::plan;
use crate::rows::RowId;

/// Documents, tokenized and cut.
#[pyclass(frozen, module = "longctx._core")]
#[derive(Debug)]
pub struct Plan {
    plan: plan::Plan,
    settings: RowSettings,
}

/// The arrays of a range of rows, in the order `ChunkBatch` takes them.
pub type RowArrays<'py> = (
    Bound<'py, PyAny>,
    Bound<'py, PyArray1<i32>>,
    Bound<'py, PyArray1<i32>>,
    Bound<'py, PyArray2<i64>>,
    Bound<'py, PyArray2<i64>>,
    Bound<'py, PyArray1<i64>>,
    Option<Bound<'py, PyArray3<i32>>>,
);

impl Plan {
    pub fn new(plan: plan::Plan, settings: RowSettings) -> Self {
        Self { plan, settings }
    }
}

#[pymethods]
impl Plan {
    /// Rows of all documents.
    #[getter]
    fn n_rows(&self) -> usize {
        self.plan.n_rows()
    }

    /// Arrays of rows `start..stop`.
    fn rows<'py>(&self, py: Python<'py>, start: usize, stop: usize) -> PyResult<RowArrays<'py>> {
        if start > stop || stop > self.plan.n_rows() {
            let message = format!("rows {start}..{stop} are not in 0..{}.", self.plan.n_rows());
            return Err(exception(py, "ConfigError", (message,))?);
        }
        if self.settings.wide { self.arrays::<i64>(py, start, stop) } else { self.arrays::<i32>(py, start, stop) }
    }

    /// The documents with rows in `start..stop`: the first one's index, and int64 `(n_documents, 4)` of tokens, tokens read, chunks,
    /// chunks read.
    fn coverage<'py>(&self, py: Python<'py>, start: usize, stop: usize) -> PyResult<(usize, Bound<'py, PyArray2<i64>>)> {
        let documents = self.plan.documents_of(&(start..stop.min(self.plan.n_rows())));
        let counts = self.plan.coverage(documents.clone());
        Ok((documents.start, matrix(py, counts)?))
    }
}

impl Plan {
    fn arrays<'py, T: RowId + Element>(&self, py: Python<'py>, start: usize, stop: usize) -> PyResult<RowArrays<'py>> {
        let RowSettings { frame, format, memory, .. } = &self.settings;
        let lay_out = || {
            let mut output = Output::new(frame, format, memory, 0);
            output.add(&self.plan, start..stop, 0, 0);
            output.finish()
        };
        let rows: Rows<T> = py.detach(|| with_threads(format.n_threads, lay_out));
        row_arrays(py, rows)
    }
}

/// The arrays of rows. Nothing is copied.
pub fn row_arrays<T: RowId + Element>(py: Python<'_>, rows: Rows<T>) -> PyResult<RowArrays<'_>> {
    let shape = (rows.lengths.len(), rows.width);
    let offsets = rows.offsets.map(|spans| flat_array(py, spans)?.reshape((shape.0, shape.1, 2)));
    Ok((
        array(py, rows.input_ids)?.reshape(shape)?.into_any(),
        rows.lengths.into_pyarray(py),
        rows.document_index.into_pyarray(py),
        matrix(py, rows.token_spans)?,
        matrix(py, rows.char_spans)?,
        rows.fresh_tokens.into_pyarray(py),
        offsets.transpose()?,
    ))
}

/// `(n, N)` from `n` rows of `N`; the memory is moved.
pub fn matrix<const N: usize>(py: Python<'_>, rows: Vec<[i64; N]>) -> PyResult<Bound<'_, PyArray2<i64>>> {
    let shape = (rows.len(), N);
    Ok(Array2::from_shape_vec(shape, rows.into_flattened()).map_err(|e| shape_error(py, &e))?.into_pyarray(py))
}

/// Cannot happen while `batch` keeps its promise about lengths; an error all the same, never a panic.
fn shape_error(py: Python<'_>, error: &dyn std::fmt::Display) -> PyErr {
    to_py(py, &Error::Config(format!("internal: rows do not fill their array: {error}.")))
}
