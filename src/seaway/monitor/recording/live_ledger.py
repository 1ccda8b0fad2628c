"""The ledger of the last minutes in memory, for whoever looks at what happens now; `monitor.recording.seconds` keeps it on disk."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterator
from typing import Final

import msgspec

from seaway.core.ledger import Second
from seaway.monitor.sinks import Subject
from seaway.wire import metric_names
from seaway.wire.prometheus import Family, Sample

KEEP_S: Final = 900
MOST_ENTRIES: Final = 20_000
"""Seconds of one revision that are kept in all; with very many busy endpoints they reach less far back than `KEEP_S`."""
_MAX_ANSWERS: Final = 50
"""Classes of one revision that get a series of their own in `/metrics`."""


class LiveLedger:
    """Added to by the counting thread, read by any."""

    def __init__(self) -> None:
        self._entries: dict[str, deque[tuple[int, tuple[str, int, str], bytes]]] = {}
        """By endpoint: a rollout asks for its own once a second, among those of a thousand endpoints."""
        self._order: deque[tuple[int, str]] = deque()
        """The endpoints of all entries, as they came."""
        self._answers: dict[tuple[str, int], dict[str, int]] = {}
        self._lock = threading.Lock()

    def add(self, subject: Subject, second: Second) -> None:
        """A second that is over."""
        key = subject.endpoint, subject.revision, subject.digest
        encoded = msgspec.json.encode(second)
        with self._lock:
            self._entries.setdefault(subject.endpoint, deque()).append((second.at_s, key, encoded))
            self._order.append((second.at_s, subject.endpoint))
            while len(self._order) > MOST_ENTRIES or self._order[0][0] < second.at_s - KEEP_S:
                self._drop_oldest()
            if second.counts.answers and subject.answer is not None and subject.answer.kind == "class":
                own = self._answers.setdefault(key[:2], {})
                for name, count in second.counts.answers:
                    if name not in own and len(own) >= _MAX_ANSWERS:
                        name = "…"
                    own[name] = own.get(name, 0) + count

    def _drop_oldest(self) -> None:
        _, endpoint = self._order.popleft()
        own = self._entries[endpoint]
        own.popleft()
        if not own:
            del self._entries[endpoint]

    def pages(self, after_s: int, endpoint: str | None) -> list[bytes]:
        """Pages of the seconds after `after_s` as JSON (`core.ledger.Page`), one for each revision."""
        with self._lock:
            asked = self._entries.values() if endpoint is None else [self._entries.get(endpoint, ())]
            entries = [entry for own in asked for entry in own if entry[0] > after_s]
        found: dict[tuple[str, int, str], list[msgspec.Raw]] = {}
        for _, key, encoded in entries:
            found.setdefault(key, []).append(msgspec.Raw(encoded))
        return [
            msgspec.json.encode(
                {"endpoint": key[0], "revision": key[1], "digest": key[2], "seconds": seconds}
            )
            for key, seconds in found.items()
        ]

    def drop_retired(self, alive: Collection[tuple[str, str]]) -> None:
        """Forget the answers of revisions that are not among `alive`, (endpoint, revision)."""
        with self._lock:
            for key in [key for key in self._answers if (key[0], str(key[1])) not in alive]:
                del self._answers[key]

    def families(self, labels: dict[str, str]) -> Iterator[Family]:
        """Answered rows by class; `labels` are put on every series."""
        family = metric_names.ANSWERS.family()
        with self._lock:
            for (endpoint, revision), answers in self._answers.items():
                own = {"endpoint": endpoint, "revision": str(revision), **labels}
                for name, count in answers.items():
                    family.samples.append(Sample({**own, "answer": name}, count))
        yield family
