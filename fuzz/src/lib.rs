//! What all fuzz targets do: read a text by a fast engine and by the general one, and compare ids and spans.

use _core::config::Specials;
use _core::engine::{Engine, GeneralEngine, encode_all, load};

/// A tokenizer, read by both engines.
pub struct Pair {
    fast: Box<dyn Engine>,
    general: GeneralEngine,
    definition: String,
}

impl Pair {
    /// Reads a `tokenizer.json`, which the engine of this name has to take.
    pub fn new(definition: String, engine: &str) -> Self {
        let fast = load(&definition, Specials::Text).expect("the definition is right").engine;
        let explanation = fast.explain();
        assert!(explanation.starts_with(&format!("engine: {engine}")), "not read by {engine}: {explanation}\n{definition}");
        let general = GeneralEngine::new(&definition, Specials::Text).expect("the definition is right");
        Self { fast, general, definition }
    }

    /// Compares the engines on a text, as one piece and cut as the fast engine cuts it.
    pub fn check(&self, text: &str) {
        let expected = encode_all(&self.general, text);
        let found = encode_all(self.fast.as_ref(), text);
        assert_eq!(found, expected, "on {text:?} with {}", self.definition);
    }
}

/// The tokenizers whose paths stand in `LONGCTX_FUZZ_TOKENIZERS`, parted by colons, beside those that a target makes itself.
pub fn with_given(mut pairs: Vec<Pair>, engine: &str) -> Vec<Pair> {
    let paths = std::env::var("LONGCTX_FUZZ_TOKENIZERS").unwrap_or_default();
    for path in paths.split(':').filter(|path| !path.is_empty()) {
        pairs.push(Pair::new(std::fs::read_to_string(path).expect("the file is there"), engine));
    }
    pairs
}

/// A text from the input's bytes: as UTF-8 where it is, and otherwise every two bytes as one character, so that mutations of single bytes
/// reach all of Unicode's first plane.
pub fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => char::decode_utf16(bytes.chunks(2).map(|pair| u16::from_le_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
            .map(|character| character.unwrap_or('\u{1f600}'))
            .collect(),
    }
}

/// Strings that vocabularies are made of: every printable ASCII character, some others, and frequent pieces.
pub fn pieces() -> Vec<String> {
    let single = (0x21..0x7f).chain([0xe4, 0xe9, 0x3c3, 0x3c2, 0x430, 0x5d0, 0x928, 0xe01, 0x1100, 0x1161, 0x3042, 0x4e2d, 0xac00, 0x1f600, 0x301]);
    let single = single.filter_map(char::from_u32).map(String::from);
    let longer = "the he in er an th ing and ed es un ab abc bcd aa aaa aaaa ll ss 12 123 ... -- \u{e9}t \u{4e2d}\u{6587} e\u{301} \u{430}\u{431} ion tion";
    single.chain(longer.split(' ').map(String::from)).collect()
}
