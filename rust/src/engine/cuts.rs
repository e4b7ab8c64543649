//! Where a text may be cut so that its parts tokenize as the whole would.
//!
//! The only cut used is between an ASCII letter and a single space that another ASCII letter follows. It is safe when no component of
//! the tokenizer sees across it, and that is decided from the definition, component by component: what is not listed here is taken to
//! see across. Each part is read with the word before it as context, so that whatever a tokenizer does at the start of a text
//! (a prefix space, a marker) falls on tokens that are thrown away.

use serde_json::Value;

use super::Piece;

/// Parts are about this long: large enough that per-part cost vanishes, small enough that a part's working memory stays in cache.
const PIECE_BYTES: usize = 64 * 1024;

/// Regular expressions of published tokenizers, read one by one: each ends a match before the space of a cut and starts the next with it.
pub const WORD_PATTERNS: [&str; 3] = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];

/// Why this tokenizer cannot be cut, or nothing where it can.
pub fn obstacle(definition: &Value) -> Option<String> {
    let normalizer = &definition["normalizer"];
    if !each(normalizer, "normalizers", &normalizer_is_local) {
        return Some(format!("its normalizer {} may see across a cut", kinds(normalizer, "normalizers")));
    }
    if definition["added_tokens"].as_array().into_iter().flatten().any(added_token_spans_a_cut) {
        return Some("one of its added tokens may reach across a cut".into());
    }
    let pre_tokenizer = &definition["pre_tokenizer"];
    if any(pre_tokenizer, "pretokenizers", &splits_at_words) || merges_stay_in_words(definition) {
        return None;
    }
    Some(format!("its pre-tokenizer {} may not end a word at a space", kinds(pre_tokenizer, "pretokenizers")))
}

/// Cuts `text` into parts of about [`PIECE_BYTES`].
pub fn pieces(text: &str) -> Vec<Piece> {
    let bytes = text.as_bytes();
    let (mut pieces, mut context_start, mut start) = (Vec::new(), 0, 0);
    while let Some((context, cut)) = next_cut(bytes, start + PIECE_BYTES) {
        pieces.push(Piece { context_start, own: start..cut });
        (context_start, start) = (context, cut);
    }
    pieces.push(Piece { context_start, own: start..bytes.len() });
    pieces
}

/// The first place at or after `from` where two cuts follow each other with nothing but a word between: the start of that word, and
/// the cut after it.
fn next_cut(bytes: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut cuts = (from.max(1)..bytes.len().saturating_sub(1)).filter(|&at| is_cut(bytes, at));
    let first = cuts.next()?;
    let second = cuts.next()?;
    Some((first + 1, second))
}

fn is_cut(bytes: &[u8], at: usize) -> bool {
    bytes[at] == b' ' && bytes[at - 1].is_ascii_alphabetic() && bytes[at + 1].is_ascii_alphabetic()
}

/// Does `check` hold for the component, or for all members of a sequence of them?
fn each(component: &Value, members: &str, check: &dyn Fn(&Value) -> bool) -> bool {
    match component["type"].as_str() {
        Some("Sequence") => component[members].as_array().is_some_and(|all| all.iter().all(|c| each(c, members, check))),
        Some(_) => check(component),
        None => component.is_null(),
    }
}

/// Does `check` hold for the component, or for one member of a sequence whose other members only split further?
fn any(component: &Value, members: &str, check: &dyn Fn(&Value) -> bool) -> bool {
    match component["type"].as_str() {
        Some("Sequence") => {
            component[members].as_array().is_some_and(|all| all.iter().any(|c| any(c, members, check)) && all.iter().all(is_known_splitter))
        }
        Some(_) => check(component),
        None => false,
    }
}

/// Normalizers that treat a letter, a space and a letter each by itself.
fn normalizer_is_local(normalizer: &Value) -> bool {
    match normalizer["type"].as_str() {
        Some("Replace") => normalizer["pattern"]["String"] == " " || normalizer["pattern"]["Regex"] == " {2,}",
        Some(kind) => matches!(
            kind,
            "BertNormalizer" | "Lowercase" | "NFC" | "NFD" | "NFKC" | "NFKD" | "Nmt" | "Precompiled" | "Prepend" | "Strip" | "StripAccents"
        ),
        None => false,
    }
}

/// Pre-tokenizers that end a word at every cut.
fn splits_at_words(pre_tokenizer: &Value) -> bool {
    match pre_tokenizer["type"].as_str() {
        Some("BertPreTokenizer" | "Whitespace" | "WhitespaceSplit") => true,
        Some("ByteLevel") => pre_tokenizer["use_regex"].as_bool().unwrap_or(true),
        Some("Metaspace") => pre_tokenizer["split"].as_bool().unwrap_or(true),
        Some("Split") => {
            pre_tokenizer["behavior"] == "Isolated"
                && pre_tokenizer["invert"] != true
                && pre_tokenizer["pattern"]["Regex"].as_str().is_some_and(|regex| WORD_PATTERNS.contains(&regex))
        }
        _ => false,
    }
}

