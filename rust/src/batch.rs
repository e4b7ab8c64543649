//! Documents to flat arrays, in two steps: [`Reader::plan`] tokenizes and cuts, [`Plan::rows`] writes any range of rows.

use std::ops::Range;

use crate::boundary::Breaks;
use crate::chunk::plan_chunks;
use crate::config::ChunkConfig;
use crate::engine::{Engine, SHORT_TEXT_BYTES, Tokens, encode_all};
use crate::error::{Error, Result};
use crate::memory::zeroed;
use crate::offsets::CharIndex;
use crate::parallel;
use crate::rows::{RowId, Side, write_ids, write_offsets};
use crate::select::choose;
use crate::special::Frame;

/// Below this many elements threads cost more than they save.
const PARALLEL_ELEMENTS: usize = 1 << 16;

/// Parts of a long document that are tokenized before their tokens are joined; bounds what is held twice.
const PIECES_PER_THREAD: usize = 32;

/// Whether every token's character span is kept, or only every chunk's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offsets {
    /// Rows carry the character span of each token.
    EachToken,
    /// Only chunks have character spans.
    ChunksOnly,
}

/// How wide rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// As the longest row written together.
    Longest,
    /// Always this many tokens.
    Exactly(usize),
}

/// The form of rows.
#[derive(Debug, Clone, Copy)]
pub struct RowFormat {
    /// Fills a row up.
    pub pad_id: u32,
    /// On this side.
    pub padding_side: Side,
    /// To this width.
    pub width: Width,
    /// With these spans.
    pub offsets: Offsets,
    /// Threads to write with.
    pub n_threads: usize,
}

/// Turns documents into plans.
pub struct Reader {
    /// Text to tokens.
    pub engine: Box<dyn Engine>,
    /// Where to cut and what to keep.
    pub config: ChunkConfig,
    /// Which spans to keep.
    pub offsets: Offsets,
    /// Threads to read with.
    pub n_threads: usize,
}

/// A chunk that becomes a row.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Chunk {
    tokens: Range<usize>,
    char_span: (u32, u32),
    /// Tokens that no earlier row of the document holds.
    n_fresh: usize,
}

/// A document, tokenized and cut.
#[derive(Debug)]
struct DocumentPlan {
    ids: Vec<u32>,
    /// Every token's characters; empty unless asked for.
    char_spans: Vec<(u32, u32)>,
    chunks: Vec<Chunk>,
    n_chunks_before_select: usize,
}

/// Documents, tokenized and cut; rows are written from it.
#[derive(Debug)]
pub struct Plan {
    documents: Vec<DocumentPlan>,
    /// The first row of each document, and the number of rows.
    row_starts: Vec<usize>,
}

/// Rows as flat arrays, row after row.
#[derive(Debug)]
pub struct Rows<T> {
    /// Tokens in a row, padding included.
    pub width: usize,
    /// `(n_rows, width)`.
    pub input_ids: Vec<T>,
    /// `(n_rows,)`: tokens of a row that are not padding.
    pub lengths: Vec<i32>,
    /// `(n_rows,)`: document of a row, counted from the start of the plan.
    pub document_index: Vec<i32>,
    /// `(n_rows, 2)`.
    pub token_spans: Vec<[i64; 2]>,
    /// `(n_rows, 2)`.
    pub char_spans: Vec<[i64; 2]>,
    /// `(n_rows,)`.
    pub fresh_tokens: Vec<i64>,
    /// `(n_rows, width)`, where asked for.
    pub offsets: Option<Vec<[i32; 2]>>,
}

