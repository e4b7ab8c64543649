#![no_main]
//! The Unigram engine against the general one: without normalization and with that of ALBERT and XLNet, but without a character map, which is
//! too large to make here. Give real tokenizers, whose maps are, in `LONGCTX_FUZZ_TOKENIZERS`.

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use longctx_fuzz::{Pair, pieces, text, with_given};
use serde_json::{Value, json};

static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(|| {
    let made = (0..16).map(|options| Pair::new(definition(options), "unigram"));
    with_given(made.collect(), "unigram")
});

fn definition(options: usize) -> String {
    let metaspace = json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true});
    let pre_tokenizer = if options & 1 == 0 {
        json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]})
    } else {
        metaspace
    };
    // Few scores, so that many ways to cut a word are equally good and ties have to break the same way.
    let n_scores = if options & 2 == 0 { 3 } else { 1 };
    let mut vocab = vec![json!(["<unk>", 0.0]), json!(["\u{2581}", -2.0])];
    for (i, piece) in pieces().into_iter().flat_map(|piece| [piece.clone(), format!("\u{2581}{piece}")]).enumerate() {
        vocab.push(json!([piece, -1.5 - (i % n_scores) as f64]));
    }
    let quotes = ["``", "''"].map(|pair| json!({"type": "Replace", "pattern": {"String": pair}, "content": "\""}));
    let steps = ["NFKD", "StripAccents", "Lowercase"].map(|kind| json!({"type": kind}));
    let joined = json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "});
    let normalizers: Vec<Value> = match options / 4 {
        0 => vec![],
        1 => quotes.into_iter().chain(steps).collect(),
        2 => quotes.into_iter().chain(steps.into_iter().take(2)).chain([joined]).collect(),
        _ => quotes.into_iter().chain(steps.into_iter().skip(2)).collect(),
    };
    let definition = json!({
        "version": "1.0", "truncation": null, "padding": null, "decoder": null, "post_processor": null, "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": normalizers}, "pre_tokenizer": pre_tokenizer,
        "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab": vocab},
    });
    definition.to_string()
}

fuzz_target!(|data: &[u8]| {
    if let [options, rest @ ..] = data {
        PAIRS[*options as usize % PAIRS.len()].check(&text(rest));
    }
});
