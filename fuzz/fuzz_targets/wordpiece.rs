#![no_main]
//! The `WordPiece` engine against the general one, under every combination of normalizer options.

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use longctx_fuzz::{Pair, pieces, text, with_given};
use serde_json::{Map, Value, json};

static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(|| {
    let made = (0..24).map(|options| Pair::new(definition(options), "wordpiece"));
    with_given(made.collect(), "wordpiece")
});

fn definition(options: u32) -> String {
    let mut vocab = Map::new();
    vocab.insert("[UNK]".into(), json!(0));
    for piece in pieces() {
        for entry in [piece.clone(), format!("##{piece}")] {
            let id = vocab.len();
            vocab.entry(entry).or_insert(json!(id));
        }
    }
    let strip_accents = [Value::Null, json!(true), json!(false)][(options / 8) as usize].clone();
    let definition = json!({
        "version": "1.0", "truncation": null, "padding": null, "decoder": null, "post_processor": null,
        "added_tokens": [{"id": 0, "content": "[UNK]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true}],
        "normalizer": {"type": "BertNormalizer", "clean_text": options & 1 == 0, "handle_chinese_chars": options & 2 == 0,
            "strip_accents": strip_accents, "lowercase": options & 4 == 0},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 20,
            "vocab": vocab},
    });
    definition.to_string()
}

fuzz_target!(|data: &[u8]| {
    if let [options, rest @ ..] = data {
        PAIRS[*options as usize % PAIRS.len()].check(&text(rest));
    }
});
