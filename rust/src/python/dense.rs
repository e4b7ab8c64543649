//! The functions of [`crate::dense`], in place on arrays of float32, or of int16 that are the bits of bfloat16: `NumPy` has no such type.

use bytemuck::{Pod, cast_slice, cast_slice_mut};
use numpy::ndarray::Dimension;
use numpy::{Element, PyArray, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::dense::{self, Bfloat16, Norm, Number};

/// An element of an array, and the number that it is.
trait Stored: Element + Pod {
    type Number: Number + Pod + Send + Sync;
}

impl Stored for f32 {
    type Number = Self;
}

impl Stored for i16 {
    type Number = Bfloat16;
}

/// Puts `gelu(x + bias)` in the place of each `x` of `states`, `(n, width)`; `bias` is `(width,)`.
#[pyfunction]
pub fn bias_gelu(states: &Bound<'_, PyAny>, bias: &Bound<'_, PyAny>) -> PyResult<()> {
    if is_narrow(states) { gelu_of::<i16>(states, bias) } else { gelu_of::<f32>(states, bias) }
}

/// Puts the normalized `x + bias + residual` in the place of each `x` of `states`, `(n, width)`, as `residual`; `bias` and what the norm
/// multiplies by and adds, `scale` and `shift`, are `(width,)`.
#[pyfunction]
#[pyo3(signature = (states, bias, residual, *, scale, shift, epsilon))]
pub fn bias_add_norm(
    states: &Bound<'_, PyAny>,
    bias: &Bound<'_, PyAny>,
    residual: &Bound<'_, PyAny>,
    scale: &Bound<'_, PyAny>,
    shift: &Bound<'_, PyAny>,
    epsilon: f32,
) -> PyResult<()> {
    let columns = [bias, scale, shift];
    if is_narrow(states) { norm_of::<i16>(states, residual, columns, epsilon) } else { norm_of::<f32>(states, residual, columns, epsilon) }
}

fn is_narrow(states: &Bound<'_, PyAny>) -> bool {
    states.cast::<PyArray<i16, numpy::Ix2>>().is_ok()
}

fn gelu_of<E: Stored>(states: &Bound<'_, PyAny>, bias: &Bound<'_, PyAny>) -> PyResult<()> {
    let mut rows = in_order::<E, numpy::Ix2>(states)?.try_readwrite()?;
    let bias = column::<E>(bias, rows.dims()[1])?;
    let (rows, bias) = (cast_slice_mut(rows.as_slice_mut()?), cast_slice(bias.as_slice()?));
    states.py().detach(|| dense::bias_gelu::<E::Number>(rows, bias));
    Ok(())
}

fn norm_of<E: Stored>(
    states: &Bound<'_, PyAny>,
    residual: &Bound<'_, PyAny>,
    columns: [&Bound<'_, PyAny>; 3],
    epsilon: f32,
) -> PyResult<()> {
    let mut rows = in_order::<E, numpy::Ix2>(states)?.try_readwrite()?;
    let residual: PyReadonlyArray2<'_, E> = in_order(residual)?.try_readonly()?;
    if residual.dims() != rows.dims() {
        return Err(PyValueError::new_err("`residual` and `states` differ in shape"));
    }
    let [bias, scale, shift] = columns.map(|numbers| column::<E>(numbers, rows.dims()[1]));
    let (bias, scale, shift) = (bias?, scale?, shift?);
    let norm = Norm { scale: cast_slice(scale.as_slice()?), shift: cast_slice(shift.as_slice()?), epsilon };
    let (bias, residual) = (cast_slice(bias.as_slice()?), cast_slice(residual.as_slice()?));
    let rows = cast_slice_mut(rows.as_slice_mut()?);
    states.py().detach(|| dense::bias_add_norm::<E::Number>(rows, bias, residual, norm));
    Ok(())
}

/// An array of this kind; slices of others may be in another order.
fn in_order<'a, 'py, E: Element, D: Dimension>(array: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyArray<E, D>>> {
    let array = array.cast::<PyArray<E, D>>()?;
    if array.is_c_contiguous() { Ok(array) } else { Err(PyValueError::new_err("an array is not C-contiguous")) }
}

/// A number for each column.
fn column<'py, E: Element>(numbers: &Bound<'py, PyAny>, width: usize) -> PyResult<PyReadonlyArray1<'py, E>> {
    let numbers: PyReadonlyArray1<'_, E> = in_order(numbers)?.try_readonly()?;
    if numbers.len() != width {
        return Err(PyValueError::new_err(format!("there are {} numbers for {width} columns", numbers.len())));
    }
    Ok(numbers)
}
