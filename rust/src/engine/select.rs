//! Which engine reads a tokenizer: a fast one where it knows every component exactly, otherwise the general one.

use tokenizers::PostProcessorWrapper;

use super::added::AddedTokens;
use super::bytebpe::ByteBpe;
use super::charbpe::CharBpe;
use super::check::Reference;
use super::definition::Definition;
use super::forbidden::Forbidding;
use super::unigram::Unigram;
use super::wordpiece::WordPiece;
use super::words::{WordEngine, WordModel};
use super::{Engine, GeneralEngine, Piece, Tokens, encode_all};
use crate::config::Specials;

/// Texts on which a fast engine has to agree with the general one before it is used: words, case, numbers, blanks of all kinds,
/// punctuation, accents composed and not, scripts with and without spaces, emoji, controls, and words too long for any vocabulary.
pub const PROBES: [&str; 14] = [
    "",
    "The quick brown fox, it's said, can't jump over 13 lazy dogs (or 1,234.5 of them)! I'LL they've X'D We're",
    "  leading,  double\t\ttabs\n\nline ends \r\n and trailing   ",
    "na\u{ef}ve cafe\u{301} \u{130}stanbul \u{1e69} A\u{30a}ngstr\u{f6}m \u{fb01}ne \u{2460} \u{3a3}\u{39f}\u{3a6}\u{39f}\u{3a3} stra\u{df}e",
    "\u{4e2d}\u{6587}\u{5b57}\u{7b26} mixed\u{65e5}\u{672c}\u{8a9e}\u{30c6}\u{30ad}\u{30b9}\u{30c8}\u{3002}\u{c548}\u{b155}\u{d558}\u{c138}\u{c694} \u{e2a}\u{e27}\u{e31}\u{e2a}\u{e14}\u{e35}",
    "\u{41f}\u{440}\u{438}\u{432}\u{435}\u{442}, \u{43c}\u{438}\u{440}! \u{645}\u{631}\u{62d}\u{628}\u{627} \u{928}\u{92e}\u{938}\u{94d}\u{924}\u{947}",
    "\u{1f600} family \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} flag \u{1f1e9}\u{1f1ea} heart \u{2764}\u{fe0f}",
    "a\u{0}b\u{7f}c\u{ad}d\u{200b}e\u{feff}f\u{fffd}g\u{b}h\u{c}i\u{85}j\u{a0}k\u{2028}l\u{3000}m\u{1680}n",
    "\u{201c}curly\u{201d} don\u{2019}t \u{2014} dash\u{2026} \u{ab}\u{bb} \u{a3}5 \u{20ac}6 \u{b5}m x\u{b2} \u{bd}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa zzzzzzzzzqqqqqqqq",
    "def f(x):\n    return {\"a\": x[0] ** 2, 'b': None}  # comment\n\t\tif a<=b && c!=d || !e: //x",
    "https://example.org/a_b-c?d=e&f=%20#g user@mail.com 2024-01-31T12:34:56Z C++ #1 $5.00 100% <unk> [SEP] </s> <mask>",
    "\u{301}mark first \u{301} alone e\u{301}\u{323}\u{301} \u{a0}\u{301}",
    "UPPER lower MiXeD \u{c9}T\u{c9} \u{e9}t\u{e9} \u{10a0}\u{1c90} 1\u{b2}3 \u{665}\u{666} \u{2160}\u{2161}",
];

/// A tokenizer, ready to read.
pub struct Loaded {
    /// Text to tokens.
    pub engine: Box<dyn Engine>,
    /// What puts special tokens around a text.
    pub post_processor: Option<PostProcessorWrapper>,
    /// Strings that are control tokens where special tokens are parsed.
    special_tokens: Vec<String>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Loaded").field("engine", &self.engine.explain()).finish_non_exhaustive()
    }
}

/// Reads a `tokenizer.json` and picks the engine for it.
///
/// # Errors
/// [`crate::error::Error::Tokenizer`] where the definition cannot be read.
pub fn load(tokenizer_json: &str, specials: Specials) -> crate::error::Result<Loaded> {
    let loaded = load_fast(tokenizer_json, specials).or_else(|reason| load_general(tokenizer_json, specials, reason))?;
    if specials != Specials::Reject {
        return Ok(loaded);
    }
    let engine = Box::new(Forbidding::new(loaded.engine, &loaded.special_tokens)?);
    Ok(Loaded { engine, ..loaded })
}

