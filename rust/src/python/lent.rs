//! `NumPy` arrays over memory that is lent: when the last of them is gone, it is used for other rows.
#![allow(unsafe_code)] // arrays over memory that something else owns

use std::any::Any;

use bytemuck::Pod;
use numpy::ndarray::ArrayView1;
use numpy::{Element, PyArray1};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::memory::Lent;
use crate::rows::RowId;

/// Owns the memory of arrays; the `base` of each.
#[pyclass(frozen, module = "longctx._core")]
struct RowOwner(Box<dyn Any + Send + Sync>);

/// An array of all numbers.
pub fn array<T: RowId + Element>(py: Python<'_>, lent: Lent<T>) -> PyResult<Bound<'_, PyArray1<T>>> {
    over(py, lent, |numbers| numbers)
}

/// An array of all numbers of all pairs.
pub fn flat_array(py: Python<'_>, lent: Lent<[i32; 2]>) -> PyResult<Bound<'_, PyArray1<i32>>> {
    over(py, lent, <[[i32; 2]]>::as_flattened)
}

fn over<U: Pod + Send + Sync, T: Element>(
    py: Python<'_>,
    lent: Lent<U>,
    numbers: impl for<'l> Fn(&'l [U]) -> &'l [T],
) -> PyResult<Bound<'_, PyArray1<T>>> {
    let owner = Bound::new(py, RowOwner(Box::new(lent)))?;
    let lent = owner.get().0.downcast_ref::<Lent<U>>().ok_or_else(|| PyRuntimeError::new_err("internal: an owner of other memory."))?;
    // SAFETY: the array keeps the owner, which keeps the memory where it is and does not look at it until it is gone.
    Ok(unsafe { PyArray1::borrow_from_array(&ArrayView1::from(numbers(lent)), owner.clone().into_any()) })
}
