"""Asks a server one question at a time and checks the answer: whether it is ready, and on and on while it is loaded."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator
from typing import Final

from bench import bodies, models, places
from bench.bodies import Form

_PAUSE_S: Final = 0.05


class Probe:
    """Asks for one answer on a connection of its own and says whether it is right; `said` is what came else."""

    def __init__(self, port: int, path: str, model: str, form: Form) -> None:
        self._port, self._path, self._form = port, path, form
        ready = bodies.prepared(model, form)
        self._headers, self._bodies = ready.headers, ready.bodies()
        _, self._expected = models.data(model)
        self._next = 0
        self.said = ""
        self.checked = self.wrong = 0

    def __call__(self) -> bool:
        index = self._next % len(self._bodies)
        self._next += 1
        connection = http.client.HTTPConnection(places.HOST, self._port, timeout=5)
        try:
            connection.request("POST", self._path, self._bodies[index], self._headers)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.said = repr(error)
            return False
        finally:
            connection.close()
        if answer.status != 200:
            self.said = f"{answer.status} {body[:300]!r}"
            return False
        headers = {name.lower(): value for name, value in answer.getheaders()}
        right = bodies.right(self._form, headers, body, self._expected[index])
        self.checked += 1
        if not right:
            self.wrong += 1
            self.said = f"wrong answer to request {index}: {body[:300]!r}"
        return right


@contextlib.contextmanager
def watching(probe: Probe) -> Iterator[None]:
    """Go on asking, a few times a second, in the background."""
    over = threading.Event()

    def ask() -> None:
        while not over.wait(_PAUSE_S):
            probe()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
