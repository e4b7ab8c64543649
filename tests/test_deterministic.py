"""The same answer alone and in company: to rounding always, to the bit where it is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from longctx import LongDocumentClassifier
from models import DOCUMENTS, FAMILIES, MAX_TOKENS, save_checkpoint

COMPANY = [*DOCUMENTS, *(f"{document} {i}" for i, document in enumerate(DOCUMENTS * 4)), DOCUMENTS[0] * 30]


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp(request.param), request.param, num_labels=3)


@pytest.mark.parametrize("token_budget", [MAX_TOKENS, 4096])
def test_deterministic_results_are_equal_to_the_bit_alone_and_in_any_company(folder: Path, token_budget: int):
    classifier = LongDocumentClassifier.from_pretrained(folder, device="cpu", deterministic=True, token_budget=token_budget)
    together = list(classifier(COMPANY))
    assert list(classifier(COMPANY[::-1]))[::-1] == together
    assert [classifier(document)[0] for document in COMPANY] == together


def test_other_results_agree_to_rounding_and_have_the_same_label(folder: Path):
    classifier = LongDocumentClassifier.from_pretrained(folder, device="cpu")
    together, alone = classifier(COMPANY), [classifier(document)[0] for document in COMPANY]
    assert [p.label for p in together] == [p.label for p in alone]
    values = [[list(p.probabilities.values()) for p in predictions] for predictions in (together, alone)]
    np.testing.assert_allclose(values[0], values[1], atol=1e-5)
