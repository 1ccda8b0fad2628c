"""The language of texts in summaries, by the detector of the extra `language`."""

from __future__ import annotations

import numpy as np
import pytest

from seaway.core.live_summaries import LiveSummary
from seaway.core.tensors import DType, Signature, TensorSpec
from seaway.wiring import adapters

pytest.importorskip("py3langid")


def test_languages_are_counted_of_some_texts_of_each_block() -> None:
    detect = adapters.language_detector()
    assert detect is not None
    german, english = "Das ist ein Satz auf Deutsch", "The weather is nice today, is it not"
    texts = np.array([german, english, "12 34 56 78 90 12 34"] * 40, dtype=object)
    live = LiveSummary(Signature((TensorSpec("note", DType.BYTES, (-1,)),), ()), None, language=detect)
    live.add([{"note": texts}], [{}], [len(texts)])
    found = live.summary().inputs["note"].texts
    assert found is not None and found.lengths.count == 120
    assert {name for name, _ in found.languages.categories} == {"de", "en", "unknown"}
    assert found.languages.count == 30, "every fourth"
