"""Predictions as tables and as pages."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from longctx import ChunkEvidence, Coverage, Prediction, Predictions

NASTY = '<script>alert(1)</script> & "quotes" \'n <b>tags</b>'


def _prediction(label: object = "law", text: str = "some text", **changes: object) -> Prediction:
    chunks = (
        ChunkEvidence((0, len(text)), (0, 10), text, 0.9, 0.25),
        ChunkEvidence((30, 30 + len(text)), (20, 30), text, 0.5, 0.75),
    )
    fields = {
        "label": label,
        "score": 0.8,
        "probabilities": {"law": 0.8, "<art>": 0.2},
        "coverage": Coverage(45, 20, 5, 2, "select='head', max_chunks=2"),
        "chunks": chunks,
    }
    return Prediction(**{**fields, **changes})


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)


def test_the_decisive_passage_of_a_negative_value_is_the_one_that_made_it_so():
    chunks = (ChunkEvidence((0, 3), (0, 1), "mild", -0.5, 0.5), ChunkEvidence((4, 9), (1, 2), "harsh", -3.5, 0.5))
    assert _prediction(label=-2.0, score=-2.0, probabilities={}, chunks=chunks).decisive.text == "harsh"


def test_html_escapes_whatever_stands_in_documents_and_labels():
    page = Predictions([_prediction(label=NASTY, text=NASTY, coverage=Coverage(5, 3, 2, 1, NASTY))]).to_html()
    tags = _Tags()
    tags.feed(page)
    assert "script" not in tags.seen
    assert "b" in tags.seen  # our own
    assert "<b>tags" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_html_is_one_file_that_loads_nothing(tmp_path: Path):
    predictions = Predictions([_prediction()])
    page = predictions.to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page
    assert "src=" not in page
    assert "http:" not in page
    assert "https:" not in page


def test_html_shows_what_was_not_read_and_where():
    page = Predictions([_prediction()]).to_html()
    assert "25 tokens not read" in page
    assert page.count('class="unread">10 tokens not read') == 1
    assert page.count('class="unread">15 tokens not read') == 1
    assert "select=&#x27;head&#x27;, max_chunks=2" in page


def test_html_shows_each_character_of_an_overlap_once():
    chunks = (ChunkEvidence((0, 6), (0, 2), "one tw", 0.5, 0.5), ChunkEvidence((4, 9), (1, 3), "two x", 0.5, 0.5))
    page = Predictions([_prediction(chunks=chunks, coverage=Coverage(3, 3, 2, 2))]).to_html()
    assert ">one tw<" in page
    assert ">o x<" in page


def test_a_notebook_shows_the_first_documents_and_says_that_there_are_more():
    page = Predictions([_prediction()] * 12)._repr_html_()
    assert page.count("<details") == 10
    assert "2 more documents" in page


def test_to_pandas_has_one_row_per_document():
    pytest.importorskip("pandas")
    frame = Predictions([_prediction(), _prediction("<art>")]).to_pandas()
    assert frame["label"].tolist() == ["law", "<art>"]
    assert frame["probability:law"].tolist() == [0.8, 0.8]
    assert frame[["tokens", "tokens_read", "reason"]].iloc[0].tolist() == [45, 20, "select='head', max_chunks=2"]
    assert frame["decisive_start"].tolist() == [30, 30]


@pytest.mark.parametrize("label", ["law", ["law", "<art>"], [], 0.5, [0.5, 1.5]])
def test_to_arrow_keeps_everything(label: object):
    probabilities = {} if isinstance(label, float) or label == [0.5, 1.5] else {"law": 0.8, "<art>": 0.2}
    prediction = _prediction(label, probabilities=probabilities)
    row = Predictions([prediction]).to_arrow().to_pylist()[0]
    assert row["label"] == label
    assert dict(row["probabilities"]) == probabilities
    assert row["coverage"]["tokens_read"] == 20
    assert row["chunks"][1] == {
        "char_start": 30,
        "char_end": 39,
        "token_start": 20,
        "token_end": 30,
        "text": "some text",
        "score": 0.5,
        "weight": 0.75,
    }


def test_tables_of_nothing_are_empty():
    pytest.importorskip("pandas")
    assert Predictions([]).to_arrow().num_rows == 0
    assert len(Predictions([]).to_pandas()) == 0
    assert "0 documents" in Predictions([]).to_html()


def test_predictions_are_a_sequence_with_a_helpful_repr():
    predictions = Predictions([_prediction(), _prediction("<art>"), _prediction()])
    assert len(predictions[1:]) == 2
    assert isinstance(predictions[1:], Predictions)
    assert predictions[-1].label == "law"
    assert repr(predictions) == "Predictions(3 documents; law: 2, <art>: 1; 60 of 135 tokens read)"
    assert predictions == Predictions(list(predictions))


def test_the_decisive_chunk_has_the_largest_weighted_score():
    assert _prediction().decisive.char_span[0] == 30
