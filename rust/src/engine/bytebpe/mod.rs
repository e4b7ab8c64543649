//! The fast engine for byte-level BPE tokenizers: the family of GPT-2, `RoBERTa`, `ModernBERT`, Qwen and Llama 3.

mod definition;
mod merge;
mod nfc;
mod split;

use self::definition::{Parts, Trim, WholeWords};
use self::merge::Merges;
use self::nfc::{Composed, Composition};
use self::split::{Class, Splitter};
use super::Tokens;
use super::added::AddedToken;
use super::definition::Definition;
use super::words::{Edge, Stretch, WINDOW_BYTES, WordModel, Words};

/// A byte-level BPE tokenizer.
#[derive(Debug)]
pub struct ByteBpe {
    splitter: Splitter,
    composition: Option<Composition>,
    merges: Merges,
    /// Words that are tokens whatever the merges say.
    whole_words: WholeWords,
    trim: Option<Trim>,
}

impl ByteBpe {
    /// The tokenizer of a definition, whose added tokens these are: those matched before normalization and those after it.
    ///
    /// # Errors
    /// What in it is not known here exactly.
    pub fn new(definition: &Definition<'_>, added: &[Vec<AddedToken>; 2]) -> Result<Self, String> {
        let Parts { pattern, composes, trim } = Parts::of(definition)?;
        if composes && let Some(token) = added[1].iter().find(|token| !is_left_alone(token)) {
            return Err(format!("its added token {:?} may change by composition", token.content));
        }
        let (merges, whole_words) = definition::model(definition)?;
        Ok(Self { splitter: Splitter::new(pattern)?, composition: composes.then(Composition::new), merges, whole_words, trim })
    }

    /// Appends the tokens of a match; `source` gives the characters of the word that a range of the match's bytes came from.
    fn match_tokens(&self, bytes: &[u8], source: impl Fn(usize, usize) -> (u32, u32), tokens: &mut Tokens) {
        if let Some(&id) = self.whole_words.get(bytes) {
            return tokens.push(id, source(0, bytes.len()));
        }
        let mut last: Option<merge::Part> = None;
        self.merges.each_part(bytes, |part| {
            if let Some(before) = last.replace(part) {
                tokens.push(before.id, source(before.start as usize, part.start as usize));
            }
        });
        if let Some(last) = last {
            tokens.push(last.id, source(last.start as usize, bytes.len()));
        }
    }

    /// Appends the tokens of a word, and takes blanks off their spans; `at_start` is whether the document starts with it.
    fn word_tokens(&self, word: &str, at_start: bool, tokens: &mut Tokens) {
        let trimmed = |bytes: &[u8], (start, end): (u32, u32)| match &self.trim {
            Some(trim) => trim.span(bytes, at_start && start == 0, (start, end)),
            None => (start, end),
        };
        let moves = self.composition.as_ref().is_some_and(|composition| composition.first_moving(word).is_some());
        if !moves {
            let bytes = word.as_bytes();
            let span = |start, end| whole_characters(word, start, end);
            return self.match_tokens(bytes, |start, end| trimmed(&bytes[start..end], span(start, end)), tokens);
        }
        let composed = Composed::new(word);
        let (text, mut at) = (composed.text(), 0);
        while at < text.len() {
            let end = self.splitter.match_end(text, at);
            let bytes = &text.as_bytes()[at..end];
            let source = |from, to| trimmed(&bytes[from..to], composed.source(at + from, at + to));
            self.match_tokens(bytes, source, tokens);
            at = end;
        }
    }

    /// The word around a match with a character in it that composition may change: takes back the words before it up to a border, and
    /// ends at the next. `from` is where the match begins, `moving` where that character stands.
    fn moving_word(&self, composition: &Composition, text: &str, from: usize, moving: usize, words: &mut Words) -> usize {
        let mut start = from;
        while !composition.is_border(&self.splitter, text, start)
            && let Some((before, _)) = words.spans.pop()
        {
            start = before as usize;
        }
        let end = composition.next_border(&self.splitter, text, moving);
        words.spans.push((start as u32, end as u32));
        end
    }

    fn split_composing(&self, composition: &Composition, text: &str, from: usize, words: &mut Words) -> usize {
        let mut at = from;
        while at < text.len() {
            // Only at a border: from nowhere else can what follows not reach back.
            if at >= from + WINDOW_BYTES && composition.is_border(&self.splitter, text, at) {
                return at;
            }
            let end = self.splitter.match_end(text, at);
            if let Some(moving) = composition.first_moving(&text[at..end]) {
                at = self.moving_word(composition, text, at, at + moving, words);
            } else {
                words.spans.push((at as u32, end as u32));
                at = end;
            }
        }
        at
    }
}

