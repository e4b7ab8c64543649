//! Documents to rows: [`Reader::plan`] tokenizes and cuts, for rows that are asked for later; [`Reader::rows`] goes all the way at once.

use std::ops::Range;

use crate::at_rest::AtRest;
use crate::boundary::Breaks;
use crate::chunk::plan_chunks;
use crate::config::ChunkConfig;
use crate::engine::{Engine, Piece, SHORT_TEXT_BYTES, TOKEN_BYTES, Tokens, encode_into};
use crate::error::{Error, Result};
use crate::join::{Columns, Hand, Joined, Joiner};
use crate::long::{HeadStart, Windows, is_cut_by_count};
use crate::offsets::CharIndex;
use crate::output::{Offsets, Output, RowFormat, Rows};
use crate::parallel;
use crate::plan::{Chunk, Document, Part, Plan};
use crate::rows::{RowId, RowMemory};
use crate::select::choose;
use crate::special::Frame;

/// Pieces of a long document, for each thread, that are read until all of them are joined; bounds what waits for a piece before it.
const PIECES_PER_THREAD: usize = if cfg!(test) { 2 } else { 64 };

/// A thread for so many bytes of a document, at most, where there is little to do with each.
const BYTES_PER_THREAD: usize = 1 << 20;

/// Places for tokens and rows that are made beside those that the bytes read so far speak for, in parts of these. Places that are not used are
/// never touched, but for rows they are kept.
const SPARE_PLACES: f64 = 0.25;
const SPARE_ROWS: f64 = 0.02;

/// Short documents that a thread takes together have so many bytes.
const PART_BYTES: usize = 64 * 1024;

/// Bytes that are read before their rows are written. One thread alone finds the tokens in its cache again; several are started anew
/// each time, which should not count.
const GROUP_BYTES: usize = 128 * 1024;
const GROUP_BYTES_PER_THREAD: usize = 1 << 20;

/// Memory of a part that is kept for the next call, and for how many parts.
const KEPT_BYTES: usize = 4 << 20;
const KEPT_PARTS: usize = 16;

/// Turns documents into plans and rows.
pub struct Reader {
    /// Text to tokens.
    pub engine: Box<dyn Engine>,
    /// Where to cut and what to keep.
    pub config: ChunkConfig,
    /// Which spans to keep.
    pub offsets: Offsets,
    /// Threads to read with.
    pub n_threads: usize,
    /// Parts without documents, for their memory.
    pub spare: Spare,
}

/// Memory that was used before and will be used again.
#[derive(Debug, Default)]
pub struct Spare(AtRest<Part, KEPT_PARTS>);

impl Spare {
    fn give(&self, parts: Vec<Part>) {
        for mut part in parts.into_iter().filter(|part| part.tokens.n_bytes() <= KEPT_BYTES) {
            part.clear();
            self.0.put(part);
        }
    }
}

impl Reader {
    /// Tokenizes and cuts all documents, in parallel over documents and inside long ones.
    ///
    /// # Errors
    /// [`Error::Document`] for the first document that the tokenizer refuses.
    pub fn plan(&self, documents: &[&str]) -> Result<Plan> {
        self.plan_from(documents, 0)
    }

    /// All rows of all documents, and the coverage of each document (see [`Plan::coverage`]).
    ///
    /// # Errors
    /// As for a plan.
    pub fn rows<T: RowId>(
        &self,
        documents: &[&str],
        frame: &Frame,
        format: &RowFormat,
        memory: &RowMemory,
    ) -> Result<(Rows<T>, Vec<[i64; 4]>)> {
        self.rows_after(None, documents, frame, format, memory)
    }

