"""Erases single requests from provenance, where a person's data are to go. Called by the erasure of records."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seaway.monitor.provenance import files as provenance_files
from seaway.monitor.provenance import layout as form


def erase(root: Path | str, ids: Sequence[bytes]) -> int:
    """Overwrite with zeros what is kept of these requests, durable when it returns; how many there were.

    Idempotent, and safe beside the workers that write: they never touch a place again. Raises `OSError`.
    """
    kept = form.kept_ids(ids)
    wanted, keys = set(kept.tolist()), form.keys_of(kept)
    erased = 0
    for segment in provenance_files.open_all(Path(root), os.O_RDWR):
        gone = 0
        for place in np.flatnonzero(np.isin(segment.keys(), keys)).tolist():
            record = segment.requests(place, 1)
            if len(record) and form.sound(record)[0] and record["id"][0] in wanted:
                _erase(segment, place, record[0])
                gone += 1
        if gone:
            os.fsync(segment.file)
        erased += gone
    return erased


def _erase(segment: provenance_files.OpenSegment, place: int, record: np.void) -> None:
    """The answers first and the key last, so that what a kill leaves is found again."""
    capacity = segment.requests_capacity
    answers = form.answers_at(capacity) + int(record["first_answer"]) * form.ANSWER.itemsize
    os.pwrite(segment.file, bytes(int(record["answers"]) * form.ANSWER.itemsize), answers)
    os.pwrite(
        segment.file, bytes(form.REQUEST.itemsize), form.requests_at(capacity) + place * form.REQUEST.itemsize
    )
    os.pwrite(segment.file, bytes(8), form.keys_at() + place * 8)
