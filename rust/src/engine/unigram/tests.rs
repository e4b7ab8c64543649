use serde_json::{Value, json};

use crate::config::Specials;
use crate::engine::{Engine, GeneralEngine, encode_all, load};

/// A tokenizer, read in both ways.
struct Loaded {
    engine: Box<dyn Engine>,
    general: GeneralEngine,
}

/// A tokenizer of few pieces, many of equal score, so that ties decide.
fn loaded_with(piece: &str, normalizer: &Value, pre_tokenizer: &Value) -> Loaded {
    loaded_of(&[(piece, -40.0)], normalizer, pre_tokenizer)
}

/// The same with pieces of these scores.
fn loaded_of(more: &[(&str, f64)], normalizer: &Value, pre_tokenizer: &Value) -> Loaded {
    let pieces = ["\u{2581}", "a", "b", "ab", "ba", "aba", "\u{2581}a", "\u{2581}ab", "bb", "\u{2581}\u{2581}", "\u{431}", "\u{4e2d}a"];
    let scored = pieces.iter().map(|piece| json!([piece, -(piece.chars().count() as f64)]));
    let vocab: Vec<Value> = [json!(["<unk>", 0.0])].into_iter().chain(scored).chain(more.iter().map(|piece| json!(piece))).collect();
    let definition = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": null,
        "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab": vocab},
    });
    let json = definition.to_string();
    let fast = load(&json, Specials::Text).ok().map(|loaded| loaded.engine).filter(|engine| engine.explain().contains("unigram"));
    match (fast, GeneralEngine::new(&json, Specials::Text)) {
        (Some(engine), Ok(general)) => Loaded { engine, general },
        _ => unreachable!("no fast engine for {normalizer} {pre_tokenizer}"),
    }
}

fn assert_same(loaded: &Loaded, text: &str) {
    let (fast, general) = (encode_all(loaded.engine.as_ref(), text), encode_all(&loaded.general, text));
    assert_eq!(fast, general, "{:?}", text.chars().take(200).collect::<String>());
}

fn kinds() -> Vec<Loaded> {
    kinds_with(&[("xy", -40.0)])
}

fn kinds_with(more: &[(&str, f64)]) -> Vec<Loaded> {
    let joins = json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "});
    let strip = json!({"type": "Strip", "strip_left": true, "strip_right": true});
    let metaspace = |scheme: &str| json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": true});
    let words = json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace("always")]});
    vec![
        loaded_of(more, &Value::Null, &words),
        loaded_of(more, &Value::Null, &metaspace("always")),
        loaded_of(more, &Value::Null, &metaspace("first")),
        loaded_of(more, &strip, &metaspace("never")),
        loaded_of(more, &json!({"type": "Sequence", "normalizers": [strip, joins]}), &metaspace("always")),
        loaded_of(more, &joins, &metaspace("first")),
    ]
}

/// Numbers below those asked for, the same in every run.
fn numbers() -> impl FnMut(usize) -> usize {
    let mut state = 1_u64;
    move |n| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    }
}

#[test]
fn tokens_equal_the_general_engine_where_scores_tie() {
    let alphabet = ['a', 'b', 'a', 'b', ' ', 'x', 'y', '\n', '\u{431}', '\u{4e2d}', '\u{2581}', '\u{3000}'];
    let mut random = numbers();
    for loaded in kinds() {
        for n_chars in (0..30).chain([90, 95, 96, 97, 130]).cycle().take(1500) {
            let n_letters = 2 + random(alphabet.len() - 1);
            assert_same(&loaded, &(0..n_chars).map(|_| alphabet[random(n_letters)]).collect::<String>());
        }
    }
}

