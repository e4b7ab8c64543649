//! The parts of a call, without Python: what callgrind counts instructions of.
//!
//! `cargo run --release --example encode -- tokenizer.json first.txt second.txt` reads both texts in documents of 20 kB, the second after
//! the first, and prints the time of each part: the plan, rows with and without offsets, and tokenizing alone once more, when every word
//! is known. `--plan` leaves out all but the plan, for the difference between the counts of one text and of two.
#![allow(clippy::print_stdout)] // its results

use std::time::Instant;

use _core::batch::{Offsets, Plan, Reader, RowFormat, Width};
use _core::config::{Boundary, ChunkConfig, Select, Specials, Tail};
use _core::engine::{Piece, Tokens, load};
use _core::rows::Side;
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
    let reader = Reader { engine, config, offsets: Offsets::EachToken, n_threads: 1 };
    for path in texts {
        let text = std::fs::read_to_string(path)?;
        let documents = documents(&text);
        let (plan, plan_ms) = timed(|| reader.plan(&documents));
        let plan = plan?;
        println!("{path}: {} bytes, {} rows", text.len(), plan.n_rows());
        println!("  plan                {plan_ms:8.2} ms, {:.1} MB/s", text.len() as f64 / 1e3 / plan_ms);
        if options.is_empty() {
            println!("  rows and offsets    {:8.2} ms", rows_ms(&plan, Offsets::EachToken));
            println!("  rows                {:8.2} ms", rows_ms(&plan, Offsets::ChunksOnly));
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

fn rows_ms(plan: &Plan, offsets: Offsets) -> f64 {
    let token = |id| FixedToken { id, type_id: 0 };
    let frame = Frame { before: vec![token(1)], after: vec![token(2)], content_type_id: 0 };
    let format = RowFormat { pad_id: 0, padding_side: Side::Right, width: Width::Longest, offsets, n_threads: 1 };
    timed(|| plan.rows::<i64>(0..plan.n_rows(), &frame, &format)).1
}

fn encode(reader: &Reader, documents: &[&str]) -> Result<usize, String> {
    let (mut tokens, mut n_tokens) = (Tokens::default(), 0);
    for text in documents {
        tokens.clear();
        reader.engine.encode(text, &Piece { context_start: 0, own: 0..text.len() }, &mut tokens)?;
        n_tokens += tokens.ids.len();
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