    /// The same, where the only document has a head start.
    ///
    /// # Errors
    /// As for a plan.
    pub fn rows_after<'f, T: RowId>(
        &self,
        mut head_start: Option<HeadStart<'f, T>>,
        documents: &[&str],
        frame: &'f Frame,
        format: &'f RowFormat,
        memory: &'f RowMemory,
    ) -> Result<(Rows<T>, Vec<[i64; 4]>)> {
        let n_bytes: usize = documents.iter().map(|text| text.len()).sum();
        let new_output = || Output::new(frame, format, memory, n_bytes);
        let (mut output, mut coverage) = (new_output(), Vec::with_capacity(documents.len()));
        let group_bytes = self.group_bytes();
        let (mut n_rows, mut n_read) = (0, 0);
        for group in runs(documents, group_bytes) {
            let (index, text) = (group.start, documents[group.start]);
            let pieces = if text.len() > group_bytes { self.engine.pieces(text) } else { vec![] };
            if pieces.len() > self.n_threads && is_cut_by_count(&self.config) {
                let n_expected = |n_more| expected(n_rows + n_more, n_read + text.len(), n_bytes, SPARE_ROWS) + 8;
                let (mut windows, mut rest) = (Windows::default(), pieces.as_slice());
                if let Some(head) = head_start.take()
                    && let Some(others) = pieces.strip_prefix(head.pieces.as_slice()).filter(|others| !others.is_empty())
                {
                    (output, windows, rest) = (head.output, head.windows, others);
                }
                let added = self.add_rows((index, text), rest, windows, &mut output, n_expected);
                if let Some(counts) = added.map_err(|message| Error::document(index, message))? {
                    coverage.push(counts);
                    n_rows += counts[3] as usize;
                    n_read += text.len();
                    continue;
                }
                if rest.len() < pieces.len() {
                    output = new_output();
                }
            }
            let plan = if pieces.is_empty() {
                self.plan_from(&documents[group.clone()], index)?
            } else {
                Plan::new(vec![self.part(documents, &group, 0, &pieces)?])
            };
            n_rows += plan.n_rows();
            n_read += documents[group.clone()].iter().map(|text| text.len()).sum::<usize>();
            output.add(&plan, 0..plan.n_rows(), group.start, expected(n_rows, n_read, n_bytes, SPARE_ROWS) + 8);
            coverage.extend(plan.coverage(0..group.len()));
            self.spare.give(plan.into_parts());
        }
        Ok((output.finish(), coverage))
    }

    /// Documents that are read together have so many bytes; one that has more is read in pieces.
    pub(crate) fn group_bytes(&self) -> usize {
        if self.n_threads == 1 { GROUP_BYTES } else { self.n_threads * GROUP_BYTES_PER_THREAD }
    }

    fn plan_from(&self, documents: &[&str], first_document: usize) -> Result<Plan> {
        // Long documents first, one at a time, each on all threads; then the short ones, some of them a thread.
        let runs: Vec<Range<usize>> = runs(documents, PART_BYTES).collect();
        let mut long_ones: Vec<Option<Part>> = Vec::with_capacity(runs.len());
        for run in &runs {
            let pieces = if run.len() == 1 { self.shared_pieces(documents[run.start]) } else { None };
            long_ones.push(pieces.map(|pieces| self.part(documents, run, first_document, &pieces)).transpose()?);
        }
        let short_ones = parallel::map(runs.len(), self.n_threads, |index| {
            long_ones[index].is_none().then(|| self.part(documents, &runs[index], first_document, &[])).transpose()
        })?;
        Ok(Plan::new(long_ones.into_iter().zip(short_ones).filter_map(|(long, short)| long.or(short)).collect()))
    }

    /// The pieces of a text, where there is more than one for each thread.
    fn shared_pieces(&self, text: &str) -> Option<Vec<Piece>> {
        let is_long = self.n_threads > 1 && text.len() > self.n_threads * SHORT_TEXT_BYTES;
        is_long.then(|| self.engine.pieces(text)).filter(|pieces| pieces.len() > self.n_threads)
    }

    /// Reads a run of documents on this thread, or one document, of which there are pieces, on all threads.
    fn part(&self, documents: &[&str], run: &Range<usize>, first_document: usize, pieces: &[Piece]) -> Result<Part> {
        let mut part = self.spare.0.take();
        for index in run.clone() {
            self.read(documents[index], pieces, &mut part).map_err(|message| Error::document(first_document + index, message))?;
        }
        Ok(part)
    }

    fn read(&self, text: &str, pieces: &[Piece], part: &mut Part) -> std::result::Result<(), String> {
        let start = part.tokens.len();
        if pieces.is_empty() {
            encode_into(self.engine.as_ref(), text, &mut part.tokens)?;
        } else if pieces.len() > self.n_threads && self.n_threads > 1 {
            self.encode_together(text, pieces, &mut part.tokens)?;
        } else {
            pieces.iter().try_for_each(|piece| self.engine.encode(text, piece, &mut part.tokens))?;
        }
        let n_tokens = part.tokens.len() - start;
        let (ids, byte_spans) = part.tokens.part(start..start + n_tokens);
        let breaks = Breaks::new(text, byte_spans, self.config.boundary);
        let cut = plan_chunks(n_tokens, &self.config, &breaks);
        let (first_chunk, mut n_read) = (part.chunks.len(), 0);
        for chunk in choose(self.config.select, ids, &cut) {
            let tokens = cut[chunk].clone();
            let n_fresh = tokens.end - tokens.start.max(n_read);
            n_read = tokens.end;
            part.chunks.push(Chunk { tokens, char_span: (0, 0), n_fresh });
        }
        let n_threads = if pieces.is_empty() { 1 } else { self.n_threads.min(text.len().div_ceil(BYTES_PER_THREAD)) };
        let char_index = CharIndex::new(text, n_threads);
        let share = |n: usize| n.div_ceil(n_threads).max(1);
        let n_chunks = part.chunks.len() - first_chunk;
        parallel::each(part.chunks[first_chunk..].chunks_mut(share(n_chunks)).collect(), |chunks| {
            for chunk in chunks {
                chunk.char_span = char_index.char_span(byte_span(&byte_spans[chunk.tokens.clone()]));
            }
        });
        if self.offsets == Offsets::EachToken {
            let spans = &mut part.tokens.byte_spans_mut()[start..];
            parallel::each(spans.chunks_mut(share(n_tokens)).collect(), |spans| char_index.to_char_spans(spans));
        }
        let chunks = first_chunk..part.chunks.len();
        part.documents.push(Document { tokens: start..start + n_tokens, chunks, n_chunks_before_select: cut.len() });
        Ok(())
    }

    /// Tokenizes a text on all threads, which also join the tokens.
    fn encode_together(&self, text: &str, pieces: &[Piece], tokens: &mut Tokens) -> std::result::Result<(), String> {
        let (start, mut n_read, mut spare) = (tokens.len(), 0, Vec::new());
        for pieces in pieces.chunks(self.n_threads * PIECES_PER_THREAD) {
            let end = pieces.last().map_or(text.len(), |piece| piece.own.end);
            let n_more = if n_read == 0 { end / TOKEN_BYTES } else { expected(tokens.len() - start, n_read, end - n_read, SPARE_PLACES) };
            let n_in_all = expected(tokens.len() - start, n_read, text.len(), SPARE_PLACES);
            tokens.make_places(tokens.len() + n_more, start + n_in_all);
            let joiner = Joiner::new(Columns::new(tokens.room(n_more), self.n_threads), spare);
            let read = |hand: &mut Hand<'_, Columns<'_>>, i: usize| {
                let mut part = hand.spare();
                part.clear();
                self.engine.encode(text, &pieces[i], &mut part)?;
                hand.add(i, part);
                Ok::<_, String>(())
            };
            parallel::map_with(pieces.len(), self.n_threads, || joiner.hand(), read)?;
            let Joined { target: Columns { n_tokens, .. }, rest, spare: unused, .. } = joiner.finish();
            tokens.advance(n_tokens);
            for part in &rest {
                tokens.append(part);
            }
            (n_read, spare) = (end, unused);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Reader").field("config", &self.config).finish_non_exhaustive()
    }
}

