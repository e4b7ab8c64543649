"""Every exception longctx raises on purpose, each also the built-in that Python users would catch; and how to quote the others."""

from __future__ import annotations


class LongctxError(Exception):
    """Base of all longctx errors."""


class ConfigError(LongctxError, ValueError):
    """An option has a value that is not allowed, alone or together with the others."""


class DocumentError(LongctxError, ValueError):
    """A document cannot be read. ``document_index`` says which one, where it is known."""

    def __init__(self, message: str, document_index: int | None = None) -> None:
        super().__init__(message)
        self.document_index = document_index


class DocumentTypeError(LongctxError, TypeError):
    """Something that is not text was given as a document."""


class TokenizerError(LongctxError, ValueError):
    """A tokenizer cannot be loaded or used."""


class ModelError(LongctxError, ValueError):
    """A model was loaded, but cannot do what is asked of it, or gave an unusable result."""


class ModelLoadError(LongctxError, OSError):
    """A checkpoint cannot be found or read."""


class ReadError(LongctxError, OSError):
    """A file or folder of documents cannot be read."""


class MissingDependencyError(LongctxError, ImportError):
    """An optional package is needed and not installed; the message says which extra brings it."""


def one_line(error: BaseException, most_chars: int = 300) -> str:
    """Write another library's error for use in a message of ours: its first line, printable, not too long."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in lines[0][:most_chars])
