//! Borrows text from Python objects and Arrow buffers; copies a long `str` that Python would have to write down in UTF-8.

use std::collections::HashMap;
use std::sync::Arc;

use numpy::PyReadonlyArray1;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PySlice, PyString};

use super::error::{exception, to_py};
use crate::documents::{from_bytes, from_offsets, from_views, within_limit};
use crate::error::Result;
use crate::growing::{GrowingText, Writer};

/// A `str` of more characters than this is copied in slices of as many, unless it is ASCII.
const SLICE_CHARS: usize = 4096;

/// Others begin to read a text of so many characters while it is copied: when this much of it is there, which says how long it may be.
const LONG_CHARS: usize = 4 << 20;
const BEGINNING_CHARS: usize = 4 * SLICE_CHARS;

/// Memory for the UTF-8 of a text, in terms of what its first slices ask for. What is not used is never touched.
const SPARE_BYTES: f64 = 1.05;

/// A run of documents that share one representation. Holds references, so that the text stays alive while the GIL is released.
#[derive(FromPyObject)]
pub enum Texts<'py> {
    /// `(offsets, data)` of an Arrow Utf8 array.
    Utf8(PyReadonlyArray1<'py, i32>, PyReadonlyArray1<'py, u8>),
    /// `(offsets, data)` of an Arrow `LargeUtf8` array.
    LargeUtf8(PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, u8>),
    /// `(views, buffers)` of an Arrow `Utf8View` array.
    Utf8View(PyReadonlyArray1<'py, u8>, Vec<PyReadonlyArray1<'py, u8>>),
    /// A list of `str` and `bytes`.
    Objects(Vec<Bound<'py, PyAny>>),
}

/// One `str` or `bytes`, kept alive.
pub enum Text {
    /// A `str`'s own UTF-8: for ASCII its very characters.
    Str(PyBackedStr),
    /// The UTF-8 of a long `str` that is not ASCII; shared where a list has it several times.
    Copied(Arc<GrowingText>),
    /// To be checked.
    Bytes(PyBackedBytes),
}

impl Text {
    /// Takes a reference to the object's own UTF-8, or a copy that may be among those already made.
    fn new(index: usize, object: &Bound<'_, PyAny>, copies: &mut Copies<'_>) -> PyResult<Self> {
        let py = object.py();
        if let Ok(string) = object.cast_exact::<PyString>()
            && let Some(text) = copies.of(string)?
        {
            return Ok(Self::Copied(text));
        }
        if let Ok(string) = object.cast::<PyString>() {
            return PyBackedStr::try_from(string.clone()).map(Self::Str).or_else(|error| Err(not_utf8(py, index, &error)?));
        }
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Self::Bytes(PyBackedBytes::from(bytes.clone())));
        }
        let kind = object.get_type().name()?;
        let message = format!("document {index}: {kind} is not text; give str, bytes of UTF-8, or an Arrow string array.");
        Err(exception(py, "DocumentTypeError", (message,))?)
    }

    fn as_str(&self, index: usize) -> Result<&str> {
        match self {
            Self::Str(text) => within_limit(index, text),
            Self::Copied(text) => within_limit(index, text.as_str()),
            Self::Bytes(bytes) => from_bytes(index, bytes),
        }
    }
}

/// What is called when a long text begins to be copied, with the text as it grows and how many bytes it may have.
type Meanwhile<'f> = dyn FnMut(&Arc<GrowingText>, usize) + 'f;

/// The copies of a call.
struct Copies<'f> {
    /// By the addresses of the objects, which the call keeps alive.
    made: HashMap<usize, Arc<GrowingText>>,
    meanwhile: &'f mut Meanwhile<'f>,
}

impl Copies<'_> {
    fn of(&mut self, string: &Bound<'_, PyString>) -> PyResult<Option<Arc<GrowingText>>> {
        let address = string.as_ptr() as usize;
        if let Some(text) = self.made.get(&address) {
            return Ok(Some(Arc::clone(text)));
        }
        let text = copied(string, self.meanwhile)?;
        self.made.extend(text.iter().map(|text| (address, Arc::clone(text))));
        Ok(text)
    }
}