fn load_fast(tokenizer_json: &str, specials: Specials) -> Result<Loaded, String> {
    let definition = Definition::parse(tokenizer_json)?;
    let engine = fast(&definition, specials)?;
    Ok(Loaded { engine, post_processor: definition.post_processor()?, special_tokens: definition.special_tokens() })
}

fn load_general(tokenizer_json: &str, specials: Specials, reason: String) -> crate::error::Result<Loaded> {
    let engine = GeneralEngine::new(tokenizer_json, specials)?;
    let special_tokens = engine.special_tokens();
    let post_processor = engine.tokenizer().get_post_processor().cloned();
    Ok(Loaded { engine: Box::new(Fallback { engine, reason }), post_processor, special_tokens })
}

/// A fast engine for the definition.
///
/// # Errors
/// Why there is none.
fn fast(definition: &Definition<'_>, specials: Specials) -> Result<Box<dyn Engine>, String> {
    let mut reasons = Vec::new();
    for attempt in [wordpiece, bytebpe, charbpe, unigram] {
        match attempt(definition, specials) {
            Ok(engine) => return Ok(engine),
            Err(reason) => reasons.push(reason),
        }
    }
    Err(reasons.join("; "))
}

fn wordpiece(definition: &Definition<'_>, specials: Specials) -> Result<Box<dyn Engine>, String> {
    let model = WordPiece::new(definition)?;
    definition.refuse_normalized_tokens(specials)?;
    checked(model, definition, specials)
}

fn bytebpe(definition: &Definition<'_>, specials: Specials) -> Result<Box<dyn Engine>, String> {
    checked(ByteBpe::new(definition, &definition.added_tokens(specials)?)?, definition, specials)
}

fn charbpe(definition: &Definition<'_>, specials: Specials) -> Result<Box<dyn Engine>, String> {
    let model = CharBpe::new(definition)?;
    definition.refuse_normalized_tokens(specials)?;
    checked(model, definition, specials)
}

fn unigram(definition: &Definition<'_>, specials: Specials) -> Result<Box<dyn Engine>, String> {
    let model = Unigram::new(definition)?;
    definition.refuse_normalized_tokens(specials)?;
    checked(model, definition, specials)
}

/// An engine for a model, once it has agreed with the general engine on the probes and the ids of added tokens.
fn checked<M: WordModel + 'static>(model: M, definition: &Definition<'_>, specials: Specials) -> Result<Box<dyn Engine>, String> {
    let engine = WordEngine::new(model, AddedTokens::new(definition.added_tokens(specials)?).map_err(|error| error.to_string())?);
    let reference = Reference::new(definition, specials, &PROBES)?;
    if let Some((content, _)) = definition.added_token_ids().find(|&(content, id)| reference.added_token_id(content) != Some(id)) {
        return Err(format!("its added token {content:?} gets another id than the one written there"));
    }
    match PROBES.iter().find(|probe| encode_all(&engine, probe) != reference.tokens(probe)) {
        None => Ok(Box::new(engine)),
        Some(probe) => Err(format!("the fast engine did not agree with the general one on the text {probe:?}")),
    }
}

/// The general engine, with the reason why it was taken.
struct Fallback {
    engine: GeneralEngine,
    /// Why no fast engine reads this tokenizer.
    reason: String,
}

impl Engine for Fallback {
    fn pieces(&self, text: &str) -> Vec<Piece> {
        self.engine.pieces(text)
    }

    fn encode(&self, text: &str, piece: &Piece, tokens: &mut Tokens) -> Result<(), String> {
        self.engine.encode(text, piece, tokens)
    }

    fn reads_past(&self) -> usize {
        self.engine.reads_past()
    }

    fn share(&self, n_threads: usize) {
        self.engine.share(n_threads);
    }

    fn explain(&self) -> String {
        format!("{}\nfast engine: none, because {}", self.engine.explain(), self.reason)
    }
}
