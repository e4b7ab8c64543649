//! Documents, tokenized and cut: what rows are written from.

use std::ops::Range;

use crate::engine::Tokens;

/// A chunk that becomes a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its tokens, counted from the start of its document.
    pub tokens: Range<usize>,
    /// Its characters.
    pub char_span: (u32, u32),
    /// Tokens that no earlier row of the document holds.
    pub n_fresh: usize,
}

/// Consecutive documents, read one after the other: all in the same memory, because many documents are short.
#[derive(Debug, Default)]
pub struct Part {
    /// Tokens of all documents. Spans are in characters where rows want those of each token, in bytes otherwise.
    pub tokens: Tokens,
    /// Chunks of all documents.
    pub chunks: Vec<Chunk>,
    /// The documents.
    pub documents: Vec<Document>,
}

/// Where in a part a document is.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its tokens.
    pub tokens: Range<usize>,
    /// Its chunks.
    pub chunks: Range<usize>,
    /// As the planner cut them.
    pub n_chunks_before_select: usize,
}

/// Documents, tokenized and cut; rows are written from it.
#[derive(Debug)]
pub struct Plan {
    parts: Vec<Part>,
    /// The first row of each document, and the number of rows.
    row_starts: Vec<usize>,
    /// The first document of each part, and the number of documents.
    document_starts: Vec<usize>,
}

/// A row to be.
#[derive(Debug, Clone, Copy)]
pub struct Row<'p> {
    /// The document, counted from the start of the plan.
    pub document: usize,
    /// What of it.
    pub chunk: &'p Chunk,
    /// The ids of its tokens.
    pub ids: &'p [u32],
    /// The spans of its tokens.
    pub spans: &'p [(u32, u32)],
}

impl Part {
    /// Removes the documents and keeps their memory.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.chunks.clear();
        self.documents.clear();
    }
}

impl Plan {
    /// Of all documents of these parts.
    pub fn new(parts: Vec<Part>) -> Self {
        let (mut row_starts, mut document_starts) = (vec![0], vec![0]);
        for part in &parts {
            let first_row = row_starts[row_starts.len() - 1];
            row_starts.extend(part.documents.iter().map(|document| first_row + document.chunks.end));
            document_starts.push(row_starts.len() - 1);
        }
        Self { parts, row_starts, document_starts }
    }

    /// What it is made of.
    pub fn into_parts(self) -> Vec<Part> {
        self.parts
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
        let counts = |(part, document): (&Part, &Document)| {
            let n_read: usize = part.chunks[document.chunks.clone()].iter().map(|chunk| chunk.n_fresh).sum();
            [document.tokens.len(), n_read, document.n_chunks_before_select, document.chunks.len()].map(|count| count as i64)
        };
        self.all(documents).map(|(_, part, document)| counts((part, document))).collect()
    }

    /// The rows of a range, in order.
    pub fn rows(&self, rows: Range<usize>) -> Vec<Row<'_>> {
        let mut all = Vec::with_capacity(rows.len());
        for (index, part, document) in self.all(self.documents_of(&rows)) {
            let first_row = self.row_starts[index];
            let chunks = rows.start.max(first_row) - first_row..rows.end.min(self.row_starts[index + 1]) - first_row;
            let (ids, spans) = part.tokens.part(document.tokens.clone());
            all.extend(part.chunks[document.chunks.clone()][chunks].iter().map(|chunk| {
                let tokens = chunk.tokens.clone();
                Row { document: index, chunk, ids: &ids[tokens.clone()], spans: &spans[tokens] }
            }));
        }
        all
    }

    /// Documents of a range, with their indices and parts.
    fn all(&self, documents: Range<usize>) -> impl Iterator<Item = (usize, &Part, &Document)> {
        let mut at = self.document_starts.partition_point(|&start| start <= documents.start) - 1;
        documents.map(move |index| {
            while self.document_starts[at + 1] <= index {
                at += 1;
            }
            let part = &self.parts[at];
            (index, part, &part.documents[index - self.document_starts[at]])
        })
    }
}
