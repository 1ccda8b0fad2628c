"""Live traffic for the demo: the half-hours that came later, and what the price then did told afterwards.

They are asked for in random order, as by many clients: in their own order neighbours are right or wrong together, and so
say much less. Open loop: each is asked for when its time comes, whether or not the ones before it were answered.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import queue
import threading
import time
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import seaway
from electricity import models
from seaway.core.errors import TemporaryError

PER_S = 500
"""Half-hours asked for in a second."""
LABELS_AFTER_S = 2.0
"""How long after its answer a half-hour's price is known; what is recorded of a request is written within two seconds."""
_CALLERS = 6
_TELL_EVERY_S = 0.25


class Asked(NamedTuple):
    """One half-hour: which revision answered it, how long that took, and whether the price did as was said."""

    revision: int
    took_s: float
    right: bool


class Market:
    """Asks and tells from `with` to its end. Thread-safe."""

    def __init__(self, address: str, frame: pd.DataFrame) -> None:
        mixed = frame.sample(frac=1.0, random_state=0)
        self._rows: list[dict[str, Any]] = mixed[models.WORDS + models.NUMBERS].to_dict("records")
        self._truths: list[int] = mixed[models.TARGET].tolist()
        self._client = seaway.Client(f"http://{address}")
        self._turn = itertools.count()
        self._began_s = 0.0
        self._over = threading.Event()
        self._known: queue.SimpleQueue[tuple[float, str, int]] = queue.SimpleQueue()
        self.asked: list[Asked] = []
        self.lost: list[str] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(_CALLERS)]
        self._threads.append(threading.Thread(target=self._tell))

    def __enter__(self) -> Market:
        self._began_s = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._over.is_set():
            number = next(self._turn)
            due_s = self._began_s + number / PER_S
            time.sleep(max(0.0, due_s - time.monotonic()))
            place, name = number % len(self._rows), f"market-{number}"
            sent_s = time.monotonic()
            try:
                answer = self._client.answer("electricity", [self._rows[place]], request_id=name)
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller lost a request
                self.lost.append(str(error))
                continue
            now_s, truth = time.monotonic(), self._truths[place]
            right = answer.predictions[0]["label"] == truth
            self.asked.append(Asked(answer.revision, now_s - sent_s, right))
            self._known.put((now_s + LABELS_AFTER_S, name, truth))

    def _tell(self) -> None:
        waiting: collections.deque[tuple[float, str, int]] = collections.deque()
        rows: list[dict[str, object]] = []
        while not self._over.wait(_TELL_EVERY_S):
            while not self._known.empty():
                waiting.append(self._known.get())
            while waiting and waiting[0][0] <= time.monotonic():
                _, name, truth = waiting.popleft()
                rows.append({"request_id": name, "outcome": truth})
            with contextlib.suppress(
                TemporaryError
            ):  # whatever became of them, to send them again does no harm
                if rows:
                    self._client.feedback(rows)
                    rows = []


class Arm(NamedTuple):
    """What the callers saw of one revision."""

    revision: int
    answered: int
    right: float
    p99_ms: float


def arm(asked: list[Asked], revision: int) -> Arm:
    """Of the half-hours that a revision answered."""
    own = [one for one in asked if one.revision == revision]
    if not own:
        return Arm(revision, 0, float("nan"), float("nan"))
    p99_s = float(np.quantile([one.took_s for one in own], 0.99))
    return Arm(revision, len(own), sum(one.right for one in own) / len(own), 1000 * p99_s)
