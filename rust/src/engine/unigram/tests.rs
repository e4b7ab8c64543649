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

/// Normalizers of ALBERT and XLNet, without and with what comes after them.
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
        kinds.push(loaded_of(QUOTES, &sequence(&[&[strip.clone()], joined.as_slice()].concat()), &metaspace("never")));
    }
    kinds.push(loaded_of(QUOTES, &step("NFD"), &words));
    kinds
}

const QUOTES: &[(&str, f64)] =
    &[("\"", -1.0), ("'", -1.5), ("''", -0.1), ("a'", -1.0), (",", -1.0), ("`", -2.0), ("\u{308}", -1.0), ("A", -3.0)];

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
    ];
    let mut random = numbers();
    for loaded in kinds_with_steps() {
        for n_chars in (0..30).chain([40, 60, 96, 130]).cycle().take(1000) {
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
