//! `NumPy` arrays over memory that is lent: when the last of them is gone, it is used for other rows.
#![allow(unsafe_code)] // arrays over memory that something else owns

use std::any::Any;

use bytemuck::Pod;
use numpy::ndarray::ArrayViewMut1;
use numpy::{Element, PyArray1};
use pyo3::prelude::*;

use crate::memory::Lent;
use crate::rows::RowId;

/// Owns the memory of arrays, and does not look at it.
#[pyclass(frozen, module = "longctx._core")]
struct RowOwner(#[allow(dead_code)] Box<dyn Any + Send + Sync>); // is there to be dropped

/// An array of all numbers.
pub fn array<T: RowId + Element>(py: Python<'_>, lent: Lent<T>) -> PyResult<Bound<'_, PyArray1<T>>> {
    over(py, lent)
}

/// An array of all numbers of all pairs.
pub fn flat_array(py: Python<'_>, lent: Lent<[i32; 2]>) -> PyResult<Bound<'_, PyArray1<i32>>> {
    over(py, lent)
}

/// For `U` made of as many `T` as fit into it.
fn over<U: Pod + Send + Sync, T: Pod + Element>(py: Python<'_>, lent: Lent<U>) -> PyResult<Bound<'_, PyArray1<T>>> {
    let (start, n_bytes) = (lent.as_ptr().cast::<T>(), size_of_val(&*lent));
    let owner = Bound::new(py, RowOwner(Box::new(lent)))?;
    // SAFETY: numbers of any bits, which stay where they are as long as the owner lives; the array keeps the owner, and from here on is
    // alone in reading and writing them.
    Ok(unsafe {
        let numbers = ArrayViewMut1::from_shape_ptr(n_bytes / size_of::<T>(), start);
        PyArray1::borrow_from_array(&numbers, owner.into_any())
    })
}
