"""What the bench's own client is asked to send and what it says came of it; `client` and `measure` share it."""

from __future__ import annotations

import msgspec
import numpy as np

from bench import bodies


class Load(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to send. Without `rate_per_s` the loop is closed."""

    port: int
    path: str
    model: str
    form: bodies.Form
    connections: int
    """In an open loop the most that are opened."""
    seconds: float
    rate_per_s: float | None = None
    deadline_s: float = 1.0
    seed: int = 0


class Outcome(msgspec.Struct, frozen=True):
    """What came back. Latencies are in ms, from the due time in an open loop; of 200 answers, and of refusals."""

    due: int
    """In a closed loop as many as were sent."""
    seconds: float
    statuses: dict[int, int]
    in_time: int
    """Answers with 200 within `deadline_s`, that came before the end."""
    unanswered: int
    unsent: int
    """Requests that found all connections taken: the server already had as many in its hands."""
    lost: int
    """Requests whose connection ended before the answer."""
    p50_ms: float | None
    p99_ms: float | None
    refused_p50_ms: float | None
    refused_p99_ms: float | None
    lag_p99_ms: float | None
    """How late the client itself sent, where a connection was free."""
    checked: int
    wrong: int
    example: str | None
    """The first wrong answer, else the first that is not 200."""


def schedule(load: Load) -> list[float]:
    """When each request is due, in seconds from the start; nothing in a closed loop."""
    if load.rate_per_s is None:
        return []
    count = max(1, round(load.rate_per_s * load.seconds))
    gaps = np.random.default_rng(load.seed).exponential(1 / load.rate_per_s, count)
    due: list[float] = np.cumsum(gaps).tolist()
    return due
