//! Errors of the core to exceptions of `longctx.errors`.

use pyo3::prelude::*;
use pyo3::types::PyModule;

use crate::error::Error;

/// The Python exception for an error, or whatever kept it from being made.
pub fn to_py(py: Python<'_>, error: &Error) -> PyErr {
    raise(py, error).unwrap_or_else(|failure| failure)
}

fn raise(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let message = error.to_string();
    match error {
        Error::Config(_) => exception(py, "ConfigError", (message,)),
        Error::Tokenizer(_) => exception(py, "TokenizerError", (message,)),
        Error::Document { index, .. } => exception(py, "DocumentError", (message, *index)),
    }
}

/// An instance of the named class of `longctx.errors`.
pub fn exception<'py>(py: Python<'py>, class: &str, arguments: impl pyo3::call::PyCallArgs<'py>) -> PyResult<PyErr> {
    let instance = PyModule::import(py, "longctx.errors")?.getattr(class)?.call1(arguments)?;
    Ok(PyErr::from_value(instance))
}