/// Pre-tokenizers that, before or after one that splits at words, leave its cuts alone.
fn is_known_splitter(pre_tokenizer: &Value) -> bool {
    splits_at_words(pre_tokenizer) || matches!(pre_tokenizer["type"].as_str(), Some("ByteLevel" | "Digits" | "Punctuation"))
}

/// `SentencePiece` BPE without a pre-tokenizer: the whole text is one word, but a merge makes a vocabulary entry, and where no entry has
/// a marker after another character, no merge crosses the space that the marker stands for.
fn merges_stay_in_words(definition: &Value) -> bool {
    let (model, marker) = (&definition["model"], '\u{2581}');
    let normalizer = &definition["normalizer"];
    let marks_spaces = any_member(normalizer, |n| n["pattern"]["String"] == " " && n["content"] == "\u{2581}");
    let Some(vocab) = model["vocab"].as_object() else { return false };
    let crosses = |entry: &str| entry.trim_start_matches(marker).contains(marker);
    let knows_letters = ('a'..='z').chain('A'..='Z').chain([marker]).all(|c| vocab.contains_key(c.encode_utf8(&mut [0; 4]) as &str));
    definition["pre_tokenizer"].is_null()
        && marks_spaces
        && model["dropout"].as_f64().unwrap_or(0.0) == 0.0
        && ["continuing_subword_prefix", "end_of_word_suffix"].iter().all(|key| model[*key].as_str().unwrap_or("").is_empty())
        && knows_letters
        && !vocab.keys().any(|entry| crosses(entry))
}

fn any_member(normalizer: &Value, check: impl Fn(&Value) -> bool) -> bool {
    match normalizer["normalizers"].as_array() {
        Some(members) => members.iter().any(check),
        None => check(normalizer),
    }
}

/// Could a match of this token, or the blanks it takes with it, touch both sides of a cut?
fn added_token_spans_a_cut(token: &Value) -> bool {
    let content = token["content"].as_str().unwrap_or(" ").as_bytes();
    let has_space_beside_letter = content.windows(2).any(|pair| match pair {
        [b' ', other] | [other, b' '] => other.is_ascii_alphabetic(),
        _ => false,
    });
    let takes_space_after_letter = token["rstrip"] == true && content.last().is_some_and(u8::is_ascii_alphabetic);
    content == b" " || has_space_beside_letter || takes_space_after_letter
}

/// The types of a component and its members, for a message.
fn kinds(component: &Value, members: &str) -> String {
    match component[members].as_array() {
        Some(all) => all.iter().map(|member| kinds(member, members)).collect::<Vec<_>>().join("+"),
        None => component["type"].as_str().unwrap_or("(none)").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parts_tile_the_text_and_start_with_a_space() {
        let text = "some words, 中文 and a 1 2 3 number ".repeat(20_000);
        let pieces = pieces(&text);
        assert!(pieces.len() > 5);
        assert_eq!(pieces.iter().map(|p| &text[p.own.clone()]).collect::<String>(), text);
        for piece in &pieces[1..] {
            assert!(text[piece.own.clone()].starts_with(' '));
            assert!(text[piece.context_start..piece.own.start].bytes().all(|b| b != b' ') || text[..piece.own.start].len() > 1);
        }
    }

    #[test]
    fn a_text_without_cuts_is_one_part() {
        assert_eq!(pieces(&"中文".repeat(100_000)).len(), 1);
        assert_eq!(pieces("").len(), 1);
    }

    #[test]
    fn unknown_components_forbid_cuts() {
        let bert = json!({"normalizer": {"type": "BertNormalizer"}, "pre_tokenizer": {"type": "BertPreTokenizer"}, "added_tokens": []});
        assert_eq!(obstacle(&bert), None);
        for (key, value) in [
            ("normalizer", json!({"type": "Replace", "pattern": {"Regex": "a b"}, "content": ""})),
            ("pre_tokenizer", json!({"type": "Split", "pattern": {"Regex": "x"}, "behavior": "Isolated"})),
            ("added_tokens", json!([{"content": "New York"}])),
            ("added_tokens", json!([{"content": "end", "rstrip": true}])),
        ] {
            let mut changed = bert.clone();
            changed[key] = value;
            assert!(obstacle(&changed).is_some(), "{changed}");
        }
    }
}
