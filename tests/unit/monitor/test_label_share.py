"""Of which time answered rows are counted for the share of labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from seaway.core.ledger import Counts, Second
from seaway.core.records import RecordRules
from seaway.core.tensors import Signature
from seaway.monitor.recording import seconds
from seaway.monitor.recording.seconds import SecondsWriter
from seaway.monitor.sinks import RecordPaths, Subject
from seaway.testing.clock import VirtualClock
from seaway.wiring.feedback import counted_rows

NOW_S = 1_800_003_000.5
DAY_S = 86_400.0


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """One row answered in each second of the last hour, some of them by another worker."""
    subject = Subject("prices", 1, "sha256:" + "a" * 64, "", Signature((), ()), None, RecordRules())
    for slot in (0, 1):
        own = [
            (subject, Second(at_s, Counts(rows=1))) for at_s in range(int(NOW_S) - 3600 + slot, int(NOW_S), 2)
        ]
        SecondsWriter(RecordPaths(str(tmp_path), slot, 1)).write(own, NOW_S)
    return tmp_path


@pytest.mark.parametrize(
    ("since_s", "until_s", "first_s", "end_s", "rows"),
    [
        (NOW_S - 300, NOW_S, 1_800_002_701, 1_800_002_990, 289),
        (NOW_S - 300, NOW_S - 100, 1_800_002_701, 1_800_002_900, 199),
        (NOW_S - 7 * DAY_S, NOW_S, int(seconds.oldest_s(NOW_S)), 1_800_002_990, 3590),
    ],
)
def test_whole_seconds_that_are_kept_and_on_disk(
    records: Path, since_s: float, until_s: float, first_s: int, end_s: int, rows: int
) -> None:
    found = counted_rows(records, VirtualClock(NOW_S), "prices", since_s, until_s)
    assert found is not None
    assert (found.since_s, found.until_s) == (first_s, end_s)
    assert sum(second.counts.rows for page in found.pages for second in page.seconds) == rows


@pytest.mark.parametrize(
    ("since_s", "until_s"),
    [(NOW_S - 9, NOW_S), (NOW_S - 9 * DAY_S, NOW_S - 8 * DAY_S), (NOW_S - 100.4, NOW_S - 100.1)],
    ids=["only just", "long ago", "within a second"],
)
def test_a_time_without_counts_has_none(records: Path, since_s: float, until_s: float) -> None:
    assert counted_rows(records, VirtualClock(NOW_S), "prices", since_s, until_s) is None
