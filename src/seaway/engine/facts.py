"""What a predictor counts of its work, for metrics: plain numbers, read when somebody scrapes."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

import msgspec

TIME_BUCKETS_S: Final = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
)
"""Upper edges; one more bucket follows for all that took longer."""
ROW_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Upper edges of rows in a batch; one more bucket follows."""


class Facts(msgspec.Struct, frozen=True):
    """One predictor at one moment. Buckets are not added up; counts only grow, the last three are of now."""

    lane: str
    """`inline` or `thread`."""
    a_s: float
    b_s: float
    samples: int
    batchable: bool
    stuck: bool
    batches: tuple[int, ...]
    """Executions by ROW_BUCKETS."""
    rows: int
    queue_sum_s: float
    queue_counts: tuple[int, ...]
    """Jobs by time until their execution began, by TIME_BUCKETS_S."""
    run_sum_s: float
    run_counts: tuple[int, ...]
    """Executions by how long they took, by TIME_BUCKETS_S."""
    refused: int
    dropped_late: int
    """Jobs whose deadline passed before they ran."""
    in_flight: int
    queued_rows: int
    streams: int


class Counts:
    """The growing half of Facts; on the event loop's thread only."""

    __slots__ = (
        "batches",
        "dropped_late",
        "queue_counts",
        "queue_sum_s",
        "refused",
        "rows",
        "run_counts",
        "run_sum_s",
    )

    def __init__(self) -> None:
        self.batches = [0] * (len(ROW_BUCKETS) + 1)
        self.rows = 0
        self.queue_sum_s = 0.0
        self.queue_counts = [0] * (len(TIME_BUCKETS_S) + 1)
        self.run_sum_s = 0.0
        self.run_counts = [0] * (len(TIME_BUCKETS_S) + 1)
        self.refused = 0
        self.dropped_late = 0

    def ran(self, rows: int, took_s: float) -> None:
        """One execution."""
        self.batches[bisect_left(ROW_BUCKETS, rows)] += 1
        self.rows += rows
        self.run_counts[bisect_left(TIME_BUCKETS_S, took_s)] += 1
        self.run_sum_s += took_s

    def waited(self, queue_s: float) -> None:
        """One job began to run."""
        self.queue_counts[bisect_left(TIME_BUCKETS_S, queue_s)] += 1
        self.queue_sum_s += queue_s
