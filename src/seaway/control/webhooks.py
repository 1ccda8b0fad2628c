"""Posts each new event of deploys and rollouts to the receivers that the settings name: at least once, in order, signed.

Run by the control process, a task for each receiver: one that is dead holds up nobody else. The number of the last event
that a receiver took is kept on disk, so that a restart goes on behind it. A new receiver gets what happens from then on.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import logging
import os
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from seaway.bundle import blobs
from seaway.control.bell import Bell
from seaway.control.views import WebhookStatus
from seaway.core.errors import UserError
from seaway.core.events import Event, EventKind
from seaway.core.ports import Clock, StateStore

TIMEOUT_S: Final = 10.0
"""For one event, from the name's resolution to the head of the answer."""
_PAUSES_S: Final = (0.2, 1.0, 5.0, 15.0, 60.0)
_IDLE_S: Final = 5.0
_PAGE: Final = 1000
_UNSENT: Final = frozenset({EventKind.ACTION_REFUSED, EventKind.DATA_ERASED})
"""They are of no deploy and no rollout."""
_log = logging.getLogger(__name__)


class Receiver(msgspec.Struct, frozen=True):
    """Where events go. `name` is what may be shown: what follows the host may be a secret."""

    url: str
    name: str
    host: str
    port: int
    target: str
    secure: bool


def receivers(text: str) -> tuple[Receiver, ...]:
    """The receivers of a setting: http or https URLs, with commas between them. Raises `UserError("invalid_config")`."""
    found = dict.fromkeys(url for url in (part.strip() for part in text.split(",")) if url)
    return tuple(_receiver(url) for url in found)


class Webhooks:
    """Delivers until cancelled. Lives on one event loop."""

    def __init__(
        self,
        found: Sequence[Receiver],
        secret: str | None,
        store: StateStore,
        directory: Path,
        clock: Clock,
        bell: Bell,
    ) -> None:
        """`directory` holds the cursors; without a `secret` nothing is signed."""
        self._directory = directory
        self._couriers = [_Courier(one, secret, store, directory, clock, bell) for one in found]

    @property
    def status(self) -> tuple[WebhookStatus, ...]:
        """How each receiver fares."""
        return tuple(courier.status for courier in self._couriers)

    async def run(self) -> None:
        """Until cancelled; the cursors of receivers that are not set any more are forgotten first."""
        await asyncio.to_thread(self._forget)
        async with asyncio.TaskGroup() as group:
            for courier in self._couriers:
                group.create_task(courier.run())
            await asyncio.Event().wait()

    def _forget(self) -> None:
        known = {courier.path for courier in self._couriers}
        for path in self._directory.glob("*.json"):
            if path not in known:
                path.unlink(missing_ok=True)


class _Cursor(msgspec.Struct, frozen=True):
    delivered: int


