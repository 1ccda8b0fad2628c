"""The control API as the command line uses it, over HOME/control.sock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

import msgspec

from seaway.client import http as exchange
from seaway.control import views
from seaway.control.rollouts import views as rollouts
from seaway.core.events import Event, LiveAt
from seaway.core.feedback import FeedbackAnswer
from seaway.core.quality import Quality

_TIMEOUT_S = 600.0  # a deploy answers when its gate is done
_WATCH_S = 5.0


class ControlClient:
    """One control process. Every call is an exchange of its own; raises the errors that the API answers."""

    running = True

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def deploy(self, endpoint: str, request: views.DeployRequest) -> views.Accepted:
        return _accepted(self._ask("PUT", _path(endpoint), request))

    def rollback(self, endpoint: str, to: int | None = None, reason: str | None = None) -> views.Accepted:
        return _accepted(self._ask("POST", _path(endpoint, "rollback"), views.RollbackRequest(to, reason)))

    def delete(self, endpoint: str) -> views.Accepted:
        return _accepted(self._ask("DELETE", _path(endpoint)))

    def move(self, endpoint: str, move: rollouts.Move) -> views.Accepted:
        """Do something with the endpoint's rollout."""
        return _accepted(self._ask("POST", _path(endpoint, f"rollout/{rollouts.WORDS[type(move)]}"), move))

    def rollout(self, endpoint: str) -> rollouts.RolloutStatus:
        """The last rollout of an endpoint."""
        found = self._ask("GET", _path(endpoint, "rollout"))
        return msgspec.json.decode(found, type=rollouts.RolloutStatus)

    def rollout_record(self, endpoint: str, number: int) -> rollouts.RolloutRecord:
        """What is kept of the rollout of revision `number`."""
        found = self._ask("GET", _path(endpoint, f"rollouts/{number}"))
        return msgspec.json.decode(found, type=rollouts.RolloutRecord)

    def status(self) -> views.Status:
        return msgspec.json.decode(self._ask("GET", "/status"), type=views.Status)

    def history(self, endpoint: str | None = None) -> tuple[Event, ...]:
        path = "/history" if endpoint is None else _path(endpoint, "history")
        return msgspec.json.decode(self._ask("GET", path), type=tuple[Event, ...])

    def live_at(self, at: str, endpoint: str | None = None) -> tuple[LiveAt, ...]:
        path = "/history" if endpoint is None else _path(endpoint, "history")
        return msgspec.json.decode(
            self._ask("GET", f"{path}?{urlencode({'at': at})}"), type=tuple[LiveAt, ...]
        )

    def seconds(self, endpoint: str, after_s: int = 0) -> views.Seconds:
        """What was answered after this second (since 1970); 0 is all that the workers keep, about 15 minutes."""
        path = f"{_path(endpoint, 'seconds')}?after={after_s}"
        return msgspec.json.decode(self._ask("GET", path, timeout_s=_WATCH_S), type=views.Seconds)

    def feedback(self, body: bytes, content_type: str) -> FeedbackAnswer:
        """Post one body of feedback; it is kept when this returns, and safe to send again."""
        connection = exchange.UnixConnection(self._socket, _TIMEOUT_S)
        try:
            headers = {"content-type": content_type}
            answer = exchange.exchange(connection, "POST", "/feedback", body, headers)
        finally:
            connection.close()
        return msgspec.json.decode(answer.body, type=FeedbackAnswer)

    def erase(self, request: views.EraseRequest) -> views.Erased:
        """Erase a subject; answered when it is done, and safe to ask again."""
        return msgspec.json.decode(self._ask("POST", "/erase", request), type=views.Erased)

    def quality(self, endpoint: str, asked: Mapping[str, str]) -> Quality:
        """The live quality of an endpoint; `asked` holds the route's `since`, `until`, `by`, `revision` and `slice`."""
        path = f"{_path(endpoint, 'quality')}?{urlencode(asked)}"
        return msgspec.json.decode(self._ask("GET", path), type=Quality)

    def follow(self, after: int, beat: Callable[[], None] | None = None) -> Iterator[Event]:
        """Events after this number as they happen; ends when the control process ends. `beat` is called at least each
        15 s; what it raises ends all."""
        connection = exchange.UnixConnection(self._socket, _TIMEOUT_S)
        for data in exchange.events(connection, f"/events?after={after}", beat):
            yield msgspec.json.decode(data, type=Event)

    def _ask(
        self, method: str, path: str, body: msgspec.Struct | None = None, timeout_s: float = _TIMEOUT_S
    ) -> bytes:
        connection = exchange.UnixConnection(self._socket, timeout_s)
        try:
            encoded = None if body is None else msgspec.json.encode(body)
            headers = {"content-type": "application/json"} if encoded else {}
            return exchange.exchange(connection, method, path, encoded, headers).body
        finally:
            connection.close()


def _accepted(body: bytes) -> views.Accepted:
    return msgspec.json.decode(body, type=views.Accepted)


def _path(endpoint: str, rest: str = "") -> str:
    return f"/endpoints/{quote(endpoint, safe='')}" + (f"/{rest}" if rest else "")