impl Reader {
    /// Tokenizes and cuts all documents, in parallel over documents and inside long ones.
    ///
    /// # Errors
    /// [`Error::Document`] for the first document that the tokenizer refuses.
    pub fn plan(&self, documents: &[&str]) -> Result<Plan> {
        // Long documents first, one at a time, each on all threads; then the short ones, one a thread.
        let has_a_part_for_each =
            |text: &str| text.len() > self.n_threads * SHORT_TEXT_BYTES && self.engine.pieces(text).len() > self.n_threads;
        let long = |text: &str| self.n_threads > 1 && has_a_part_for_each(text);
        let mut long_ones: Vec<Option<DocumentPlan>> = Vec::with_capacity(documents.len());
        for (index, text) in documents.iter().enumerate() {
            long_ones.push(long(text).then(|| self.plan_document(index, text, self.n_threads)).transpose()?);
        }
        let short_ones = parallel::map(documents.len(), self.n_threads, |index| {
            long_ones[index].is_none().then(|| self.plan_document(index, documents[index], 1)).transpose()
        })?;
        Ok(Plan::new(long_ones.into_iter().zip(short_ones).filter_map(|(long, short)| long.or(short)).collect()))
    }

    fn plan_document(&self, index: usize, text: &str, n_threads: usize) -> Result<DocumentPlan> {
        let mut tokens = self.tokenize(text, n_threads).map_err(|message| Error::document(index, message))?;
        let breaks = Breaks::new(text, &tokens, self.config.boundary);
        let cut = plan_chunks(tokens.ids.len(), &self.config, &breaks);
        let chosen = choose(self.config.select, &tokens.ids, &cut);
        let char_index = CharIndex::new(text);
        let mut n_read = 0;
        let chunks = chosen.into_iter().map(|chunk| {
            let tokens_of_chunk = cut[chunk].clone();
            let n_fresh = tokens_of_chunk.end - tokens_of_chunk.start.max(n_read);
            n_read = tokens_of_chunk.end;
            let char_span = char_index.char_span(byte_span(&tokens.byte_spans[tokens_of_chunk.clone()]));
            Chunk { tokens: tokens_of_chunk, char_span, n_fresh }
        });
        let chunks = chunks.collect();
        let char_spans = match self.offsets {
            Offsets::EachToken => {
                char_index.to_char_spans(&mut tokens.byte_spans);
                tokens.byte_spans
            }
            Offsets::ChunksOnly => Vec::new(),
        };
        Ok(DocumentPlan { ids: tokens.ids, char_spans, chunks, n_chunks_before_select: cut.len() })
    }

    fn tokenize(&self, text: &str, n_threads: usize) -> std::result::Result<Tokens, String> {
        if n_threads == 1 {
            return encode_all(self.engine.as_ref(), text);
        }
        let mut tokens = Tokens::default();
        for pieces in self.engine.pieces(text).chunks(n_threads * PIECES_PER_THREAD) {
            let parts = parallel::map(pieces.len(), n_threads, |i| {
                let mut part = Tokens::default();
                self.engine.encode(text, &pieces[i], &mut part).map(|()| part)
            })?;
            for part in parts {
                tokens.append(part);
            }
        }
        Ok(tokens)
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Reader").field("config", &self.config).finish_non_exhaustive()
    }
}

/// From the first token's start to the last one's end; `(0, 0)` for no tokens.
fn byte_span(spans: &[(u32, u32)]) -> (u32, u32) {
    match spans {
        [] => (0, 0),
        [(start, _), ..] => (*start, spans.iter().map(|&(_, end)| end).fold(*start, u32::max)),
    }
}

impl Plan {
    fn new(documents: Vec<DocumentPlan>) -> Self {
        let mut row_starts = vec![0];
        for document in &documents {
            row_starts.push(row_starts[row_starts.len() - 1] + document.chunks.len());
        }
        Self { documents, row_starts }
    }

    /// Rows of all documents.
    pub fn n_rows(&self) -> usize {
        *self.row_starts.last().unwrap_or(&0)
    }

    /// Documents that have a row among `rows`.
    pub fn documents_of(&self, rows: &Range<usize>) -> Range<usize> {
        if rows.is_empty() {
            return 0..0;
        }
        self.document_of(rows.start)..self.document_of(rows.end - 1) + 1
    }

    fn document_of(&self, row: usize) -> usize {
        self.row_starts.partition_point(|&start| start <= row) - 1
    }

