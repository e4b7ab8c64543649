//! Everything that can go wrong, as one enum. A message says what was given, what is allowed and what to do.

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the core. The binding maps each variant to one Python exception.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An option is out of range, alone or together with others.
    #[error("{0}")]
    Config(String),
    /// The tokenizer definition cannot be read, or describes something longctx cannot use.
    #[error("{0}")]
    Tokenizer(String),
    /// One document cannot be read.
    #[error("document {index}: {message}")]
    Document {
        /// Position of the document in the call.
        index: usize,
        /// What is wrong with it and what to do.
        message: String,
    },
}

impl Error {
    /// Says which document a problem belongs to.
    pub fn document(index: usize, message: impl Into<String>) -> Self {
        Self::Document { index, message: message.into() }
    }

    /// The same error, about a document `offset` places further on.
    #[must_use]
    pub fn shifted(self, offset: usize) -> Self {
        match self {
            Self::Document { index, message } => Self::Document { index: index + offset, message },
            other => other,
        }
    }
}