/// Closers whose pieces tie, that are parts of other pieces, that have none, that come after letters in a piece.
const CLOSERS: [&[(&str, f64)]; 5] = [
    &[(",", -1.0), (".", -1.5), ("!", -2.0), ("?", -1.0), (",.", -2.5), ("!?", -2.0), ("..", -5.0), ("b?", -1.0)],
    &[(",", -0.1), (".", -0.2), (",.", -0.3), (".,", -0.2), ("!a", -1.0), ("!", -1.0), ("\u{2581},", -0.5), ("\u{2581}?", -3.0)],
    &[(",", -1.0), (".", -1000.0), (",!", -1.0), ("a,b", -2.0), ("?", -1.0), ("\u{431}?", -1.0)],
    &[(",.", -1.0), ("!?!", -1.0), ("!", -2.0), ("?", 3.0), ("?!", 1.0)],
    &[(",", -1.0), (".", -1.5), (",.", -3.0), ("xb", -1e18), ("x", -1e18)],
];

#[test]
fn what_closes_words_has_the_tokens_of_the_general_engine() {
    let alphabet = ['a', 'b', ',', '.', ' ', '!', '?', '\n', 'x', '\u{431}', '\u{301}', '\r', '\u{3000}'];
    let mut random = numbers();
    for loaded in CLOSERS.into_iter().flat_map(kinds_with) {
        for n_chars in (0..40).chain([60, 64, 68, 126, 127, 128, 129, 130, 300]).cycle().take(1000) {
            let n_letters = 5 + random(alphabet.len() - 4);
            assert_same(&loaded, &(0..n_chars).map(|_| alphabet[random(n_letters)]).collect::<String>());
        }
        for n_chars in [4090, 4096, 9000] {
            assert_same(&loaded, &(0..n_chars).map(|_| alphabet[random(7)]).collect::<String>());
            assert_same(&loaded, &format!("{}, a. ,. b", "a".repeat(n_chars)));
        }
    }
}

/// A character map of a few strings, as `SentencePiece` writes it down: the units of a double array, and what it makes of them.
///
/// Every node has 256 units of its own, so that the child for a byte is at that byte; a value is where the byte 0 would be.
fn charsmap(entries: &[(&str, &str)]) -> Value {
    let (mut children, mut values) = (vec![std::collections::BTreeMap::new()], vec![None]);
    let mut normalized = Vec::new();
    for (text, normal) in entries {
        let mut node = 0;
        for &byte in text.as_bytes() {
            let n_nodes = children.len();
            node = *children[node].entry(byte).or_insert(n_nodes);
            if node == n_nodes {
                children.push(std::collections::BTreeMap::new());
                values.push(None);
            }
        }
        values[node] = Some(normalized.len() as u32);
        normalized.extend_from_slice(normal.as_bytes());
        normalized.push(0);
    }
    // The root is unit 0; nodes have their units from 256 on.
    let base = |node: usize| (node as u32 + 1) * 256;
    let mut units = vec![0_u32; (children.len() + 1) * 256];
    units[0] = base(0) << 10;
    for (node, next) in children.iter().enumerate() {
        for (&byte, &child) in next {
            let at = base(node) ^ u32::from(byte);
            units[at as usize] = (at ^ base(child)) << 10 | u32::from(values[child].is_some()) << 8 | u32::from(byte);
        }
        if let Some(value) = values[node] {
            units[base(node) as usize] = value | 1 << 31;
        }
    }
    let trie: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let bytes = [(trie.len() as u32).to_le_bytes().as_slice(), &trie, &normalized].concat();
    json!({"type": "Precompiled", "precompiled_charsmap": base64(&bytes)})
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |three: &[u8]| {
        let number = three.iter().fold(0_usize, |number, &byte| number << 8 | usize::from(byte)) << (8 * (3 - three.len()));
        (0..4).map(move |i| (number >> (18 - 6 * i)) & 63).take(three.len() + 1).map(|digit| char::from(DIGITS[digit])).collect::<String>()
    };
    let encoded: String = bytes.chunks(3).map(digits).collect();
    let n_missing = encoded.len().next_multiple_of(4) - encoded.len();
    encoded + &"=".repeat(n_missing)
}

