"""The bench's values and all judgement on them, free of effects: medians, ratios, what counts, targets met or missed.

`measure` fills them, `report` prints and stores them.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Final

import msgspec

from bench import catalogue
from bench.bodies import Form

# Requests/s with 64 connections over session.run calls/s of the same run, as they were when the targets were set. On *heavy* a
# system that batches is held against the loop of batches of 64, and one that does not against single calls.
_SMALL_LOOP, _HEAVY_LOOP, _HEAVY_BATCHES = 76_000, 235, 3_850
_SMALL: Final = {
    "torchserve": 4210, "pytriton": 2585, "fastapi": 1802, "mlserver": 1306, "kserve": 1138, "mlflow": 829,
    "litserve": 818, "bentoml": 412, "ray": 87,
}  # fmt: skip
_HEAVY: Final = {
    "torchserve": 914, "pytriton": 1537, "fastapi": 185, "mlserver": 813, "kserve": 134, "mlflow": 272,
    "litserve": 324, "bentoml": 468, "ray": 80,
}  # fmt: skip
_SMALL_GRPC: Final = {"pytriton": 2928, "kserve": 1566, "mlserver": 1054}
_NOT_BATCHING: Final = frozenset({"fastapi", "kserve", "mlflow", "ray"})
_MOST_ALONE: Final = 0.8
"""More of the loop no system reached that does not batch; a row above it was a lucky run."""
_CLIENT_PER_S: Final = 20_000
"""What the bench's own client reaches on one core of a slow machine."""
_SHORT: Final = 0.8
"""A peer below this share of its row was set up wrong."""


class Closed(msgspec.Struct, frozen=True):
    """A closed loop: medians over the runs, and each run's throughput."""

    connections: int
    per_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    runs: list[float]


class Opened(msgspec.Struct, frozen=True):
    """An open loop at `factor` × the system's own capacity. Latencies are from the due time."""

    factor: float
    offered_per_s: float
    goodput_per_s: float
    """Right answers within the deadline of one second."""
    refused_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    refused_p99_ms: float | None
    unanswered: int
    unsent: int
    """Due while the server had 4,000 requests in its hands already, and so never sent."""
    errors: int
    """Lost connections and statuses other than 200, 429 and 503."""
    statuses: dict[int, int]
    client_lag_p99_ms: float | None


class Limit(msgspec.Struct, frozen=True):
    """The `session.run` loop beside it: the mean of one before and one after."""

    single_per_s: float
    single_p50_us: float
    rows64_per_s: float


class Measured(msgspec.Struct, kw_only=True):
    """All that was measured of one system, one model and one form of request."""

    system: str
    work: str
    form: Form
    command: str
    limit: Limit | None = None
    cold_start_s: float | None = None
    pss_mb: float | None = None
    rss_mb: float | None = None
    processes: int | None = None
    closed: list[Closed] = []
    client_per_s: float = 0.0
    """The most that the bench's own client asked of it in a closed loop; wrk may reach more."""
    opened: list[Opened] = []
    checked: int = 0
    wrong: int = 0
    problem: str | None = None
    """Why there are no figures, or why they do not count."""
    invalid: bool = False
    """The figures stand, but fall so short of the system's known ones that it was set up wrong."""

    def at(self, connections: int) -> Closed | None:
        return next((each for each in self.closed if each.connections == connections), None)

    @property
    def peak_per_s(self) -> float | None:
        return max((each.per_s for each in self.closed), default=None)


class Scaled(msgspec.Struct, frozen=True):
    """Seaway with so many endpoints and workers; requests go to all endpoints by turns."""

    endpoints: int
    workers: int
    per_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    pss_mb: float
    cold_start_s: float


class Target(msgspec.Struct, frozen=True):
    """One target. `met` is None where it was not measured."""

    row: str
    target: str
    measured: float | None
    met: bool | None


def mean_limit(limits: Iterable[Limit]) -> Limit:
    """The mean of several loops."""
    each = list(limits)
    return Limit(
        single_per_s=round(statistics.fmean(one.single_per_s for one in each), 1),
        single_p50_us=round(statistics.fmean(one.single_p50_us for one in each), 2),
        rows64_per_s=round(statistics.fmean(one.rows64_per_s for one in each), 1),
    )


def expected_share(system: str, work: str, form: Form) -> float | None:
    """What was known of the system when the targets were set, over the loop it is held against; None without a row."""
    if form is Form.OIP_GRPC:
        return _SMALL_GRPC[system] / _SMALL_LOOP if system in _SMALL_GRPC else None
    if work == "small" and system in _SMALL:
        return _SMALL[system] / _SMALL_LOOP
    if work == "heavy" and system in _HEAVY:
        if system in _NOT_BATCHING:
            return min(_MOST_ALONE, _HEAVY[system] / _HEAVY_LOOP)
        return _HEAVY[system] / _HEAVY_BATCHES
    return None


def share_of_limit(measured: Measured) -> float | None:
    """Throughput with 64 connections over its `session.run` loop."""
    at = measured.at(64)
    if at is None or measured.limit is None:
        return None
    batched = measured.work == "heavy" and measured.system not in _NOT_BATCHING
    return at.per_s / (measured.limit.rows64_per_s if batched else measured.limit.single_per_s)


def judge(all_measured: list[Measured]) -> None:
    """Mark the peers that fall more than 20 % short of their row. A peer counts by the best of its forms."""
    for measured in all_measured:
        expected = expected_share(measured.system, measured.work, measured.form)
        forms = [m for m in all_measured if _row(m) == _row(measured)]
        shares = [s for s in map(share_of_limit, forms) if s is not None]
        if expected is None or not shares or max(shares) >= _SHORT * expected:
            continue
        measured.invalid = True
        measured.problem = (
            f"set up wrong: {max(shares):.4f} of the session.run loop, its row has {expected:.4f}"
        )


def _row(measured: Measured) -> tuple[str, str, bool]:
    """What is known of systems from before."""
    return measured.system, measured.work, measured.form is Form.OIP_GRPC


def can_offer(per_s: float, client_per_s: float) -> bool:
    """Whether the open-loop client can send that fast; above it, the figures would say nothing of the server."""
    return per_s <= max(_CLIENT_PER_S, client_per_s)


def find(all_measured: list[Measured], system: str, work: str, form: Form) -> Measured | None:
    """The entry, if it was measured."""
    same = (m for m in all_measured if (m.system, m.work, m.form) == (system, work, form))
    return next((m for m in same if m.closed), None)


def best_peer(
    all_measured: list[Measured], work: str, connections: int, forms: frozenset[Form]
) -> tuple[str, float] | None:
    """The peer with the highest throughput among those that count, in any of `forms`."""
    found = [
        (at.per_s, m.system)
        for m in all_measured
        if m.system in catalogue.PEERS
        and m.work == work
        and m.form in forms
        and not m.invalid
        and not m.wrong
        for at in [m.at(connections)]
        if at is not None
    ]
    return (max(found)[1], max(found)[0]) if found else None
