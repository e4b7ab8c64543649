#![no_main]
//! The engine for BPE on characters against the general one: pieces that are made in every way, with and without some characters, and every
//! way of marking blanks.

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use longctx_fuzz::{Pair, pieces, text, with_given};
use serde_json::{Map, Value, json};

static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(|| {
    let made = (0..20).map(|options| Pair::new(definition(options), "charbpe"));
    with_given(made.collect(), "charbpe")
});

fn definition(options: usize) -> String {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
    let prepend = json!({"type": "Prepend", "prepend": "\u{2581}"});
    let metaspace = |scheme: &str| json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": false});
    let (normalizer, pre_tokenizer) = match options / 4 {
        0 => (json!({"type": "Sequence", "normalizers": [prepend, replace]}), Value::Null),
        1 => (replace, Value::Null),
        2 => (Value::Null, metaspace("always")),
        3 => (Value::Null, metaspace("first")),
        _ => (Value::Null, metaspace("never")),
    };
    let (vocab, merges) = vocabulary(options & 1 == 0, options & 2 == 0);
    let definition = json!({
        "version": "1.0", "truncation": null, "padding": null, "decoder": null, "added_tokens": [], "post_processor": null,
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": true, "byte_fallback": true, "ignore_merges": false, "vocab": vocab, "merges": merges},
    });
    definition.to_string()
}

/// Bytes, characters, and pieces with and without a marker before them, merged from every two entries that make one: short ones first, or
/// in the order in which they come.
fn vocabulary(has_all_characters: bool, short_first: bool) -> (Map<String, Value>, Vec<[String; 2]>) {
    let bytes = (0..=255_u8).map(|byte| format!("<{byte:#04X}>"));
    let mut longer: Vec<String> = pieces().into_iter().flat_map(|piece| [piece.clone(), format!("\u{2581}{piece}")]).collect();
    longer.extend(["\u{2581}\u{2581}", "\u{2581}\u{2581}\u{2581}\u{2581}", "a\u{2581}b", "a\u{2581}"].map(String::from));
    longer.retain(|piece| piece.chars().count() > 1);
    if short_first {
        longer.sort_by_key(|piece| piece.chars().count());
    }
    let is_kept = |piece: &String| piece.chars().count() == 1 && (has_all_characters || piece.as_bytes()[0] % 3 != 0);
    let characters = pieces().into_iter().filter(is_kept).chain(["\u{2581}".into()]);
    let entries = ["<unk>".to_owned()].into_iter().chain(bytes).chain(characters).chain(longer.iter().cloned());
    let mut vocab = Map::new();
    entries.for_each(|entry| {
        let id = vocab.len();
        vocab.entry(entry).or_insert(json!(id));
    });
    let mut merges = Vec::new();
    for piece in longer {
        let splits = piece.char_indices().skip(1).map(|(at, _)| piece.split_at(at));
        let known = splits.filter(|&(left, right)| vocab.contains_key(left) && vocab.contains_key(right));
        merges.extend(known.map(|(left, right)| [left.to_owned(), right.to_owned()]));
    }
    (vocab, merges)
}

fuzz_target!(|data: &[u8]| {
    if let [options, rest @ ..] = data {
        PAIRS[*options as usize % PAIRS.len()].check(&text(rest));
    }
});