/// The UTF-8 of a long `str` that is not ASCII; None for others, and where there is none.
///
/// Python would write it down, character by character, and keep it as long as the `str`. But a slice has the form of its own characters,
/// and most are ASCII in most languages of Europe: those are copied as they are, five times as fast.
fn copied(string: &Bound<'_, PyString>, meanwhile: &mut Meanwhile<'_>) -> PyResult<Option<Arc<GrowingText>>> {
    let (py, n_chars) = (string.py(), string.len()?);
    if n_chars <= SLICE_CHARS || string.call_method0(intern!(py, "isascii"))?.extract()? {
        return Ok(None);
    }
    let mut writer = Writer::default();
    for start in (0..n_chars).step_by(SLICE_CHARS) {
        let end = (start + SLICE_CHARS).min(n_chars);
        let slice = string.get_item(PySlice::new(py, start as isize, end as isize, 1))?;
        let Ok(utf8) = slice.cast::<PyString>()?.to_str() else { return Ok(None) };
        let in_all = |n_bytes: usize| (n_bytes as f64 * n_chars as f64 / end as f64) as usize;
        writer.push(utf8, |text| {
            // For all that is to come, if it is like what came; and never for so little that most of the text is copied often.
            let n_bytes = text.len() + utf8.len();
            ((in_all(n_bytes) as f64 * SPARE_BYTES) as usize).max(n_bytes + n_bytes / 2) - text.len()
        });
        if end == BEGINNING_CHARS && n_chars >= LONG_CHARS {
            meanwhile(writer.text(), in_all(writer.text().as_str().len()));
        }
    }
    Ok(Some(Arc::clone(writer.text())))
}

fn not_utf8(py: Python<'_>, index: usize, error: &PyErr) -> PyResult<PyErr> {
    let message = format!(
        "document {index}: the text holds a lone surrogate, which is no character ({}); decode it with errors=\"replace\", or clean it with \
         text.encode(\"utf-8\", \"replace\").decode().",
        error.value(py)
    );
    exception(py, "DocumentError", (message, index))
}

/// Objects of every run, in order; runs of Arrow give none.
pub fn hold<'f>(runs: &[Texts<'_>], first_document: usize, meanwhile: &'f mut Meanwhile<'f>) -> PyResult<Vec<Vec<Text>>> {
    let (mut first, mut copies) = (first_document, Copies { made: HashMap::new(), meanwhile });
    let mut held = Vec::with_capacity(runs.len());
    for run in runs {
        let Texts::Objects(objects) = run else {
            held.push(Vec::new());
            first += run.n_documents();
            continue;
        };
        held.push(objects.iter().enumerate().map(|(i, object)| Text::new(first + i, object, &mut copies)).collect::<PyResult<_>>()?);
        first += objects.len();
    }
    Ok(held)
}

/// The texts of all runs. Every borrow ends before the objects are let go.
pub fn borrow<'t>(runs: &'t [Texts<'_>], held: &'t [Vec<Text>], first_document: usize) -> PyResult<Vec<&'t str>> {
    let mut documents: Vec<&str> = Vec::new();
    for (run, objects) in runs.iter().zip(held) {
        documents.extend(run.texts(objects, first_document + documents.len())?);
    }
    Ok(documents)
}

impl Texts<'_> {
    /// How many there are.
    pub fn n_documents(&self) -> usize {
        match self {
            Self::Utf8(offsets, _) => offsets.as_slice().map_or(0, |o| o.len().saturating_sub(1)),
            Self::LargeUtf8(offsets, _) => offsets.as_slice().map_or(0, |o| o.len().saturating_sub(1)),
            Self::Utf8View(views, _) => views.as_slice().map_or(0, |v| v.len() / 16),
            Self::Objects(objects) => objects.len(),
        }
    }

    /// Is there one so long that others may begin to read it while it is copied (see [`hold`])?
    pub fn has_long(&self) -> bool {
        let is_long =
            |object: &Bound<'_, PyAny>| object.cast_exact::<PyString>().is_ok_and(|string| string.len().is_ok_and(|n| n >= LONG_CHARS));
        matches!(self, Self::Objects(objects) if objects.iter().any(is_long))
    }

    fn texts<'t>(&'t self, objects: &'t [Text], first: usize) -> PyResult<Vec<&'t str>> {
        let texts = match self {
            Self::Utf8(offsets, data) => from_offsets(offsets.as_slice()?, data.as_slice()?),
            Self::LargeUtf8(offsets, data) => from_offsets(offsets.as_slice()?, data.as_slice()?),
            Self::Utf8View(views, buffers) => {
                let buffers = buffers.iter().map(|b| b.as_slice()).collect::<std::result::Result<Vec<_>, _>>()?;
                from_views(views.as_slice()?, &buffers)
            }
            Self::Objects(_) => objects.iter().enumerate().map(|(i, text)| text.as_str(i)).collect(),
        };
        texts.map_err(|error| Python::attach(|py| to_py(py, &error.shifted(first))))
    }
}
