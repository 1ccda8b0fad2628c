"""The outcomes of many requests at once, as they were told: for a replay, which has its own answers to compare them with."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from seaway.monitor.feedback import schema

_AT_ONCE: Final = 500


def of_requests(records: Path, request_ids: Sequence[str]) -> dict[str, dict[int, str]]:
    """The text of each outcome (`core.feedback.outcome_text`) by request and row; requests without one are left out.

    Blocking; many short reads, since a reader holds up the writer's commits. Raises as `monitor.feedback.reading` does.
    """
    found: dict[str, dict[int, str]] = {}
    connection = schema.connect_reader(schema.path_of(records))
    if connection is None:
        return found
    with contextlib.closing(connection):
        for start in range(0, len(request_ids), _AT_ONCE):
            part = request_ids[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(part))
            query = f"SELECT request_id, row, value FROM facts WHERE name = '' AND request_id IN ({marks})"
            with schema.translated():
                rows = connection.execute(query, tuple(part)).fetchall()
            for request_id, row, value in rows:
                found.setdefault(request_id, {})[row] = value
    return found
