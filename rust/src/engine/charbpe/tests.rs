//! The engine against the general one, on a tokenizer of a few characters, all bytes and a few pieces.

use serde_json::{Value, json};

use crate::config::Specials;
use crate::engine::{Engine, GeneralEngine, encode_all, load};

/// Pieces, best first. Some are made in several ways, one of letters that are made later, one of what is never made.
const PIECES: [&str; 19] = [
    "\u{2581}\u{2581}",
    "ab",
    "\u{2581}a",
    "bc",
    "abc",
    "aa",
    "\u{2581}ab",
    "aaa",
    "cab",
    "\u{4e2d}\u{6587}",
    "\u{2581}\u{2581}\u{2581}",
    "a\u{e9}",
    "\u{e9}a\u{e9}",
    "bcbc",
    "bcb",
    "aaaa",
    "x\u{2581}y",
    "x\u{2581}",
    "ca",
];

/// Merges of every two entries that make a piece, as they are written for such vocabularies: by the piece.
fn merges(pieces: &[&str], entries: &serde_json::Map<String, Value>) -> Vec<[String; 2]> {
    let mut merges = Vec::new();
    for piece in pieces {
        for (at, _) in piece.char_indices().skip(1) {
            let (left, right) = piece.split_at(at);
            if entries.contains_key(left) && entries.contains_key(right) {
                merges.push([left.to_owned(), right.to_owned()]);
            }
        }
    }
    merges
}

