use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::engine::select::PROBES;

/// A definition without anything around its model.
fn definition(model: &Value) -> String {
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": {"type": "Lowercase"},
        "added_tokens": [
            {"id": 0, "content": "[UNK]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
            {"id": 99, "content": "far", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": false},
        ],
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null, "decoder": null, "model": model,
    })
    .to_string()
}

fn wordpiece() -> Value {
    let vocab = json!({"[UNK]": 0, "brown": 3, "the": 1, "##wn": 4, "##o": 5, "bro": 7, "##s": 2, "unseen": 6, "l": 8, "##a": 9});
    json!({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab})
}

fn bpe() -> Value {
    let vocab = json!({"[UNK]": 0, "t": 5, "h": 6, "e": 7, "q": 8, "th": 9, "the": 10, "he": 11, "qh": 12, "<0x41>": 13});
    json!({"type": "BPE", "unk_token": "[UNK]", "fuse_unk": true, "byte_fallback": false, "vocab": vocab,
        "merges": [["q", "h"], ["t", "h"], ["h", "e"], ["th", "e"]]})
}

/// With other tokens at the ends of words.
fn bpe_with_ends() -> Value {
    let mut model = bpe();
    let mut vocab = model["vocab"].clone();
    for (id, entry) in ["t</w>", "e</w>", "n</w>", "he</w>", "the</w>", "qe</w>", "<0x41></w>"].into_iter().enumerate() {
        vocab[entry] = json!(20 + id);
    }
    model["vocab"] = vocab;
    model["end_of_word_suffix"] = json!("</w>");
    model["merges"] = json!([["q", "e</w>"], ["t", "h"], ["h", "e</w>"], ["t", "he</w>"], ["th", "e"], ["h", "e"]]);
    model
}

fn unigram() -> Value {
    let vocab = json!([
        ["[UNK]", 0.0],
        ["zz", -1.0],
        ["the", -2.5],
        ["t", -3.1],
        ["he", -0.1],
        ["unseen", -17.25],
        ["unseen too", -1.0],
        ["he", -0.2]
    ]);
    json!({"type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab": vocab})
}

fn reference(json: &str) -> Result<Reference, String> {
    Reference::new(&Definition::parse(json)?, Specials::Parse, &PROBES)
}

fn assert_equal_to_the_whole(json: &str, name: &str) {
    let whole = GeneralEngine::new(json, Specials::Parse).unwrap_or_else(|error| unreachable!("{name}: {error}"));
    let reduced = reference(json).unwrap_or_else(|error| unreachable!("{name}: {error}"));
    for probe in PROBES {
        assert_eq!(encode_all(&whole, probe), reduced.tokens(probe), "{name}: {probe:?}");
    }
    for (content, id) in whole.tokenizer().get_added_tokens_decoder().into_iter().map(|(id, token)| (token.content, id)) {
        assert_eq!(reduced.added_token_id(&content), Some(id), "{name}: {content:?}");
    }
}

#[test]
fn a_reduced_engine_equals_the_whole_one_on_its_texts() {
    for model in [wordpiece(), bpe(), bpe_with_ends(), unigram()] {
        assert_equal_to_the_whole(&definition(&model), &model["type"].to_string());
        let mut untyped = model.clone();
        untyped.as_object_mut().and_then(|fields| fields.remove("type"));
        assert_equal_to_the_whole(&definition(&untyped), "a model without a type");
    }
}

#[test]
fn reduced_published_tokenizers_equal_the_whole_ones() {
    // Data beside the repository, where it is there.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/tokenizers");
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if let Ok(json) = std::fs::read_to_string(entry.path().join("tokenizer.json")) {
            assert_equal_to_the_whole(&json, &entry.path().to_string_lossy());
        }
    }
}

#[test]
fn few_entries_are_kept() {
    let kept = |model: Value| {
        let mut ids = reference(&definition(&model)).map(|reference| reference.entries.ids).unwrap_or_default();
        ids.sort_unstable();
        ids
    };
    assert_eq!(kept(wordpiece()), [0, 1, 2, 3, 4, 5, 7, 8, 9]);
    assert_eq!(kept(bpe()), [0, 5, 6, 7, 8, 9, 10, 11, 13]);
    assert_eq!(kept(bpe_with_ends()), [0, 5, 6, 7, 8, 9, 10, 11, 13, 20, 21, 22, 23, 24]);
    assert_eq!(kept(unigram()), [0, 1, 2, 3, 4, 5, 7]);
}

#[test]
fn what_is_not_understood_is_not_reduced() {
    let with = |mut model: Value, name: &str, value: Value| {
        model[name] = value;
        reference(&definition(&model)).err().unwrap_or_default()
    };
    assert!(with(bpe(), "continuing_subword_prefix", json!("##")).contains("prefix"));
    assert!(with(bpe(), "merges", json!([["<0x41>", "h"]])).contains("stand for other text"));
    assert!(with(bpe(), "merges", json!([["t", "q"], ["e", "h"], ["h", "t"], ["t", "t"], ["t", "o"]])).contains("not both entries"));
    assert!(with(bpe(), "vocab", json!({"t": 1, "h": 1})).contains("twice"));
    assert!(with(unigram(), "unk_id", json!(70)).contains("unknown"));
    assert!(with(wordpiece(), "type", json!("WordLevel")).contains("kind"));
}
