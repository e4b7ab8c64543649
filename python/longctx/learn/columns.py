"""Two columns, texts and labels, out of whatever holds them; as they are there, with a place for each row."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from longctx.data.readers import read_documents
from longctx.errors import ConfigError, DocumentTypeError, one_line

_ALLOWED = (
    "give paths of .jsonl, .jsonl.gz, .csv, .tsv or .parquet files, a datasets.Dataset, a pandas, polars or Arrow table, "
    "a list of (text, label) pairs, a list of dicts, or a dict of columns"
)
_MOST_NAMES_SHOWN = 50


def read_columns(source: Any, text: str, label: str, name: str) -> tuple[list[Any], list[Any], list[str]]:
    """Give the values of both columns as they are, and a place for each."""
    paths = _paths(source)
    if paths is not None:
        return _read_files(paths, text, label)
    if _is_row_by_row(source):
        rows = [_row(row, f"{name}[{index}]", text, label) for index, row in enumerate(source)]
        texts, labels = [row[0] for row in rows], [row[1] for row in rows]
    else:
        texts, labels = _read_columns(source, text, label, name)
    names = _class_names(source, label)
    if names is not None:
        labels = [_class_name(value, names) for value in labels]
    return texts, labels, [f"{name}[{index}]" for index in range(len(texts))]


def _paths(source: Any) -> list[str | os.PathLike[str]] | None:
    if isinstance(source, str | os.PathLike):
        return [source]
    is_several = isinstance(source, list | tuple) and len(source) > 0 and all(isinstance(item, str | os.PathLike) for item in source)
    return list(source) if is_several else None


def _is_row_by_row(source: Any) -> bool:
    """Whether it gives records one after the other, as lists, generators and ``datasets.IterableDataset`` do."""
    has_columns = isinstance(source, Mapping) or hasattr(source, "__arrow_c_stream__") or hasattr(source, "column_names")
    is_streamed = hasattr(source, "column_names") and not hasattr(source, "__getitem__")
    if has_columns and not is_streamed:
        return False
    if not isinstance(source, Iterable) or isinstance(source, bytes):
        raise ConfigError(f"{type(source).__name__} holds no labelled documents; {_ALLOWED}.")
    return True


def _read_files(paths: Sequence[str | os.PathLike[str]], text: str, label: str) -> tuple[list[Any], list[Any], list[str]]:
    documents = list(read_documents(paths, text=text, label=label))
    labels = [document.label for document in documents]
    if all(Path(document.source).suffix.lower() in {".csv", ".tsv"} for document in documents):
        labels = _typed(labels)
    return [document.text for document in documents], labels, [f"{document.source} row {document.row}" for document in documents]


def _typed(cells: list[str]) -> list[Any]:
    """Cells as numbers where all are, and one has a fraction; as they are otherwise."""
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        return list(cells)
    return list(numbers) if any(math.isfinite(number) and not number.is_integer() for number in numbers) else list(cells)


def _row(row: Any, place: str, text: str, label: str) -> tuple[Any, Any]:
    if isinstance(row, Mapping):
        for column in (text, label):
            _check_column(column, list(row), place)
        return row[text], row[label]
    if isinstance(row, list | tuple) and len(row) == 2:  # noqa: PLR2004 - a pair
        return row[0], row[1]
    raise DocumentTypeError(f"{place}: a {type(row).__name__} where a (text, label) pair or a dict is needed.")


def _read_columns(source: Any, text: str, label: str, name: str) -> tuple[list[Any], list[Any]]:
    names, column = _table(source, name)
    for wanted in (text, label):
        _check_column(wanted, names, name)
    texts, labels = _values(column(text), text, name), _values(column(label), label, name)
    if len(texts) != len(labels):
        raise ConfigError(f"{name}: column {text!r} has {len(texts)} values and column {label!r} has {len(labels)}; give one label a text.")
    return texts, labels


def _table(source: Any, name: str) -> tuple[list[Any], Callable[[str], Any]]:
    """Names of the columns, and what gives one of them."""
    if isinstance(source, Mapping):
        splits = [str(key) for key, value in source.items() if hasattr(value, "column_names")]
        if splits:
            raise ConfigError(f"{name} is a dict of data sets ({', '.join(splits)}); give one of them, like dataset[{splits[0]!r}].")
        return list(source), source.__getitem__
    if hasattr(source, "iloc") and hasattr(source, "columns"):  # pandas: a column that Arrow cannot hold must not stop the others
        return list(source.columns), source.__getitem__
    if hasattr(source, "__arrow_c_stream__"):
        table = _arrow_table(source, name)
        return table.column_names, table.column
    return list(source.column_names), source.__getitem__


def _arrow_table(source: Any, name: str) -> Any:
    import pyarrow as pa

    try:
        return pa.table(source)
    except (pa.ArrowException, TypeError, ValueError) as error:
        problem = f"this {type(source).__name__} is no table ({one_line(error)})"
        raise ConfigError(f"{name}: {problem}; {_ALLOWED}.") from error


def _check_column(wanted: str, names: list[Any], place: str) -> None:
    if names.count(wanted) == 1:
        return
    problem = f"{names.count(wanted)} columns are called {wanted!r}" if wanted in names else f"no column {wanted!r}"
    known = ", ".join(repr(column) for column in names[:_MOST_NAMES_SHOWN]) or "none"
    raise ConfigError(f"{place}: {problem}; available columns: {known}. Name others with text= and label=.")


def _values(column: Any, wanted: str, name: str) -> list[Any]:
    if isinstance(column, str | bytes) or not isinstance(column, Iterable):
        raise ConfigError(f"{name}: column {wanted!r} is a {type(column).__name__}, where a list of values is needed.")
    if not hasattr(column, "__arrow_c_stream__"):
        return list(column)
    import pyarrow as pa

    try:
        values: list[Any] = pa.chunked_array(column).to_pylist()
    except (pa.ArrowException, TypeError, ValueError):  # values of several types, which Python holds and the checks will name
        values = list(column)
    return values


def _class_names(source: Any, label: str) -> list[str] | None:
    """Names of a ``ClassLabel``, alone or in lists, of a ``datasets.Dataset``; None where numbers have no names."""
    features = getattr(source, "features", None)
    feature = features.get(label) if isinstance(features, Mapping) else None
    names = getattr(getattr(feature, "feature", feature), "names", None)
    return None if names is None else list(names)


def _class_name(value: Any, names: list[str]) -> Any:
    """Name of a class by its number. Data sets write -1 where a label is not told."""
    number = plain(value)
    if isinstance(number, list):
        return [_class_name(item, names) for item in number]
    return names[number] if isinstance(number, int) and 0 <= number < len(names) else None


def plain(value: Any) -> Any:
    """Give the Python value of a scalar or array of NumPy, torch or Arrow; tuples and sets as lists."""
    for method in ("as_py", "tolist"):
        if hasattr(value, method):
            return getattr(value, method)()
    return [plain(item) for item in value] if isinstance(value, list | tuple | set | frozenset) else value
