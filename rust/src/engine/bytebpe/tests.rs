//! The engine against the general one, on a tokenizer of all bytes and a few merges.

use serde_json::{Value, json};

use crate::config::Specials;
use crate::engine::{Engine, GeneralEngine, encode_all, load};

/// The character that stands for a byte in byte-level vocabularies.
fn symbol(byte: u8) -> char {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let n_before = (0..byte).filter(|&other| !is_printable(other)).count() as u32;
    if is_printable(byte) { char::from(byte) } else { char::from_u32(0x100 + n_before).unwrap_or_default() }
}

/// The same as CLIP has it: lowered, white space removed, and the last byte of a word another token.
fn clip(regex: &str, normalizers: &[&str], last_merge: &str) -> String {
    let symbols = || (0..=255).map(symbol);
    let ends = symbols().map(|symbol| format!("{symbol}</w>"));
    let mut vocab: serde_json::Map<String, Value> =
        symbols().map(String::from).chain(ends).zip(0..).map(|(entry, id)| (entry, json!(id))).collect();
    let merges = [
        "h e</w>",
        "t he</w>",
        "h e",
        "t he",
        "e r</w>",
        "Ã ©</w>",
        "Ã ©",
        "' s</w>",
        "a a",
        "a a</w>",
        "aa aa",
        "aa aa</w>",
        "! !",
        "< |</w>",
        last_merge,
    ];
    for merge in merges {
        let id = vocab.len();
        vocab.insert(merge.replace(' ', ""), json!(id));
    }
    vocab.insert("<unk>".into(), json!(vocab.len()));
    let normalizer = |kind: &&str| match *kind {
        "Replace" => json!({"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}),
        kind => json!({"type": kind}),
    };
    let split = json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Removed", "invert": true});
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    json!({
        "added_tokens": [], "post_processor": null,
        "normalizer": {"type": "Sequence", "normalizers": normalizers.iter().map(normalizer).collect::<Vec<_>>()},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, bytes]},
        "model": {"type": "BPE", "vocab": vocab, "merges": merges, "unk_token": "<unk>", "end_of_word_suffix": "</w>"}
    })
    .to_string()
}

/// A tokenizer of all bytes and a few merges.
fn tokenizer(normalizer: &Value, pre_tokenizer: &Value, post_processor: &Value, ignore_merges: bool) -> String {
    let mut vocab: serde_json::Map<String, Value> = (0..=255).map(|byte| (symbol(byte).to_string(), json!(byte))).collect();
    let merges = ["h e", "t he", "Ġ the", "Ġ a", "e r", "Ġ Ġ", "ĠĠ ĠĠ", "Ċ Ċ", "Ã ©", "Ġ Ã", "1 2", "' s", "a a", "aa aa", "Ì ģ"];
    for merge in merges {
        let id = vocab.len();
        vocab.insert(merge.replace(' ', ""), json!(id));
    }
    vocab.insert("Ġwhole".into(), json!(vocab.len()));
    let added = |id: usize, content: &str, normalized: bool, special: bool| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": special, "rstrip": false, "normalized": normalized,
            "special": special})
    };
    let (blanks, mask) = (added(vocab.len(), "   ", true, false), added(vocab.len() + 1, "<m>", false, true));
    json!({
        "added_tokens": [blanks, mask], "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": post_processor,
        "model": {"type": "BPE", "vocab": vocab, "merges": merges, "ignore_merges": ignore_merges}
    })
    .to_string()
}

fn fast(definition: &str, specials: Specials) -> Option<Box<dyn Engine>> {
    load(definition, specials).ok().map(|loaded| loaded.engine).filter(|engine| engine.explain().starts_with("engine: bytebpe"))
}

fn texts() -> Vec<String> {
    let parts: Vec<&str> = "the The there 's 'S a aaaaaaaa 12 1234 whole e\u{301} \u{e9} \u{4e2d}\u{6587} \u{1f600} \u{301} = \u{338} <m> ! \u{2014} \u{1100}\u{1161} \u{212a}"
        .split(' ')
        .chain([" ", " ", "  ", "   ", "\n", "\r\n", "\t", "\u{a0}", " the", " whole", "er a"])
        .collect();
    let mut state = 7_u64;
    let mut random = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    let mut texts: Vec<String> = (0..300).map(|_| (0..=random(20)).map(|_| parts[random(parts.len())]).collect()).collect();
    texts.push("a".repeat(5000) + &" the".repeat(30_000) + "e\u{301}" + &"1".repeat(300));
    texts.push("\u{301}".repeat(3000));
    texts
}

