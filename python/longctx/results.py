"""What a classifier hands back: a decision per document with its evidence and its coverage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from longctx.coverage import Coverage

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from longctx.run_stats import RunStats

Problem = Literal["single_label", "multi_label", "regression"]
"""What is decided: one class of several, any number of labels, or one or several values."""
Label = str | float | list[str] | list[float]
"""A name; for multi-label problems the list of names; for regression the value (a list where there are several)."""


@dataclass(frozen=True, slots=True)
class ChunkEvidence:
    """One chunk and what it said.

    Attributes:
        char_span: half-open span in the document's characters: ``document[start:end] == text``.
        token_span: half-open span in the document's tokens, special tokens not counted.
        text: the passage.
        score: this chunk's own probability of the predicted label (its own value for regression). With
            ``explain=True``: how much the document's probability of that label drops without this chunk, which is
            negative where the chunk spoke against the label.
        weight: this chunk's share in the document's result; the weights of a document sum to 1.
    """

    char_span: tuple[int, int]
    token_span: tuple[int, int]
    text: str
    score: float
    weight: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The decision for one document.

    Attributes:
        label: the most probable label; the list of labels with probability 0.5 or more for multi-label problems
            (it may be empty); the value for regression.
        score: probability of ``label`` (of the most probable label for multi-label problems); the value for
            regression.
        probabilities: ``{label: probability}`` in the model's order; empty for regression.
        coverage: what was read of the document and what was not.
        chunks: the chunks that were read, in document order.
    """

    label: Label
    score: float
    probabilities: dict[str, float]
    coverage: Coverage
    chunks: tuple[ChunkEvidence, ...]

    @property
    def decisive(self) -> ChunkEvidence:
        """The chunk that speaks most for the result, by ``weight * score``: the passage to read first."""
        sign = -1.0 if self.score < 0 else 1.0  # a regression's value may be negative; a probability is not
        return max(self.chunks, key=lambda chunk: sign * chunk.weight * chunk.score)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain Python values, ready for ``json.dumps``."""
        return asdict(self)

    def __repr__(self) -> str:
        read = f"{self.coverage.tokens_read:,} of {self.coverage.tokens:,} tokens read"
        return f"Prediction({self.label!r}, score={self.score:.3f}, {len(self.chunks)} chunks, {read})"


class Predictions(Sequence[Prediction]):
    """The predictions of one call, in the order of its documents; a slice is ``Predictions`` again.

    Attributes:
        run: what the call did and where its time went; None for predictions put together otherwise, and for slices.
    """

    def __init__(self, predictions: Sequence[Prediction], *, run: RunStats | None = None) -> None:
        self._predictions = tuple(predictions)
        self.run = run

    def __len__(self) -> int:
        return len(self._predictions)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> Predictions: ...
    def __getitem__(self, index: int | slice) -> Prediction | Predictions:
        if isinstance(index, slice):
            return Predictions(self._predictions[index])
        return self._predictions[index]

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self._predictions)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Predictions) and self._predictions == other._predictions

    __hash__ = None  # type: ignore[assignment]  # equal by content, like a list

    def __repr__(self) -> str:
        tokens = sum(p.coverage.tokens for p in self)
        read = sum(p.coverage.tokens_read for p in self)
        return f"Predictions({len(self)} documents; {_label_summary(self)}; {read:,} of {tokens:,} tokens read)"

    def _repr_html_(self) -> str:
        from longctx.explain.report import notebook_html

        return notebook_html(self)

    def to_html(self, path: str | Path | None = None) -> str:
        """Build a self-contained page (no scripts, nothing loaded from elsewhere), also written to ``path`` when given."""
        from longctx.explain.report import page_html

        page = page_html(self)
        if path is not None:
            Path(path).write_text(page, encoding="utf-8")
        return page

    def to_pandas(self) -> pd.DataFrame:
        """One row per document: label, score, ``probability:<label>`` columns, coverage, and the decisive passage."""
        import pandas as pd

        return pd.DataFrame([_flat(prediction) for prediction in self])

    def to_arrow(self) -> pa.Table:
        """One row per document: label, score, probabilities (a map), coverage (a struct), chunks (a list of structs)."""
        import pyarrow as pa

        return pa.Table.from_pylist([_arrow_row(prediction) for prediction in self], schema=_arrow_schema(self))


def _label_summary(predictions: Predictions) -> str:
    names = [str(p.label) for p in predictions if not isinstance(p.label, float)]
    common = ", ".join(f"{name}: {count}" for name, count in Counter(names).most_common(3))
    more = len(set(names)) - 3
    return (common + (f", and {more} more labels" if more > 0 else "")) or "values"


def _flat(prediction: Prediction) -> dict[str, Any]:
    row: dict[str, Any] = {"label": prediction.label, "score": prediction.score}
    row |= {f"probability:{name}": value for name, value in prediction.probabilities.items()}
    row |= asdict(prediction.coverage)
    decisive = prediction.decisive
    return row | {
        "decisive_start": decisive.char_span[0],
        "decisive_end": decisive.char_span[1],
        "decisive_text": decisive.text,
    }


def _arrow_row(prediction: Prediction) -> dict[str, Any]:
    return {
        "label": prediction.label,
        "score": prediction.score,
        "probabilities": list(prediction.probabilities.items()),
        "coverage": asdict(prediction.coverage),
        "chunks": [_arrow_chunk(chunk) for chunk in prediction.chunks],
    }


def _arrow_chunk(chunk: ChunkEvidence) -> dict[str, Any]:
    return {
        "char_start": chunk.char_span[0],
        "char_end": chunk.char_span[1],
        "token_start": chunk.token_span[0],
        "token_end": chunk.token_span[1],
        "text": chunk.text,
        "score": chunk.score,
        "weight": chunk.weight,
    }


def _arrow_schema(predictions: Predictions) -> pa.Schema:
    import pyarrow as pa

    spans = [(name, pa.int64()) for name in ("char_start", "char_end", "token_start", "token_end")]
    chunk = pa.struct([*spans, ("text", pa.string()), ("score", pa.float64()), ("weight", pa.float64())])
    counts = [(name, pa.int64()) for name in ("tokens", "tokens_read", "chunks", "chunks_read")]
    return pa.schema(
        [
            ("label", _arrow_label_type(predictions)),
            ("score", pa.float64()),
            ("probabilities", pa.map_(pa.string(), pa.float64())),
            ("coverage", pa.struct([*counts, ("reason", pa.string())])),
            ("chunks", pa.list_(chunk)),
        ]
    )


def _arrow_label_type(predictions: Predictions) -> pa.DataType:
    import pyarrow as pa

    first = predictions[0].label if len(predictions) else ""
    if isinstance(first, list):
        is_regression = not predictions[0].probabilities
        return pa.list_(pa.float64() if is_regression else pa.string())
    return pa.float64() if isinstance(first, float) else pa.string()