fn definition(pieces: &[&str], normalizer: &Value, pre_tokenizer: &Value) -> Value {
    let bytes = (0..=255_u8).map(|byte| format!("<{byte:#04X}>"));
    let characters = "\u{2581}abcxy!\u{e9}\u{4e2d}\u{6587}\u{1f600}".chars().map(String::from);
    let entries =
        ["<unk>".to_owned(), "<s>".to_owned()].into_iter().chain(bytes).chain(characters).chain(pieces.iter().map(ToString::to_string));
    let vocab: serde_json::Map<String, Value> = entries.zip(0..).map(|(entry, id)| (entry, json!(id))).collect();
    let added =
        json!({"id": 1, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": true, "normalized": false, "special": false});
    let merges = merges(pieces, &vocab);
    json!({
        "added_tokens": [added], "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": null,
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true, "vocab": vocab, "merges": merges}
    })
}

fn fast(definition: &Value) -> Option<Box<dyn Engine>> {
    let loaded = load(&definition.to_string(), Specials::Text).ok().map(|loaded| loaded.engine);
    loaded.filter(|engine| engine.explain().starts_with("engine: charbpe"))
}

/// Every way in which blanks are marked.
fn components() -> Vec<(Value, Value)> {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
    let prepend = json!({"type": "Prepend", "prepend": "\u{2581}"});
    let metaspace = |scheme: &str| json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": false});
    let split = json!({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false});
    vec![
        (json!({"type": "Sequence", "normalizers": [prepend, replace]}), Value::Null),
        (replace.clone(), Value::Null),
        (replace, split),
        (Value::Null, metaspace("always")),
        (Value::Null, metaspace("first")),
        (Value::Null, metaspace("never")),
    ]
}

#[test]
fn texts_are_read_as_the_general_engine_reads_them() -> Result<(), String> {
    let parts = [
        "a",
        "b",
        "c",
        "ab",
        "aa",
        " ",
        "  ",
        "x",
        "y",
        "\u{2581}",
        "\u{e9}",
        "\u{4e2d}",
        "\u{6587}",
        "\u{1f600}",
        "\u{1f601}",
        "\u{e8}",
        "\u{4e2c}",
        "\n",
        "<s>",
        "!",
        "<0x41>",
    ];
    let mut state = 3_u64;
    let mut random = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    for (i, (normalizer, pre_tokenizer)) in components().into_iter().enumerate() {
        let mut pieces = PIECES.to_vec();
        if i % 2 == 1 {
            pieces.reverse(); // parts come after what is made of them
        }
        let definition = definition(&pieces, &normalizer, &pre_tokenizer);
        let engine = fast(&definition).ok_or_else(|| format!("no fast engine took {definition}"))?;
        let general = GeneralEngine::new(&definition.to_string(), Specials::Text).map_err(|error| error.to_string())?;
        let mut texts: Vec<String> = (0..2000).map(|_| (0..random(24)).map(|_| parts[random(parts.len())]).collect()).collect();
        texts.push(" ab x y".repeat(30_000));
        texts.push((0..20_000).map(|_| parts[random(6)]).collect());
        texts.push("aab".repeat(3000));
        for text in texts {
            assert_eq!(
                encode_all(engine.as_ref(), &text)?,
                encode_all(&general, &text)?,
                "{definition} {:?}",
                &text.chars().take(99).collect::<String>()
            );
        }
        assert!(engine.pieces(&" ab x y".repeat(30_000)).len() > 2, "a long text is read in parts");
    }
    Ok(())
}

#[test]
fn what_is_not_known_is_refused() {
    let (normalizer, pre_tokenizer) = components().swap_remove(0);
    let known = definition(&PIECES, &normalizer, &pre_tokenizer);
    assert!(fast(&known).is_some());
    for (field, value) in
        [("byte_fallback", json!(false)), ("ignore_merges", json!(true)), ("end_of_word_suffix", json!("</w>")), ("dropout", json!(0.1))]
    {
        let mut changed = known.clone();
        changed["model"][field] = value;
        assert!(fast(&changed).is_none(), "{field}");
    }
    for post_processor in
        [json!({"type": "ByteLevel", "trim_offsets": true}), json!({"type": "RobertaProcessing", "sep": ["a", 1], "cls": ["a", 1]})]
    {
        let mut changed = known.clone();
        changed["post_processor"] = post_processor;
        assert!(fast(&changed).is_none(), "spans are trimmed");
    }
    let mut makes_a_byte = known.clone();
    for (left, right) in [("<", "0"), ("<0", "x"), ("<0x", "4"), ("<0x4", "1"), ("<0x41", ">")] {
        for entry in [left, right, &[left, right].concat()] {
            let vocab = makes_a_byte["model"]["vocab"].as_object_mut().unwrap_or_else(|| unreachable!("the model has one"));
            let id = vocab.len();
            vocab.entry(entry).or_insert(json!(id));
        }
        makes_a_byte["model"]["merges"].as_array_mut().unwrap_or_else(|| unreachable!("the model has some")).push(json!([left, right]));
    }
    assert!(GeneralEngine::new(&makes_a_byte.to_string(), Specials::Text).is_ok());
    assert!(fast(&makes_a_byte).is_none(), "text that becomes a byte");
    let long: Vec<String> = (0..10).map(|i| "a".repeat(1 << i)).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).skip(1).collect();
    assert!(fast(&definition(&long[..8], &normalizer, &pre_tokenizer)).is_some());
    assert!(fast(&definition(&[&long[..], &[&"a".repeat(1024)]].concat(), &normalizer, &pre_tokenizer)).is_none(), "takes long to load");
    let mut without_a_byte = known.clone();
    without_a_byte["model"]["vocab"].as_object_mut().and_then(|vocab| vocab.remove("<0x7F>"));
    assert!(fast(&without_a_byte).is_none());
    for (normalizer, pre_tokenizer) in [
        (Value::Null, Value::Null),
        (json!({"type": "NFKC"}), pre_tokenizer.clone()),
        (Value::Null, json!({"type": "Metaspace", "replacement": "_", "prepend_scheme": "always", "split": false})),
        (Value::Null, json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true})),
        (
            json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}),
            json!({"type": "Split", "pattern": {"String": " "}, "behavior": "Removed", "invert": true}),
        ),
    ] {
        assert!(fast(&definition(&PIECES, &normalizer, &pre_tokenizer)).is_none(), "{normalizer} {pre_tokenizer}");
    }
}