/// How many there will be of `n_bytes`, where the first `n_read` of them gave so many: as many a byte, and some more.
pub(crate) fn expected(n_so_far: usize, n_read: usize, n_bytes: usize, spare: f64) -> usize {
    (n_so_far as f64 * n_bytes as f64 / n_read.max(1) as f64 * (1.0 + spare)) as usize
}

/// Runs of documents with so many bytes, or of one that has more.
fn runs<'d>(documents: &'d [&'d str], n_bytes: usize) -> impl Iterator<Item = Range<usize>> + 'd {
    let mut end = 0;
    std::iter::from_fn(move || {
        let (start, mut n_taken) = (end, 0);
        while end < documents.len() && (end == start || n_taken + documents[end].len() <= n_bytes) {
            n_taken += documents[end].len();
            end += 1;
        }
        (start < end).then_some(start..end)
    })
}

/// From the first token's start to the last one's end; `(0, 0)` for no tokens.
pub(crate) fn byte_span(spans: &[(u32, u32)]) -> (u32, u32) {
    match spans {
        [] => (0, 0),
        [(start, _), ..] => (*start, spans.iter().map(|&(_, end)| end).fold(*start, u32::max)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_document_is_a_run_of_its_own() {
        let found = |documents: &[&str]| runs(documents, 4).collect::<Vec<_>>();
        assert_eq!(found(&["", "a", "abc", "d", "long one", "", "e"]), [0..3, 3..4, 4..5, 5..7]);
        assert!(found(&[]).is_empty());
    }
}