#[test]
fn texts_are_read_as_the_general_engine_reads_them() -> Result<(), String> {
    let gpt2 = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let prefixed = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let plain = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let split = |regex: &str| {
        let split = json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
        json!({"type": "Sequence", "pretokenizers": [split, plain]})
    };
    let patterns = crate::engine::cuts::WORD_PATTERNS;
    let trimming = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true});
    for (normalizer, post_processor) in [(Value::Null, Value::Null), (json!({"type": "NFC"}), trimming.clone()), (Value::Null, trimming)] {
        for pre_tokenizer in [gpt2.clone(), prefixed.clone(), split(patterns[0]), split(patterns[1]), split(patterns[2])] {
            for (ignore_merges, specials) in [(false, Specials::Text), (true, Specials::Parse)] {
                let definition = tokenizer(&normalizer, &pre_tokenizer, &post_processor, ignore_merges);
                let general = GeneralEngine::new(&definition, specials).map_err(|error| error.to_string())?;
                let engine = fast(&definition, specials).ok_or("no fast engine took it")?;
                for text in texts() {
                    assert_eq!(encode_all(engine.as_ref(), &text)?, encode_all(&general, &text)?, "{definition} {text:?}");
                }
            }
        }
    }
    Ok(())
}

const CLIP: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

#[test]
fn lowered_texts_with_marked_ends_are_read_as_the_general_engine_reads_them() -> Result<(), String> {
    let parts = [
        "<|endoftext|>",
        "<|StartOfText|>",
        "<|",
        "|>",
        "'S",
        " 'll",
        "\u{130}",
        "\u{c9}",
        "\u{23a}",
        " THE",
        "!!'s",
        "123",
        " 1",
        "\u{1c5}",
    ];
    let with_controls = format!(r"<\|startoftext\|>|<\|endoftext\|>|{CLIP}");
    for regex in [CLIP, &with_controls] {
        for normalizers in [&["NFC", "Replace", "Lowercase"][..], &["Lowercase"], &["Replace", "Lowercase"]] {
            let definition = clip(regex, normalizers, "o f");
            let general = GeneralEngine::new(&definition, Specials::Text).map_err(|error| error.to_string())?;
            let engine = fast(&definition, Specials::Text).ok_or("no fast engine took it")?;
            for (i, text) in texts().into_iter().enumerate() {
                let more: String = (0..5).map(|j| [parts[(i * 5 + j * 7) % parts.len()], &text].concat()).collect();
                for text in [text, more] {
                    assert_eq!(encode_all(engine.as_ref(), &text)?, encode_all(&general, &text)?, "{definition} {text:?}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_not_known_of_clip_is_refused() {
    let is_read = |regex: &str, normalizers: &[&str], merge: &str| fast(&clip(regex, normalizers, merge), Specials::Text).is_some();
    assert!(is_read(CLIP, &["Lowercase"], "o f"));
    assert!(!is_read(CLIP, &["NFC"], "o f"), "not lowered");
    assert!(!is_read(CLIP, &["Lowercase", "NFC"], "o f"), "in another order");
    assert!(!is_read(r"[\p{L}]+", &["Lowercase"], "o f"), "another expression");
    assert!(!is_read(CLIP, &["Lowercase"], "\u{ff} f"), "merges the byte that stands for ends");
}

#[test]
fn what_is_not_known_is_refused() {
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true});
    for (normalizer, pre_tokenizer, post_processor) in [
        (json!({"type": "NFKC"}), &byte_level, Value::Null),
        (Value::Null, &byte_level, json!({"type": "ByteLevel"})),
        (Value::Null, &Value::Null, Value::Null),
    ] {
        let definition = tokenizer(&normalizer, pre_tokenizer, &post_processor, false);
        assert!(fast(&definition, Specials::Text).is_none(), "{definition}");
    }
}