/// Some characters are removed, some become blanks, one with a mark becomes another, one becomes several.
fn map() -> Value {
    charsmap(&[
        ("\u{1}", ""),
        ("\u{200b}", " "),
        ("\u{ad}", ""),
        ("\t", " "),
        ("b\u{301}", "ab"),
        ("\u{939}\u{94d}", ""),
        ("\u{431}", "ba b"),
        ("B", "b"),
    ])
}

/// Normalizers of ALBERT and `XLNet`, without and with what comes after them.
fn kinds_with_steps() -> Vec<Loaded> {
    let pair = |of: &str| json!({"type": "Replace", "pattern": {"String": of}, "content": "\""});
    let joins = json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "});
    let strip = json!({"type": "Strip", "strip_left": true, "strip_right": false});
    let step = |kind: &str| json!({"type": kind});
    let all = [pair("``"), pair("''"), step("NFKD"), step("StripAccents"), step("Lowercase")];
    let sequence = |members: &[Value]| json!({"type": "Sequence", "normalizers": members});
    let metaspace = |scheme: &str| json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": true});
    let words = json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace("always")]});
    let mut kinds = Vec::new();
    for n_steps in [2, 3, 4, 5] {
        kinds.push(loaded_of(QUOTES, &sequence(&all[..n_steps]), &words));
        kinds.push(loaded_of(QUOTES, &sequence(&all[5 - n_steps..]), &metaspace("first")));
        let joined = [&all[..n_steps], std::slice::from_ref(&joins)].concat();
        kinds.push(loaded_of(QUOTES, &sequence(&joined), &metaspace("always")));
        kinds.push(loaded_of(QUOTES, &sequence(&[std::slice::from_ref(&strip), joined.as_slice()].concat()), &metaspace("never")));
    }
    kinds.push(loaded_of(QUOTES, &step("NFD"), &words));
    for steps in [&all[..0], &all[..2], &all[2..4], &all, &all[4..], &[step("NFD")]] {
        let mapped = [steps, &[map()]].concat();
        kinds.push(loaded_of(QUOTES, &sequence(&mapped), &words));
        kinds.push(loaded_of(QUOTES, &sequence(&[mapped.as_slice(), std::slice::from_ref(&joins)].concat()), &metaspace("first")));
    }
    kinds
}

const QUOTES: &[(&str, f64)] =
    &[("\"", -1.0), ("'", -1.5), ("''", -0.1), ("a'", -1.0), (",", -1.0), ("`", -2.0), ("\u{308}", -1.0), ("A", -3.0)];

#[test]
fn chains_that_could_reach_across_are_refused() {
    let pair = |of: &str, to: &str| json!({"type": "Replace", "pattern": {"String": of}, "content": to});
    let joins = |to: &str| json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": to});
    let strip = json!({"type": "Strip", "strip_left": true, "strip_right": true});
    let metaspace = |scheme: &str| json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": true});
    let words = json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace("always")]});
    let step = |kind: &str| json!({"type": kind});
    let is_read = |normalizers: &[&Value], pre_tokenizer: &Value| {
        let definition = json!({
            "added_tokens": [], "normalizer": {"type": "Sequence", "normalizers": normalizers}, "pre_tokenizer": pre_tokenizer,
            "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["\u{2581}", -1.0], ["a", -1.0], ["\"", -1.0]]},
        });
        load(&definition.to_string(), Specials::Text).is_ok_and(|loaded| loaded.engine.explain().contains("unigram (Sentence"))
    };
    assert!(is_read(&[&pair("``", "\""), &pair("''", "\"")], &words));
    assert!(!is_read(&[&pair("``", "\""), &pair("\"\"", "'")], &words), "a pair of what a pair makes");
    assert!(!is_read(&[&step("NFKD"), &pair("''", "\"")], &words), "a pair of what is decomposed");
    assert!(!is_read(&[&pair("`'", "\"")], &words) && !is_read(&[&pair("```", "\"")], &words), "no pair");
    assert!(is_read(&[&joins(" ")], &words) && !is_read(&[&joins("\u{2581}")], &words), "markers are no ends of words");
    assert!(is_read(&[&strip], &metaspace("always")) && !is_read(&[&strip], &metaspace("first")), "what is first was stripped");
    assert!(!is_read(&[&map(), &step("Lowercase")], &words), "after the map");
}

