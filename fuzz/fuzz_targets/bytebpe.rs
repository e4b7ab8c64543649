#![no_main]
//! The byte-level BPE engine against the general one: three splits, with and without NFC, trimmed offsets and `ignore_merges`, and CLIP.

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use longctx_fuzz::{Pair, pieces, text, with_given};
use serde_json::{Map, Value, json};

const QWEN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(|| {
    let made = (0..24).map(definition).chain((0..4).map(clip));
    with_given(made.map(|definition| Pair::new(definition, "bytebpe")).collect(), "bytebpe")
});

fn definition(options: usize) -> String {
    let split = |regex: &str| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}]})
    };
    let pre_tokenizer = match options / 8 {
        0 => json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}),
        1 => split(QWEN),
        _ => split(LLAMA),
    };
    let normalizer = if options & 1 == 0 { Value::Null } else { json!({"type": "NFC"}) };
    let (vocab, merges) = vocabulary();
    let definition = json!({
        "version": "1.0", "truncation": null, "padding": null, "decoder": null, "added_tokens": [],
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
        "post_processor": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": options & 2 == 0, "use_regex": false},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": options & 4 == 0, "vocab": vocab, "merges": merges},
    });
    definition.to_string()
}

const CLIP: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Lowered, without white space, and with other tokens at the ends of words; with and without NFC and control strings.
fn clip(options: usize) -> String {
    let nfc = json!({"type": "NFC"});
    let blanks = json!({"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "});
    let normalizers: Vec<Value> = (options & 1 == 0).then_some(nfc).into_iter().chain([blanks, json!({"type": "Lowercase"})]).collect();
    let regex = if options & 2 == 0 { CLIP.to_owned() } else { format!(r"<\|startoftext\|>|<\|endoftext\|>|{CLIP}") };
    let (inside, merges_inside) = vocabulary();
    let mut vocab = inside.clone();
    (0..=255).for_each(|byte| drop(vocab.insert(format!("{}</w>", symbol(byte)), json!(vocab.len()))));
    let mut merges = Vec::new();
    for merge in merges_inside.iter().filter(|merge| !merge.contains(symbol(b' '))) {
        let ended = format!("{merge}</w>");
        vocab.insert(ended.replace(' ', ""), json!(vocab.len()));
        merges.extend([ended, merge.clone()]);
    }
    let definition = json!({
        "version": "1.0", "truncation": null, "padding": null, "decoder": null, "added_tokens": [], "post_processor": null,
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Removed", "invert": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "</w>",
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab, "merges": merges},
    });
    definition.to_string()
}

/// Every byte, and the pieces, with and without a space before them, merged from their start on.
fn vocabulary() -> (Map<String, Value>, Vec<String>) {
    let mut vocab: Map<String, Value> = (0..=255).map(|byte| (symbol(byte).to_string(), json!(byte))).collect();
    let mut merges = Vec::new();
    for piece in pieces().into_iter().flat_map(|piece| [piece.clone(), format!(" {piece}")]).chain(["  ".into(), "    ".into(), "\n\n".into()]) {
        let symbols: Vec<String> = piece.bytes().map(|byte| symbol(byte).to_string()).collect();
        for length in 2..=symbols.len() {
            let (whole, left) = (symbols[..length].concat(), symbols[..length - 1].concat());
            if !vocab.contains_key(&whole) {
                merges.push(format!("{left} {}", symbols[length - 1]));
                vocab.insert(whole, json!(vocab.len()));
            }
        }
    }
    (vocab, merges)
}

/// The character that stands for a byte in byte-level vocabularies.
fn symbol(byte: u8) -> char {
    let is_own = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let code = if is_own(byte) { u32::from(byte) } else { 256 + (0..byte).filter(|&other| !is_own(other)).count() as u32 };
    char::from_u32(code).expect("no surrogate lies below 512")
}

fuzz_target!(|data: &[u8]| {
    if let [options, rest @ ..] = data {
        PAIRS[*options as usize % PAIRS.len()].check(&text(rest));
    }
});
