//! The Python module `longctx._core`: names only.

mod chunker;
mod dense;
mod error;
mod lent;
mod outline;
mod plan;
mod texts;

use pyo3::prelude::*;

/// The compiled half of longctx. Use `longctx.Chunker`, which checks and explains its arguments.
#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use super::chunker::Chunker;
    #[pymodule_export]
    use super::dense::{bias_add_norm, bias_gelu};
    #[pymodule_export]
    use super::outline::outline;
    #[pymodule_export]
    use super::plan::Plan;

    /// Version of the compiled half; the same as the package's.
    #[pymodule_export]
    #[allow(non_upper_case_globals)] // a Python name
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
