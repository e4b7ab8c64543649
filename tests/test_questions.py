"""Zero-shot by entailment cuts a document once; only the hypothesis in its rows changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from longctx import Chunker
from longctx.inference.questions import question_of
from models import DOCUMENTS, save_tokenizer

HYPOTHESES = ["This is it.", "A much longer hypothesis about numbers, signs and the quick brown fox.", "No."]
ROOM = 20


@pytest.mark.parametrize("family", ["Bert", "Roberta", "XLNet", "XLMRoberta"])
def test_rows_with_another_question_are_those_of_its_own_chunker(family: str, tmp_path: Path):
    save_tokenizer(family, tmp_path)
    loose = [Chunker(tmp_path, max_tokens=64, overlap_tokens=4, suffix=text) for text in HYPOTHESES]
    chunkers = [
        Chunker(tmp_path, max_tokens=one.max_tokens - one.room_tokens + ROOM, overlap_tokens=4, suffix=text, dtype="int32")
        for one, text in zip(loose, HYPOTHESES, strict=True)
    ]
    documents = [*DOCUMENTS, ""]
    for first in chunkers:
        batch = first(documents)
        for other in chunkers:
            expected, asked = other(documents), question_of(other).ask(batch)
            np.testing.assert_array_equal(asked.input_ids, expected.input_ids)
            np.testing.assert_array_equal(asked.lengths, expected.lengths)
            np.testing.assert_array_equal(asked.attention_mask, expected.attention_mask)
            if expected.token_type_ids is not None:
                np.testing.assert_array_equal(asked.token_type_ids, expected.token_type_ids)
