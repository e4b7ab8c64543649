//! The class `Chunker`: options in, plans out.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use numpy::{Element, PyArray2};
use pyo3::prelude::*;

use super::error::to_py;
use super::plan::{Plan, RowArrays, matrix, row_arrays};
use super::texts::{Text, Texts, borrow, hold};
use crate::batch::{Reader, Spare};
use crate::config::{Boundary, ChunkConfig, Select, Specials, Tail, by_name};
use crate::engine::{Engine, Loaded, encode_all, load, refused};
use crate::error::{Error, Result};
use crate::long::{HeadStart, is_cut_by_count};
use crate::output::{Offsets, RowFormat, Width};
use crate::parallel::{self, with_threads};
use crate::rows::{RowId, RowMemory, Side};
use crate::special::{Companion, Frame, has_token_type_ids};

/// A tokenizer with all its cutting rules. Immutable; any number of threads may use it at once.
#[pyclass(frozen, module = "longctx._core")]
#[derive(Debug)]
pub struct Chunker {
    reader: Reader,
    settings: RowSettings,
    #[pyo3(get)]
    room_tokens: usize,
    #[pyo3(get)]
    has_token_type_ids: bool,
    #[pyo3(get)]
    content_type_id: u32,
    #[pyo3(get)]
    before_type_ids: Vec<u32>,
    #[pyo3(get)]
    after_type_ids: Vec<u32>,
    explanation: String,
}

/// The objects of each run, and what was read of a long text already.
type Held<'c, T> = (Vec<Vec<Text>>, Option<HeadStart<'c, T>>);

/// What rows look like; a plan takes a copy along.
#[derive(Debug, Clone)]
pub struct RowSettings {
    pub frame: Frame,
    pub format: RowFormat,
    /// Where the memory of rows comes from: that of earlier ones which are gone.
    pub memory: RowMemory,
    /// int64 rows rather than int32.
    pub wide: bool,
}

/// The options as Python gives them; their names and meanings are those of `longctx.Chunker`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Options {
    max_tokens: usize,
    overlap_tokens: usize,
    boundary: String,
    tail: String,
    select: Option<String>,
    max_chunks: usize,
    seed: u64,
    specials: String,
    prefix: Option<String>,
    suffix: Option<String>,
    padding: String,
    offsets: bool,
    dtype: String,
    threads: usize,
    pad_id: u32,
    padding_side: String,
}

#[pymethods]
#[allow(clippy::needless_pass_by_value)] // PyO3 hands arguments over by value
impl Chunker {
    /// Loads a tokenizer and checks the options against it.
    #[new]
    fn new(py: Python<'_>, tokenizer_json: &[u8], options: Options) -> PyResult<Self> {
        py.detach(|| Self::build(tokenizer_json, &options)).map_err(|error| to_py(py, &error))
    }

    /// Tokenizes and cuts documents: runs of `(offsets, data)`, `(views, buffers)`, or lists of `str` and `bytes`. Errors count documents
    /// from `first_document`.
    #[pyo3(signature = (runs, first_document = 0))]
    fn plan(&self, py: Python<'_>, runs: Vec<Texts<'_>>, first_document: usize) -> PyResult<Plan> {
        let held = hold(&runs, first_document, &mut |_, _| ())?;
        let documents = borrow(&runs, &held, first_document)?;
        let read = || with_threads(self.reader.n_threads, || self.reader.plan(&documents));
        let plan = py.detach(read).map_err(|error| to_py(py, &error.shifted(first_document)))?;
        Ok(Plan::new(plan, self.settings.clone()))
    }

    /// All rows of all documents: the arrays, and int64 `(n_documents, 4)` as of a plan's `coverage`.
    fn rows<'py>(&self, py: Python<'py>, runs: Vec<Texts<'py>>) -> PyResult<(RowArrays<'py>, Bound<'py, PyArray2<i64>>)> {
        let read = || if self.settings.wide { self.arrays::<i64>(py, &runs) } else { self.arrays::<i32>(py, &runs) };
        with_threads(self.reader.n_threads, read)
    }

    /// Which engine reads this tokenizer, and why.
    fn explain(&self) -> &str {
        &self.explanation
    }
}

impl Chunker {
    fn arrays<'py, T: RowId + Element>(
        &self,
        py: Python<'py>,
        runs: &[Texts<'py>],
    ) -> PyResult<(RowArrays<'py>, Bound<'py, PyArray2<i64>>)> {
        let RowSettings { frame, format, memory, .. } = &self.settings;
        let (held, head_start) = self.held_with_head_start::<T>(py, runs)?;
        let documents = borrow(runs, &held, 0)?;
        let read = py.detach(|| {
            let read = self.reader.rows_after(head_start, &documents, frame, format, memory);
            parallel::end_threads(); // waited for without the GIL
            read
        });
        let (rows, coverage) = read.map_err(|error| to_py(py, &error))?;
        Ok((row_arrays(py, rows)?, matrix(py, coverage)?))
    }