    /// For each of the documents: tokens, tokens in rows, chunks, rows.
    pub fn coverage(&self, documents: Range<usize>) -> Vec<[i64; 4]> {
        let counts = |document: &DocumentPlan| {
            let n_read: usize = document.chunks.iter().map(|chunk| chunk.n_fresh).sum();
            [document.ids.len() as i64, n_read as i64, document.n_chunks_before_select as i64, document.chunks.len() as i64]
        };
        self.documents[documents].iter().map(counts).collect()
    }

    /// Writes a range of rows.
    pub fn rows<T: RowId>(&self, rows: Range<usize>, frame: &Frame, format: &RowFormat) -> Rows<T> {
        let chosen: Vec<(usize, &Chunk)> = rows.map(|row| self.chunk_of(row)).collect();
        let n_tokens = |chunk: &Chunk| frame.n_tokens() + chunk.tokens.len();
        let width = match format.width {
            Width::Exactly(width) => width,
            Width::Longest => chosen.iter().map(|(_, chunk)| n_tokens(chunk)).max().unwrap_or(0),
        };
        let span = |start: usize, end: usize| [start as i64, end as i64];
        Rows {
            width,
            input_ids: self.ids(&chosen, width, frame, format),
            lengths: chosen.iter().map(|(_, chunk)| n_tokens(chunk) as i32).collect(),
            document_index: chosen.iter().map(|(document, _)| *document as i32).collect(),
            token_spans: chosen.iter().map(|(_, chunk)| span(chunk.tokens.start, chunk.tokens.end)).collect(),
            char_spans: chosen.iter().map(|(_, c)| span(c.char_span.0 as usize, c.char_span.1 as usize)).collect(),
            fresh_tokens: chosen.iter().map(|(_, chunk)| chunk.n_fresh as i64).collect(),
            offsets: (format.offsets == Offsets::EachToken).then(|| self.offsets(&chosen, width, frame, format)),
        }
    }

    fn chunk_of(&self, row: usize) -> (usize, &Chunk) {
        let document = self.document_of(row);
        (document, &self.documents[document].chunks[row - self.row_starts[document]])
    }

    fn ids<T: RowId>(&self, chosen: &[(usize, &Chunk)], width: usize, frame: &Frame, format: &RowFormat) -> Vec<T> {
        let mut ids: Vec<T> = zeroed(chosen.len() * width);
        fill_rows(&mut ids, chosen, width, format.n_threads, |row, document, chunk| {
            write_ids(row, frame, &self.documents[document].ids[chunk.tokens.clone()], format.pad_id, format.padding_side);
        });
        ids
    }

    fn offsets(&self, chosen: &[(usize, &Chunk)], width: usize, frame: &Frame, format: &RowFormat) -> Vec<[i32; 2]> {
        let mut offsets = zeroed::<[i32; 2]>(chosen.len() * width);
        fill_rows(&mut offsets, chosen, width, format.n_threads, |row, document, chunk| {
            write_offsets(row, frame, &self.documents[document].char_spans[chunk.tokens.clone()], format.padding_side);
        });
        offsets
    }
}

/// Calls `write` with each row of a flat buffer and the chunk that goes there, in blocks of rows, one block a thread.
fn fill_rows<T: Send>(
    buffer: &mut [T],
    chosen: &[(usize, &Chunk)],
    width: usize,
    n_threads: usize,
    write: impl Fn(&mut [T], usize, &Chunk) + Sync,
) {
    if width == 0 {
        return; // rows of nothing: an empty document and a tokenizer without specials
    }
    let n_threads = if buffer.len() < PARALLEL_ELEMENTS { 1 } else { n_threads };
    let rows_per_thread = chosen.len().div_ceil(n_threads).max(1);
    let blocks = buffer.chunks_mut(rows_per_thread * width).zip(chosen.chunks(rows_per_thread)).collect();
    parallel::each(blocks, |(rows, chunks): (&mut [T], &[(usize, &Chunk)])| {
        rows.chunks_mut(width).zip(chunks).for_each(|(row, (document, chunk))| write(row, *document, chunk));
    });
}
