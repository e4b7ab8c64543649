//! Tokenizing alone, without Python and without rows: what callgrind counts instructions of.
//!
//! `cargo run --release --example encode -- tokenizer.json first.txt second.txt` reads both texts in documents of 20 kB, the second after
//! the first, and prints the speed of each. With one text it reads only that one, for the difference between two counts.
#![allow(clippy::print_stdout)] // its results

use std::time::Instant;

use _core::batch::{Offsets, Reader};
use _core::config::{Boundary, ChunkConfig, Select, Specials, Tail};
use _core::engine::load;

/// Bytes of a document; it ends at the next character.
const DOCUMENT_BYTES: usize = 20_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [tokenizer, texts @ ..] = arguments.as_slice() else { return Err("give a tokenizer.json and one or more texts".into()) };
    let start = Instant::now();
    let engine = load(&std::fs::read_to_string(tokenizer)?, Specials::Text)?.engine;
    println!("{}\nload: {:.0} ms", engine.explain(), start.elapsed().as_secs_f64() * 1e3);
    let config = ChunkConfig::new(512, 64, 2, "special tokens", Boundary::Token, Tail::Keep, Select::All)?;
    let reader = Reader { engine, config, offsets: Offsets::EachToken, n_threads: 1 };
    for path in texts {
        let text = std::fs::read_to_string(path)?;
        let documents = documents(&text);
        let start = Instant::now();
        let plan = reader.plan(&documents)?;
        let seconds = start.elapsed().as_secs_f64();
        println!("{path}: {:.1} MB/s, {} bytes, {} rows", text.len() as f64 / 1e6 / seconds, text.len(), plan.n_rows());
    }
    Ok(())
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
