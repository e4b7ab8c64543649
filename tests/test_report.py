"""Reports as values, JSON, Markdown, pages and pictures."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs the extra: pip install 'longctx[train]'")
pytest.importorskip("matplotlib", reason="needs the extra: pip install 'longctx[train]'")

from longctx.errors import ConfigError, MissingDependencyError
from longctx.learn.outcome import Outcome
from longctx.learn.report import Report, make_report
from outcomes import make_outcome

NASTY = '<script>alert(1)</script> | $x_$ & "quotes" \'\n<b>'
PROBLEMS = ["single_label", "multi_label", "regression"]


def _report(problem: Any = "single_label", *, title: str = "Test", n_documents: int = 80, n_labels: int = 3) -> Report:
    n_tokens = np.arange(n_documents) * 40
    outcome = make_outcome(problem, n_documents, n_labels, n_tokens=n_tokens, evidence_at=np.linspace(0, 1, n_documents, dtype=np.float32))
    controls = {
        "first_row": make_outcome(problem, n_documents, n_labels, skill=0.5),
        "tfidf": make_outcome(problem, n_documents, n_labels, skill=0.1),
    }
    return make_report(outcome, controls, title=title, n_resamples=50)


def _strict(text: str) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


class _Page(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))


@pytest.mark.parametrize("problem", ["single_label", "multi_label"])
def test_json_holds_the_metrics_under_their_names(problem: str, tmp_path: Path):
    report = _report(problem)
    text = report.to_json(tmp_path / "report.json")
    assert (tmp_path / "report.json").read_text(encoding="utf-8") == text
    data = _strict(text)
    assert [data["accuracy"], data["macro_f1"], data["micro_f1"]] == [report.accuracy, report.macro_f1, report.micro_f1]
    assert set(data["per_class"]["label 0"]) == {"precision", "recall", "f1", "support"}
    for name in ("first_row", "tfidf"):
        control = data["controls"][name]
        assert 0 <= control["accuracy"] < data["accuracy"]
        assert 0 <= control["macro_f1"] < data["macro_f1"]
        assert control["difference"]["accuracy"]["estimate"] == pytest.approx(data["accuracy"] - control["accuracy"])
        assert control["intervals"]["accuracy"]["low"] <= control["accuracy"] <= control["intervals"]["accuracy"]["high"]
    assert sum(part["n_documents"] for part in data["by_length"]) == sum(part["n_documents"] for part in data["by_evidence"]) == 80
    assert data == json.loads(json.dumps(report.to_dict()))


def test_json_of_values_has_null_where_nothing_is_defined():
    truth = np.array([[1.0], [2.0], [3.0]])
    constant = Outcome("regression", ("value",), np.full((3, 1), 2, np.float32), truth)
    data = _strict(make_report(constant, {"tfidf": constant}, title="Test", n_resamples=20).to_json())
    assert data["accuracy"] is data["macro_f1"] is data["calibration"] is data["confusion"] is None
    assert data["metrics"]["mae"] == data["controls"]["tfidf"]["mae"] == pytest.approx(2 / 3)
    assert data["metrics"]["pearson"] is data["controls"]["tfidf"]["pearson"] is data["per_class"]["value"]["spearman"] is None


def test_confusion_counts_documents_by_truth_and_decision(tmp_path: Path):
    scores = np.eye(3, dtype=np.float32)[[0, 1, 1, 1]]
    report = make_report(Outcome("single_label", ("a", "b", "c"), scores, np.array([0, 0, 0, 1])), title="Test", n_resamples=20)
    assert report.confusion is not None
    assert report.confusion.tolist() == [[1, 2, 0], [0, 1, 0], [0, 0, 0]]
    report.confusion_picture(tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_no_confusion_picture_where_there_is_no_matrix(tmp_path: Path):
    for report in (_report("multi_label"), _report(n_labels=51)):
        assert report.confusion is None
        with pytest.raises(ConfigError, match="at most 50"):
            report.confusion_picture(tmp_path / "confusion.png")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_page_is_one_file_whose_pictures_have_words(problem: str, tmp_path: Path):
    report = _report(problem)
    html = report.to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == html
    page = _Page(html)
    assert len(page.images) == {"single_label": 3, "multi_label": 2, "regression": 1}[problem]
    assert all((image["src"] or "").startswith("data:image/png;base64,") and image["alt"] for image in page.images)
    assert "http:" not in html
    assert "https:" not in html
    assert "<table>" in report._repr_html_()


def test_labels_and_titles_are_text_whatever_they_hold():
    outcome = make_outcome("single_label", 20, 3)
    named = Outcome("single_label", (NASTY, "狐狸", "a|b $x_$"), outcome.scores, outcome.truth)
    report = make_report(named, {NASTY: named}, title=NASTY, n_resamples=20)
    html, markdown = report.to_html(), report.to_markdown()
    assert "script" not in _Page(html).tags
    assert "b" not in _Page(html).tags
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<script>" not in markdown
    assert "a\\|b" in markdown
    assert report.to_json().count("\\n<b>") > 0


@pytest.mark.parametrize("problem", PROBLEMS)
def test_markdown_tables_have_a_cell_for_every_column(problem: str, tmp_path: Path):
    report = _report(problem)
    text = report.to_markdown(tmp_path / "report.md")
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == text
    for section in text.split("## ")[1:]:
        rows = [line for line in section.splitlines() if line.startswith("|")]
        assert len(rows) > 2
        assert len({row.count("|") for row in rows}) == 1
    assert "tfidf" in text
    assert f"{report.intervals['accuracy' if problem != 'regression' else 'mae']}" in text


def test_a_report_shows_itself_in_one_line():
    report = _report(title="Cases")
    assert repr(report).startswith(f"Report('Cases': 80 documents; accuracy {report.intervals['accuracy']}")
    assert f"tfidf: accuracy {report.controls['tfidf']['accuracy']:.3f}" in repr(report)
    assert "\n" not in repr(report)


def test_a_report_without_controls_lengths_and_places_says_what_there_is():
    report = make_report(make_outcome("multi_label", 30, 1), title="Test", n_resamples=20)
    assert report.controls == {}
    assert "In short" in report.to_markdown()
    assert "By length" not in report.to_html()


def test_a_control_for_other_documents_is_refused():
    outcome, other = make_outcome("single_label", 10, 3), make_outcome("single_label", 10, 3, seed=1)
    with pytest.raises(ConfigError, match="the control 'tfidf' has another problem, other labels or another truth"):
        make_report(outcome, {"tfidf": other}, title="Test")


def test_the_same_seed_gives_the_same_report():
    assert _report().to_json() == _report().to_json()


def test_drawing_leaves_pyplot_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    _report().to_html()
    assert "matplotlib.pyplot" not in sys.modules


@pytest.mark.parametrize(("module", "package"), [("sklearn.metrics", "scikit-learn"), ("matplotlib.figure", "matplotlib")])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(module: str, package: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=rf"need {package}; install it with: pip install longctx\[train\]"):
        _report().to_html()


def test_evaluation_needs_no_torch_and_loads_no_extra_before_it_is_used():
    names = "controls, intervals, metrics, outcome, pictures, report, report_pages, slices"
    heavy = "torch", "sklearn", "scipy", "matplotlib"
    code = f"import sys; from longctx.learn import {names}; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