class _Courier:
    """Brings events to one receiver, one after the other."""

    def __init__(
        self,
        receiver: Receiver,
        secret: str | None,
        store: StateStore,
        directory: Path,
        clock: Clock,
        bell: Bell,
    ) -> None:
        self._receiver = receiver
        self._secret = None if secret is None else secret.encode()
        self._store = store
        self._clock = clock
        self._bell = bell
        self._context = ssl.create_default_context() if receiver.secure else None
        self._unkept: str | None = None
        self.path = directory / f"{hashlib.sha256(receiver.url.encode()).hexdigest()[:16]}.json"
        self.status = WebhookStatus(receiver.name, 0)

    async def run(self) -> None:
        failures = 0
        cursor: int | None = None
        while True:
            rings = self._bell.rings
            try:
                if cursor is None:
                    cursor = await asyncio.to_thread(self._begin)
                page = await asyncio.to_thread(self._store.events, after=cursor, limit=_PAGE)
                self._tell(cursor, page)
                for event in page:
                    if event.kind not in _UNSENT:
                        await self._deliver(event)
                    cursor, failures = event.seq, 0
                    await asyncio.to_thread(self._keep, cursor)
                    self._tell(cursor, page)
            except Exception as error:  # noqa: BLE001 - one receiver's edge: the others, and the control plane, go on
                self._failed(error)
                await asyncio.sleep(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)])
                failures += 1
            else:
                if not page:
                    await self._bell.wait(rings, _IDLE_S)

    def _tell(self, cursor: int, page: Sequence[Event]) -> None:
        waiting = sum(event.seq > cursor and event.kind not in _UNSENT for event in page)
        delivering = self.status.fault is None or not page or cursor > self.status.delivered
        self.status = msgspec.structs.replace(
            self.status,
            delivered=cursor,
            waiting=waiting,
            failing_since_s=None if delivering else self.status.failing_since_s,
            fault=None if delivering else self.status.fault,
        )

    def _failed(self, error: Exception) -> None:
        fault = _said(error)
        since_s = self.status.failing_since_s
        if since_s is None:
            since_s = self._clock.now_s()
            _log.warning("webhook %s takes no events: %s", self._receiver.name, fault)
        self.status = msgspec.structs.replace(self.status, failing_since_s=since_s, fault=fault)

    def _begin(self) -> int:
        """The last event that was delivered; for a new receiver (and a store that began anew) the newest there is."""
        last = self._store.last_seq()
        try:
            cursor = msgspec.json.decode(self.path.read_bytes(), type=_Cursor).delivered
        except (OSError, msgspec.DecodeError):
            cursor = last
        cursor = min(cursor, last)
        self._keep(cursor)
        return cursor

    def _keep(self, cursor: int) -> None:
        """Where it cannot be kept, events go on to be delivered; a restart then delivers some of them again."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            blobs.replace_file(self.path, msgspec.json.encode(_Cursor(cursor)))
        except OSError as error:
            if self._unkept != str(error):
                _log.warning("how far webhook %s came cannot be kept: %s", self._receiver.name, error)
            self._unkept = str(error)
        else:
            self._unkept = None

    async def _deliver(self, event: Event) -> None:
        """Raises what went wrong; an answer other than 2xx is a `ValueError`."""
        body = msgspec.json.encode(event)
        headers = {
            "host": self._receiver.name.partition("://")[2],
            "user-agent": "seaway",
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
            "seaway-event": str(event.seq),
        }
        if self._secret is not None:
            headers["seaway-signature"] = f"sha256={hmac.new(self._secret, body, hashlib.sha256).hexdigest()}"
        async with asyncio.timeout(TIMEOUT_S):
            status = await self._post(headers, body)
        if 300 <= status < 400:
            raise ValueError(f"it answered {status}, and redirects are not followed")
        if not 200 <= status < 300:
            raise ValueError(f"it answered {status}")

    async def _post(self, headers: dict[str, str], body: bytes) -> int:
        reader, writer = await asyncio.open_connection(
            self._receiver.host, self._receiver.port, ssl=self._context
        )
        try:
            lines = [f"POST {self._receiver.target} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
            writer.write("\r\n".join([*lines, "", ""]).encode("ascii") + body)
            with contextlib.suppress(ConnectionError):  # it may have answered before it read all
                await writer.drain()
            while True:
                status = _status(await reader.readuntil(b"\r\n\r\n"))
                if status >= 200:
                    return status
        finally:
            writer.transport.abort()


def _said(error: Exception) -> str:
    match error:
        case TimeoutError():
            return f"no answer within {TIMEOUT_S:g} s"
        case EOFError():
            return "it closed the connection without an answer"
        case asyncio.LimitOverrunError():
            return "the head of its answer has no end"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message}"
        case ssl.SSLError():
            return f"it does not speak HTTPS: {error.reason}"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
        case OSError(strerror=str(text)):
            return text
        case _:
            return str(error) or type(error).__name__


def _status(head: bytes) -> int:
    version, _, rest = head.partition(b"\r\n")[0].partition(b" ")
    code = rest[:3]
    if not version.startswith(b"HTTP/1.") or not code.isdigit() or len(code) != 3:
        raise ValueError("what it answered is not HTTP")
    return int(code)


def _receiver(url: str) -> Receiver:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    plain = url.isascii() and url.isprintable() and " " not in url
    if not plain or parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
        raise UserError(
            "invalid_config",
            "a webhook is an http or https URL without a user, with %XX for what is not ASCII",
            "SEAWAY_WEBHOOKS=https://example.org/hook,https://example.org/other",
        )
    secure = parts.scheme == "https"
    shown = f"[{host}]" if _is_v6(host) else host
    name = f"{parts.scheme}://{shown}" + (f":{port}" if port is not None else "")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Receiver(url, name, host, port or (443 if secure else 80), target, secure)


def _is_v6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False
