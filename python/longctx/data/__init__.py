"""Documents in from files, results out to files: readers, writers and bounded groups."""

from longctx.data.readers import InputFormat, read_documents
from longctx.data.sources import SourceDocument, grouped
from longctx.data.writers import WriteError, open_writer

__all__ = ["InputFormat", "SourceDocument", "WriteError", "grouped", "open_writer", "read_documents"]
