//! The parts of a call, without Python: what callgrind counts instructions of.
//!
//! `cargo run --release --example encode -- tokenizer.json first.txt second.txt` reads both texts in documents of 20 kB, the second after
//! the first, and prints the time of each part: the whole call, then, when every word is known, the plan and tokenizing alone.
//! `--no-offsets` leaves them out; `--call` leaves out all but the call, for the difference between the counts of one text and of two.
#![allow(clippy::print_stdout)] // its results

use std::time::Instant;

use _core::batch::{Reader, Spare};
use _core::config::{Boundary, ChunkConfig, Select, Specials, Tail};
use _core::engine::{Piece, Tokens, load};
use _core::output::{Offsets, RowFormat, Width};
use _core::rows::{RowMemory, Side};
use _core::special::{FixedToken, Frame};

/// Bytes of a document; it ends at the next character.
const DOCUMENT_BYTES: usize = 20_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (options, paths): (Vec<&String>, Vec<&String>) = arguments.iter().partition(|argument| argument.starts_with("--"));
    let [tokenizer, texts @ ..] = paths.as_slice() else { return Err("give a tokenizer.json and one or more texts".into()) };
    let definition = std::fs::read_to_string(tokenizer)?;
    let (engine, load_ms) = timed(|| load(&definition, Specials::Text));
    let engine = engine?.engine;
    println!("{}\nload: {load_ms:.0} ms", engine.explain());
    let config = ChunkConfig::new(512, 64, 2, "special tokens", Boundary::Token, Tail::Keep, Select::All)?;
    let has = |name: &str| options.iter().any(|option| *option == name);
    let offsets = if has("--no-offsets") { Offsets::ChunksOnly } else { Offsets::EachToken };
    let reader = Reader { engine, config, offsets, n_threads: 1, spare: Spare::default() };
    let memory = RowMemory::default();
    for path in texts {
        let text = std::fs::read_to_string(path)?;
        let documents = documents(&text);
        let (n_rows, call_ms) = timed(|| rows(&reader, &documents, &memory));
        println!("{path}: {} bytes, {} rows", text.len(), n_rows?);
        println!("  call                {call_ms:8.2} ms, {:.1} MB/s", text.len() as f64 / 1e3 / call_ms);
        if !has("--call") {
            println!("  call again          {:8.2} ms", timed(|| rows(&reader, &documents, &memory)).1);
            println!("  plan again          {:8.2} ms", timed(|| reader.plan(&documents)).1);
            let (n_tokens, encode_ms) = timed(|| encode(&reader, &documents));
            println!("  tokenizing it again {encode_ms:8.2} ms, {} tokens", n_tokens?);
        }
    }
    Ok(())
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed().as_secs_f64() * 1e3)
}

fn rows(reader: &Reader, documents: &[&str], memory: &RowMemory) -> Result<usize, String> {
    let token = |id| FixedToken { id, type_id: 0 };
    let frame = Frame { before: vec![token(1)], after: vec![token(2)], content_type_id: 0 };
    let format =
        RowFormat { pad_id: 0, padding_side: Side::Right, width: Width::Longest, max_tokens: 512, offsets: reader.offsets, n_threads: 1 };
    let (rows, _) = reader.rows::<i64>(documents, &frame, &format, memory).map_err(|error| error.to_string())?;
    Ok(rows.lengths.len())
}

fn encode(reader: &Reader, documents: &[&str]) -> Result<usize, String> {
    let (mut tokens, mut n_tokens) = (Tokens::default(), 0);
    for text in documents {
        tokens.clear();
        reader.engine.encode(text, &Piece { context_start: 0, own: 0..text.len() }, &mut tokens)?;
        n_tokens += tokens.len();
    }
    Ok(n_tokens)
}

fn documents(text: &str) -> Vec<&str> {
    let (mut documents, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (document, others) = rest.split_at(rest.ceil_char_boundary(DOCUMENT_BYTES.min(rest.len())));
        documents.push(document);
        rest = others;
    }
    documents
}