    /// Takes hold of all texts. While a long one that is alone is copied, which only this thread may do, others begin to read it.
    fn held_with_head_start<T: RowId>(&self, py: Python<'_>, runs: &[Texts<'_>]) -> PyResult<Held<'_, T>> {
        let RowSettings { frame, format, memory, .. } = &self.settings;
        let is_alone = runs.iter().map(Texts::n_documents).sum::<usize>() == 1;
        let gains = is_alone && is_cut_by_count(&self.reader.config) && runs.iter().any(Texts::has_long);
        let n_others = if gains { self.reader.n_threads.saturating_sub(1) } else { 0 };
        let head_start = Mutex::new(None);
        let copy = |start: &dyn Fn(_)| {
            hold(runs, 0, &mut |text, n_bytes| {
                if n_others > 0 {
                    let (text, head_start): (_, &Mutex<_>) = (Arc::clone(text), &head_start);
                    start(Box::new(move |is_there: &AtomicBool| {
                        let mut head_start = head_start.lock().unwrap_or_else(PoisonError::into_inner);
                        *head_start = self.reader.head_start::<T>((&text, n_bytes), frame, format, memory, is_there);
                    }) as Box<_>);
                }
            })
        };
        // What was begun is waited for without the GIL.
        let held = parallel::beside(n_others, copy, || py.detach(|| drop(head_start.lock())))?;
        Ok((held, head_start.into_inner().unwrap_or_else(PoisonError::into_inner)))
    }

    fn build(tokenizer_json: &[u8], options: &Options) -> Result<Self> {
        let tokenizer_json = std::str::from_utf8(tokenizer_json).map_err(|error| refused(&error))?;
        let Loaded { engine, post_processor, .. } = load(tokenizer_json, specials(options)?)?;
        let companion = companion(engine.as_ref(), options)?;
        let frame = Frame::new(post_processor.as_ref(), &companion)?;
        let config = config(options, frame.n_tokens())?;
        let (offsets, n_threads) = (offsets(options), options.threads);
        let format = RowFormat {
            pad_id: options.pad_id,
            padding_side: side(options)?,
            width: width(options)?,
            max_tokens: options.max_tokens,
            offsets,
            n_threads,
        };
        Ok(Self {
            room_tokens: config.room_tokens,
            has_token_type_ids: has_token_type_ids(post_processor.as_ref())?,
            content_type_id: frame.content_type_id,
            before_type_ids: frame.before.iter().map(|token| token.type_id).collect(),
            after_type_ids: frame.after.iter().map(|token| token.type_id).collect(),
            explanation: engine.explain(),
            reader: Reader { engine, config, offsets, n_threads, spare: Spare::default() },
            settings: RowSettings {
                frame,
                format,
                memory: RowMemory::default(),
                wide: by_name("dtype", &options.dtype, &[("int64", true), ("int32", false)])?,
            },
        })
    }
}

fn companion(engine: &dyn Engine, options: &Options) -> Result<Companion> {
    let ids = |option: &str, text: &str| {
        let tokens = encode_all(engine, text).map_err(|message| Error::Config(format!("{option}: {message}")))?;
        Ok(tokens.ids().to_vec())
    };
    match (&options.prefix, &options.suffix) {
        (None, None) => Ok(Companion::None),
        (Some(text), None) => Ok(Companion::Prefix(ids("prefix", text)?)),
        (None, Some(text)) => Ok(Companion::Suffix(ids("suffix", text)?)),
        (Some(_), Some(_)) => Err(Error::Config(
            "prefix and suffix are both given, but a tokenizer's pair template has room for one text beside the chunk; give one.".into(),
        )),
    }
}

fn config(options: &Options, n_added_tokens: usize) -> Result<ChunkConfig> {
    let boundary = by_name(
        "boundary",
        &options.boundary,
        &[("token", Boundary::Token), ("word", Boundary::Word), ("sentence", Boundary::Sentence), ("paragraph", Boundary::Paragraph)],
    )?;
    let tails = [("keep", Tail::Keep), ("backfill", Tail::Backfill), ("balance", Tail::Balance), ("merge", Tail::Merge)];
    let tail = by_name("tail", &options.tail, &tails)?;
    let added = match (&options.prefix, &options.suffix) {
        (None, None) => "special tokens",
        (Some(_), _) => "tokens, the prefix included",
        (None, Some(_)) => "tokens, the suffix included",
    };
    ChunkConfig::new(options.max_tokens, options.overlap_tokens, n_added_tokens, added, boundary, tail, select(options)?)
}

fn select(options: &Options) -> Result<Select> {
    let Some(name) = &options.select else { return Ok(Select::All) };
    let (k, seed) = (options.max_chunks, options.seed);
    let random = Select::Random { max_chunks: k, seed };
    let kinds = [
        ("head", Select::Head(k)),
        ("tail", Select::Tail(k)),
        ("head_tail", Select::HeadTail(k)),
        ("random", random),
        ("tfidf", Select::TfIdf(k)),
    ];
    by_name("select", name, &kinds)
}

fn specials(options: &Options) -> Result<Specials> {
    let kinds = [("text", Specials::Text), ("parse", Specials::Parse), ("error", Specials::Reject)];
    by_name("specials", &options.specials, &kinds)
}

fn side(options: &Options) -> Result<Side> {
    by_name("padding_side", &options.padding_side, &[("left", Side::Left), ("right", Side::Right)])
}

fn width(options: &Options) -> Result<Width> {
    by_name("padding", &options.padding, &[("longest", Width::Longest), ("max_tokens", Width::Full)])
}

fn offsets(options: &Options) -> Offsets {
    if options.offsets { Offsets::EachToken } else { Offsets::ChunksOnly }
}