#[test]
fn a_first_character_that_is_lost_moves_all_spans_as_in_the_general_engine() {
    for loaded in kinds_with_steps() {
        for start in [
            "\u{1}",
            "\u{1}\u{1}",
            "\u{301}\u{1}",
            "\u{1}\u{301}",
            "\u{ad}",
            "\u{939}\u{94d}",
            "\u{200b}",
            "\u{301}",
            "\u{301} ",
            "b\u{301}",
            " \u{1}",
            "\u{ac01}",
        ] {
            for rest in
                ["ab, ba aba. ".repeat(30), "ab".repeat(200), "\u{e4}'".repeat(50), "\u{ac01}".repeat(50), "a".into(), String::new()]
            {
                assert_same(&loaded, &format!("{start}{rest}"));
                assert_same(&loaded, &format!("{start}{start}A{rest}"));
            }
        }
    }
}

#[test]
fn what_is_decomposed_stripped_and_lowered_has_the_tokens_and_spans_of_the_general_engine() {
    let alphabet = [
        'a',
        'b',
        ' ',
        'A',
        'B',
        '\'',
        '`',
        '\u{e4}',
        '\u{301}',
        '\u{323}',
        '\u{c0}',
        '\u{1ea1}',
        '\u{130}',
        '\u{fb01}',
        '\u{a8}',
        '\u{3000}',
        ',',
        '\n',
        '\u{ac01}',
        '\u{431}',
        '\u{344}',
        '\u{1d15e}',
        '\u{2581}',
        '\u{939}',
        '\u{94d}',
        '\u{1}',
        '\u{200b}',
        '\u{ad}',
        '\t',
    ];
    let mut random = numbers();
    for loaded in kinds_with_steps() {
        for n_chars in (0..30).chain([40, 60, 96, 130]).cycle().take(300) {
            let n_letters = 3 + random(alphabet.len() - 2);
            assert_same(&loaded, &(0..n_chars).map(|_| alphabet[random(n_letters)]).collect::<String>());
        }
        for unit in ["'", "`", "\u{e4}", "A", "\u{301}", "a\u{301}'", "\u{ac01}"] {
            for n_repeats in [1, 2, 3, 31, 1000, 5001] {
                assert_same(&loaded, &unit.repeat(n_repeats));
                assert_same(&loaded, &format!("b {}, a", unit.repeat(n_repeats)));
            }
        }
    }
}

#[test]
fn long_words_are_read_in_windows_without_a_difference() {
    for loaded in kinds() {
        for n_repeats in [1000, 4095, 4096, 4097, 9000] {
            for unit in ["ab", "a", "x", "xab", "\u{431}", " ", "\u{4e2d}a\u{4e2d}"] {
                assert_same(&loaded, &format!("b {} a", unit.repeat(n_repeats)));
            }
        }
    }
}

#[test]
fn a_piece_may_be_longer_than_a_window() {
    let check = || {
        let piece = "y".repeat(5000);
        let metaspace = json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "first"});
        let loaded = loaded_with(&piece, &Value::Null, &metaspace);
        for text in [format!("a{piece}{piece}b"), format!("\n{}b {piece}", &piece[1..]), "ab".repeat(9000)] {
            assert_same(&loaded, &text);
        }
    };
    // The general engine drops its trie by recursion, a call for each byte of the piece.
    let thread = std::thread::Builder::new().stack_size(256 << 20).spawn(check);
    assert!(thread.is_ok_and(|thread| thread.join().is_ok()));
}

#[test]
fn a_long_text_read_in_parts_has_the_tokens_of_the_whole() {
    let text = "ab ba  \n aba x\u{431} ".repeat(20_000);
    for loaded in kinds() {
        assert!(loaded.engine.pieces(&text).len() > 2);
        assert_same(&loaded, &text);
    }
}
