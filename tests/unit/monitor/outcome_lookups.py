"""Predictions made up for tests of outcomes: what `provenance_files.lookup` would tell of them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from seaway.core.provenance import SLICES, AnsweredBy, AnsweredRow, Joined


class Made(msgspec.Struct, frozen=True):
    """One answered request."""

    rows: tuple[AnsweredRow, ...]
    at_s: float = 1_800_000_000.0
    by: AnsweredBy = AnsweredBy("prices", 1, "sha256:" + "a" * 64)
    unit: bool = False


def answered(*answers: str | float, confidence: float | None = None, **rest: object) -> Made:
    """One request with these answers, one row each."""
    return Made(tuple(AnsweredRow(a, confidence) for a in answers), **rest)  # type: ignore[arg-type]


class Lookup:
    """`core.feedback.Lookup` on a dict."""

    def __init__(self) -> None:
        self.made: dict[str, Made] = {}
        self.asked = 0

    def __call__(self, ids: Sequence[bytes], /) -> Joined:
        self.asked += 1
        found = [self.made.get(one.decode()) for one in ids]
        subjects = list({one.by: None for one in found if one is not None})
        rows = [row for one in found if one is not None for row in one.rows]
        texts = list({t: None for row in rows for t in (row.answer, *row.slices) if isinstance(t, str)})
        counts = [0 if one is None else len(one.rows) for one in found]
        slices = np.full((len(rows), SLICES), -1, np.int32)
        for place, row in enumerate(rows):
            slices[place, : len(row.slices)] = [texts.index(text) for text in row.slices]
        return Joined(
            subjects=tuple(subjects),
            texts=tuple(texts),
            by=np.array([-1 if one is None else subjects.index(one.by) for one in found], np.int32),
            at_s=np.array([0.0 if one is None else one.at_s for one in found]),
            rate=np.ones(len(found)),
            units=np.array([one is not None and one.unit for one in found], np.bool_),
            first=np.cumsum([0, *counts])[:-1].astype(np.int64),
            rows=np.array(counts, np.int64),
            numbers=np.array([r.answer if isinstance(r.answer, float) else np.nan for r in rows], np.float64),
            classes=np.array(
                [texts.index(r.answer) if isinstance(r.answer, str) else -1 for r in rows], np.int32
            ),
            confidences=np.array(
                [np.nan if r.confidence is None else r.confidence for r in rows], np.float32
            ),
            slices=slices,
        )
