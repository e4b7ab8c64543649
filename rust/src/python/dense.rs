//! The functions of [`crate::dense`], in place on arrays.

use numpy::{Element, PyArray, PyReadonlyArray1, PyReadonlyArray2, PyReadwriteArray2, PyUntypedArrayMethods, ndarray::Dimension};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::dense::{self, Norm};

/// Puts `gelu(x + bias)` in the place of each float32 of `states`, `(n, width)`; `bias` is `(width,)`.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)] // PyO3 hands arguments over by value
pub fn bias_gelu(py: Python<'_>, mut states: PyReadwriteArray2<'_, f32>, bias: PyReadonlyArray1<'_, f32>) -> PyResult<()> {
    check_order(&states)?;
    let bias = column(&bias, states.as_array().ncols())?;
    let states = states.as_slice_mut()?;
    py.detach(|| dense::bias_gelu(states, bias));
    Ok(())
}

/// Puts the normalized `x + bias + residual` in the place of each float32 of `states`, `(n, width)`, as `residual`; `bias` and what the
/// norm multiplies by and adds, `scale` and `shift`, are `(width,)`.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)] // as above
#[pyo3(signature = (states, bias, residual, *, scale, shift, epsilon))]
pub fn bias_add_norm(
    py: Python<'_>,
    mut states: PyReadwriteArray2<'_, f32>,
    bias: PyReadonlyArray1<'_, f32>,
    residual: PyReadonlyArray2<'_, f32>,
    scale: PyReadonlyArray1<'_, f32>,
    shift: PyReadonlyArray1<'_, f32>,
    epsilon: f32,
) -> PyResult<()> {
    check_order(&states)?;
    check_order(&residual)?;
    if residual.as_array().dim() != states.as_array().dim() {
        return Err(PyValueError::new_err("`residual` and `states` differ in shape"));
    }
    let width = states.as_array().ncols();
    let norm = Norm { scale: column(&scale, width)?, shift: column(&shift, width)?, epsilon };
    let (states, bias, residual) = (states.as_slice_mut()?, column(&bias, width)?, residual.as_slice()?);
    py.detach(|| dense::bias_add_norm(states, bias, residual, norm));
    Ok(())
}

/// Slices of arrays are in the order of their memory, which may be column by column.
fn check_order<T: Element, D: Dimension>(array: &Bound<'_, PyArray<T, D>>) -> PyResult<()> {
    if array.is_c_contiguous() { Ok(()) } else { Err(PyValueError::new_err("an array is not C-contiguous")) }
}

/// A number for each column.
fn column<'a>(numbers: &'a PyReadonlyArray1<'_, f32>, width: usize) -> PyResult<&'a [f32]> {
    check_order(numbers)?;
    let numbers = numbers.as_slice()?;
    if numbers.len() != width {
        return Err(PyValueError::new_err(format!("there are {} numbers for {width} columns", numbers.len())));
    }
    Ok(numbers)
}
