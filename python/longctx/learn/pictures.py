"""Pictures of a report as PNG: who is taken for whom, what probabilities are worth, and how length matters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from longctx.learn.extras import train_extra

if TYPE_CHECKING:
    from longctx.learn.metrics import Calibration
    from longctx.learn.slices import Slice

_BLUE, _GREY = "#2f6fb5", "#999999"
_DPI = 120
_MOST_NUMBERED_LABELS = 15  # more cells have no room for their count
_DARK_SHARE = 0.5  # on a darker cell, black cannot be read
_SHOWN_CHARS = 24


def confusion_picture(confusion: NDArray[np.int64], labels: Sequence[str]) -> bytes:
    """Draw a table of counts, int64 ``(n_labels, n_labels)`` (truth, decision), each row shaded by its shares."""
    n_labels = len(labels)
    side = 2.2 + 0.32 * n_labels
    figure = _figure(side + 0.6, side)
    axes = figure.add_subplot()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [_tick(i, label) for i, label in enumerate(labels)]
    axes.set_xticks(range(n_labels), names, rotation=90, parse_math=False)
    axes.set_yticks(range(n_labels), names, parse_math=False)
    axes.set(xlabel="decision", ylabel="truth")
    if n_labels <= _MOST_NUMBERED_LABELS:
        for (row, column), count in np.ndenumerate(confusion):
            colour = "white" if shares[row, column] > _DARK_SHARE else "black"
            axes.text(column, row, f"{count}", ha="center", va="center", fontsize=8, color=colour)
    return _png(figure)


def reliability_picture(calibration: Calibration) -> bytes:
    """Draw accuracy over confidence; on the diagonal, probabilities mean what they say. Points are as large as their bins are full."""
    figure = _figure(4.2, 4)
    axes = figure.add_subplot()
    counts = np.array([part.count for part in calibration.bins])
    confidence, accuracy = ([getattr(part, name) for part in calibration.bins] for name in ("confidence", "accuracy"))
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1)
    axes.plot(confidence, accuracy, color=_BLUE, linewidth=1)
    axes.scatter(confidence, accuracy, s=10 + 140 * counts / counts.max(), color=_BLUE)
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    return _png(figure)


def slices_picture(slices: Sequence[Slice]) -> bytes:
    """Draw the first metric of each slice as a bar with its value and its number of documents."""
    metric = next(iter(slices[0].metrics))
    values = [part.metrics[metric] for part in slices]
    figure = _figure(6, 1 + 0.4 * len(slices))
    axes = figure.add_subplot()
    bars = axes.barh([part.name for part in slices], values, color=_BLUE)
    axes.bar_label(bars, [f"{part.metrics[metric]:.3f} ({part.n_documents:,})" for part in slices], padding=3)
    axes.invert_yaxis()
    axes.set(xlabel=f"{metric} (documents)", xlim=(0, 1.3 * max(*values, 1e-9)))
    return _png(figure)


def _figure(width_inches: float, height_inches: float) -> Any:
    """Give a figure of its own: nothing of what the user draws with pyplot is touched."""
    with train_extra():
        from matplotlib.figure import Figure
    return Figure(figsize=(width_inches, height_inches), dpi=_DPI, layout="constrained", facecolor="white")


def _png(figure: Any) -> bytes:
    file = BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _tick(index: int, label: str) -> str:
    """Shorten a name; a class that the font cannot write is shown by its number."""
    name = " ".join(label.split())
    if any(ord(character) not in _drawn_characters() for character in name):
        return f"class {index}"
    return name if len(name) <= _SHOWN_CHARS else f"{name[: _SHOWN_CHARS - 3]}..."


@cache
def _drawn_characters() -> frozenset[int]:
    with train_extra():
        from matplotlib.font_manager import FontProperties, findfont, get_font
    return frozenset(get_font(findfont(FontProperties())).get_charmap())
