"""The exact counts behind `/metrics`: answered requests by door, endpoint, revision and code, with their latencies.

Filled by the recorder's counting thread from lists of times, put into words when somebody scrapes. Every series of a
worker carries its slot as the label `worker`: a worker that starts again begins at zero in its own series, which
Prometheus takes for the reset that it is, so a sum of rates over workers stays right.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from seaway.wire import metric_names
from seaway.wire.prometheus import Family, Sample

BUCKETS_S: Final = metric_names.REQUEST_BUCKETS_S
KEEP_S: Final = 900.0
"""A series that nothing can add to any more is dropped this long after its last answer: every scraper has seen it."""
MAX_SERIES: Final = 20_000
"""A thousand endpoints with a few codes on each door, about 300 bytes each; what is beyond is counted without its labels."""
_FEW: Final = 32
_EDGES: Final = np.array(BUCKETS_S)


class Key(NamedTuple):
    """The labels of one series. `endpoint` and `revision` are "" where none was found, so labels stay bounded."""

    door: str
    endpoint: str
    revision: str
    code: str


_OVERFLOW: Final = Key("other", "", "", "")


class _Series(msgspec.Struct):
    """The answers under one key; `counts` by bucket, not added up."""

    counts: list[int]
    sum_s: float = 0.0
    last_s: float = 0.0


class RequestCounts:
    """Answers by key. Any thread."""

    def __init__(self) -> None:
        self._series: dict[Key, _Series] = {}
        self._lock = threading.Lock()

    def add(self, key: Key, took_s: Sequence[float], now_s: float) -> None:
        """Count answers under one key; `now_s` is on the monotonic scale."""
        with self._lock:
            series = self._series.get(key)
            if series is None:
                if len(self._series) >= MAX_SERIES:
                    key = _OVERFLOW
                series = self._series.setdefault(key, _Series([0] * (len(BUCKETS_S) + 1)))
            counts = series.counts
            if len(took_s) < _FEW:
                for one_s in took_s:
                    counts[bisect.bisect_left(BUCKETS_S, one_s)] += 1
            else:
                places = np.bincount(np.searchsorted(_EDGES, np.asarray(took_s)), minlength=len(counts))
                for place in np.flatnonzero(places).tolist():
                    counts[place] += int(places[place])
            series.sum_s += sum(took_s)
            series.last_s = now_s

    def drop_retired(self, alive: Collection[tuple[str, str]], now_s: float) -> None:
        """Drop the series whose (endpoint, revision) is not among `alive`, once their last answer is `KEEP_S` old."""
        with self._lock:
            for key, series in list(self._series.items()):
                if series.last_s < now_s - KEEP_S and (key.endpoint, key.revision) not in alive:
                    del self._series[key]

    def families(self, labels: dict[str, str]) -> Iterator[Family]:
        """The counts as Prometheus families; `labels` are put on every series."""
        total = metric_names.REQUESTS.family()
        duration = metric_names.REQUEST_DURATION.family()
        with self._lock:
            found = [(key, list(series.counts), series.sum_s) for key, series in self._series.items()]
        for key, counts, sum_s in found:
            own = {**key._asdict(), **labels}
            total.samples.append(Sample(own, sum(counts)))
            if not key.endpoint:
                continue
            seen = 0
            for bound, count in zip((*BUCKETS_S, float("inf")), counts, strict=True):
                seen += count
                edge = "+Inf" if bound == float("inf") else f"{bound:g}"
                duration.samples.append(Sample({**own, "le": edge}, seen, "_bucket"))
            duration.samples.append(Sample(own, sum_s, "_sum"))
            duration.samples.append(Sample(own, seen, "_count"))
        yield total
        yield duration
