//! The pre-tokenizer `Metaspace`, which puts a marker in place of blanks and before texts.

use serde::Deserialize;
use serde_json::Value;

/// Stands for a blank in vocabularies.
pub const MARKER: char = '\u{2581}';

/// Where a marker is put before a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prepend {
    /// Before the document.
    First,
    /// Nowhere.
    Never,
    /// Before the document and after each added token.
    #[default]
    Always,
}

/// What counts of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metaspace {
    /// Where there is no blank or marker yet.
    pub prepend: Prepend,
    /// Does every marker start a word?
    pub splits: bool,
}

#[derive(Deserialize)]
struct Fields {
    replacement: char,
    add_prefix_space: Option<bool>,
    #[serde(default)]
    prepend_scheme: Prepend,
    split: Option<bool>,
}

impl Metaspace {
    /// Reads the component.
    ///
    /// # Errors
    /// Where it is another one, or has another marker.
    pub fn read(component: &Value) -> Result<Self, String> {
        let fields = Fields::deserialize(component).map_err(|error| error.to_string())?;
        if fields.replacement != MARKER {
            return Err("its Metaspace has a marker of its own".into());
        }
        let prepend = if fields.add_prefix_space == Some(false) { Prepend::Never } else { fields.prepend_scheme };
        Ok(Self { prepend, splits: fields.split != Some(false) })
    }
}