/// The characters that a range of bytes, not empty, touches.
fn whole_characters(word: &str, mut start: usize, mut end: usize) -> (u32, u32) {
    while !word.is_char_boundary(start) {
        start -= 1;
    }
    while !word.is_char_boundary(end) {
        end += 1;
    }
    (start as u32, end as u32)
}

/// Is an added token found in composed text wherever it stands in the text itself? Its characters are ASCII, none of them is what another
/// character composes to, and its last does not compose with a mark.
fn is_left_alone(token: &AddedToken) -> bool {
    let composes = |byte: &u8| byte.is_ascii_alphabetic() || matches!(byte, b'<' | b'=' | b'>');
    token.content.is_ascii()
        && !token.single_word
        && !token.content.contains(['K', '`', ';'])
        && !token.content.as_bytes().last().is_some_and(composes)
}

impl WordModel for ByteBpe {
    fn split(&self, stretch: &Stretch<'_>, from: usize, words: &mut Words) -> usize {
        let (text, mut at) = (stretch.text, from);
        if let Some(composition) = &self.composition {
            return self.split_composing(composition, text, from, words);
        }
        while at < text.len() && at < from + WINDOW_BYTES {
            let end = self.splitter.match_end(text, at);
            words.spans.push((at as u32, end as u32));
            at = end;
        }
        at
    }

    fn tokenize(&self, word: &str, tokens: &mut Tokens) {
        self.word_tokens(word, false, tokens);
    }

    fn reads_first_apart(&self, before: Edge) -> bool {
        before == Edge::Document && self.trim.is_some_and(|trim| trim.keeps_first_blank)
    }

    fn tokenize_first(&self, word: &str, before: Edge, tokens: &mut Tokens) {
        self.word_tokens(word, before == Edge::Document, tokens);
    }

    fn added_span(&self, content: &str, start: u32) -> (u32, u32) {
        let span = (start, start + content.len() as u32);
        self.trim.map_or(span, |trim| trim.added_span(content, span))
    }

    fn is_cut(&self, text: &str, at: usize) -> bool {
        if let Some(composition) = &self.composition {
            return composition.is_border(&self.splitter, text, at);
        }
        let is_letter = |character: Option<char>| character.is_some_and(|character| self.splitter.class(character) == Class::Letter);
        is_letter(text[..at].chars().next_back()) && !is_letter(text[at..].chars().next())
    }

    fn explain(&self) -> String {
        "engine: bytebpe (byte-level BPE; words by the classes of the regex engine, merges in a flat table)\n\
         reading: long documents are read in parts, cut where a run of letters ends"
            .into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::config::Specials;
    use crate::engine::{Engine, GeneralEngine, encode_all, load};

    /// A tokenizer of all bytes and a few merges.
    fn tokenizer(normalizer: &Value, pre_tokenizer: &Value, post_processor: &Value, ignore_merges: bool) -> String {
        let mut vocab: serde_json::Map<String, Value> =
            super::definition::byte_symbols().map(|(byte, symbol)| (symbol.to_string(), json!(byte))).collect();
        let merges = ["h e", "t he", "Ġ the", "Ġ a", "e r", "Ġ Ġ", "ĠĠ ĠĠ", "Ċ Ċ", "Ã ©", "Ġ Ã", "1 2", "' s", "a a", "aa aa", "Ì ģ"];
        for merge in merges {
            let id = vocab.len();
            vocab.insert(merge.replace(' ', ""), json!(id));
        }
        vocab.insert("Ġwhole".into(), json!(vocab.len()));
        let added = |id: usize, content: &str, normalized: bool, special: bool| json!({"id": id, "content": content, "single_word": false, "lstrip": special, "rstrip": false, "normalized": normalized, "special": special});
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
        let plain = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        let split = |regex: &str| {
            let split = json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
            json!({"type": "Sequence", "pretokenizers": [split, plain]})
        };
        let patterns = crate::engine::cuts::WORD_PATTERNS;
        let trimming = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true});
        for (normalizer, post_processor) in
            [(Value::Null, Value::Null), (json!({"type": "NFC"}), trimming.clone()), (Value::Null, trimming)]
        {
            for pre_tokenizer in [gpt2.clone(), split(patterns[0]), split(patterns[1]), split(patterns[2])] {
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

    #[test]
    fn what_is_not_known_is_refused() {
        let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true});
        let prefixed = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true});
        for (normalizer, pre_tokenizer, post_processor) in [
            (json!({"type": "NFKC"}), &byte_level, Value::Null),
            (Value::Null, &prefixed, Value::Null),
            (Value::Null, &byte_level, json!({"type": "ByteLevel"})),
            (Value::Null, &Value::Null, Value::Null),
        ] {
            let definition = tokenizer(&normalizer, pre_tokenizer, &post_processor, false);
            assert!(fast(&definition, Specials::Text).is_none(), "{definition}");
        }
    }
}
