"""Self-contained HTML: the decision, the probabilities, what was read, and the passages that counted."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from longctx.coverage import Coverage
    from longctx.results import ChunkEvidence, Prediction, Predictions

NOTEBOOK_DOCUMENTS = 10
"""A notebook cell shows this many documents; ``to_html`` shows all."""
SHOWN_LABELS = 10
"""A document's most probable labels that are drawn as bars."""
QUOTE_CHARS = 300
"""A deciding passage is quoted up to here above the text."""

STYLE = """
.lc{font:14px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;max-width:60rem;margin:0 auto;padding:.5rem}
.lc details{border:1px solid #ccc;border-radius:6px;margin:.5rem 0;padding:.4rem .8rem}
.lc summary{cursor:pointer}
.lc .bar{display:inline-block;height:.7em;background:#2f6fb5;vertical-align:middle;margin-right:.5em}
.lc table{border-collapse:collapse;margin:.5rem 0}.lc td,.lc th{padding:.1rem .7rem .1rem 0;vertical-align:middle;text-align:left}
.lc figure{margin:1rem 0}.lc img{max-width:100%}
.lc .text{white-space:pre-wrap;overflow-wrap:anywhere;border-top:1px solid #ddd;padding-top:.5rem}
.lc .unread{background:#eee;color:#555;font-style:italic;display:block;padding:.1rem .4rem;border-left:4px solid #b00}
.lc .warn{color:#b00;font-weight:600}
.lc mark{color:inherit;border-radius:3px;padding:.05em 0}
"""


def page_html(predictions: Predictions) -> str:
    """Build a whole page with every document."""
    return page(_body(predictions, n_shown=len(predictions)), title="longctx report")


def notebook_html(predictions: Predictions) -> str:
    """Show the first documents, for a notebook cell."""
    return _body(predictions, n_shown=NOTEBOOK_DOCUMENTS)


def _body(predictions: Predictions, *, n_shown: int) -> str:
    documents = "".join(_document(i, predictions[i]) for i in range(min(n_shown, len(predictions))))
    n_hidden = len(predictions) - n_shown
    more = f"<p>{n_hidden:,} more documents: use to_html().</p>" if n_hidden > 0 else ""
    return styled(f"<p>{escape(repr(predictions))}</p>{documents}{more}")


def page(body: str, *, title: str) -> str:
    """Put a body of :func:`styled` on a page that loads nothing and runs nothing; its pictures are part of it."""
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    rules = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    policy = f'<meta http-equiv="Content-Security-Policy" content="{rules}">'
    return f'<!doctype html><html lang="en"><head>{head}{policy}<title>{escape(title)}</title></head><body>{body}</body></html>'


def styled(content: str) -> str:
    """Give HTML the style of all reports, for a page or a notebook cell."""
    return f'<style>{STYLE}</style><div class="lc">{content}</div>'


def _document(index: int, prediction: Prediction) -> str:
    label = ", ".join(map(str, prediction.label)) if isinstance(prediction.label, list) else str(prediction.label)
    score = f" ({prediction.score:.3f})" if prediction.probabilities else ""
    title = f"<summary>Document {index}: <b>{escape(label or 'no label')}</b>{score}. {_coverage(prediction.coverage)}</summary>"
    text = "".join(_passages(prediction))
    return f'<details open>{title}{_probabilities(prediction)}{_decisive(prediction)}<div class="text">{text}</div></details>'


def _decisive(prediction: Prediction) -> str:
    """Quote the beginning of the passage that counted most, so that nobody has to look for the strongest colour."""
    passage = prediction.decisive
    quote = " ".join(passage.text.split())
    if not quote:
        return ""
    shown = quote if len(quote) <= QUOTE_CHARS else f"{quote[:QUOTE_CHARS]} ..."
    return f"<p>Decided most by characters {passage.char_span[0]:,} to {passage.char_span[1]:,}: <q>{escape(shown)}</q></p>"


def _coverage(coverage: Coverage) -> str:
    chunks = f"{coverage.chunks_read:,} of {coverage.chunks:,} chunks"
    read = f"{coverage.tokens_read:,} of {coverage.tokens:,} tokens read ({coverage.fraction:.0%}), {chunks}"
    if coverage.complete:
        return escape(f"{read}. {coverage.reason}".rstrip())
    return f'{read}. <span class="warn">{coverage.tokens_unread:,} tokens not read: {escape(coverage.reason)}</span>'


def _probabilities(prediction: Prediction) -> str:
    ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td><span class="bar" style="width:{value * 12:.2f}em"></span>{value:.3f}</td></tr>'
        for name, value in ranked[:SHOWN_LABELS]
    )
    n_hidden = len(ranked) - SHOWN_LABELS
    more = f"<tr><td>and {n_hidden} less probable labels</td></tr>" if n_hidden > 0 else ""
    return f"<table>{rows}{more}</table>" if ranked else ""


def _passages(prediction: Prediction) -> Iterator[str]:
    """Give the chunks in order, each character once, and mark what lies between them as unread."""
    top = max((chunk.weight for chunk in prediction.chunks), default=0.0) or 1.0
    tokens_end = chars_end = 0
    for chunk in prediction.chunks:
        yield _unread(chunk.token_span[0] - tokens_end)
        yield " " if chunk.char_span[0] > chars_end > 0 else ""
        yield _passage(chunk, n_shown_before=max(chars_end - chunk.char_span[0], 0), strength=chunk.weight / top)
        tokens_end, chars_end = max(tokens_end, chunk.token_span[1]), max(chars_end, chunk.char_span[1])
    yield _unread(prediction.coverage.tokens - tokens_end)


def _passage(chunk: ChunkEvidence, *, n_shown_before: int, strength: float) -> str:
    tip = f"characters {chunk.char_span[0]}-{chunk.char_span[1]}, score {chunk.score:.3f}, weight {chunk.weight:.3f}"
    style = f"background:rgba(255,196,0,{0.6 * strength:.3f})"
    return f'<mark style="{style}" title="{tip}">{escape(chunk.text[n_shown_before:])}</mark>'


def _unread(n_tokens: int) -> str:
    return f'<span class="unread">{n_tokens:,} tokens not read</span>' if n_tokens > 0 else ""
