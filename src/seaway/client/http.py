"""One HTTP/1.1 exchange over TCP or a Unix socket, with Seaway's error bodies turned back into errors.

Standard library only: the command line must start quickly, and no HTTP library in the base install speaks to Unix
sockets.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec

from seaway import sockets
from seaway.core.errors import CODES, PermanentError, SeawayError, TemporaryError, UserError


class Response(msgspec.Struct, frozen=True):
    """A whole answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = sockets.connect_unix(self._path, self.timeout)


class _ErrorBody(msgspec.Struct):
    error: str
    code: str = "internal"
    hint: str | None = None


_ERRORS: Final = msgspec.json.Decoder(_ErrorBody)


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Send one request and read the whole answer; the connection stays open for the next where the server allows.

    Raises the `SeawayError` that an error body names, `TemporaryError("control_unavailable")` where nobody listens.
    """
    try:
        connection.request(method, path, body=body, headers=dict(headers or {}))
        answer = connection.getresponse()
        response = Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise unreachable(connection, error) from error
    if response.status >= 400:
        raise_error(response)
    return response


def events(
    connection: http.client.HTTPConnection, path: str, beat: Callable[[], None] | None = None
) -> Iterator[bytes]:
    """The `data:` lines of a Server-Sent Events stream, until the server or the caller ends it.

    `beat` is called for each comment, which a server sends where it has no event for a while; what it raises ends all.
    """
    for _, data in server_sent_events(connection, "GET", path, beat=beat):
        yield data


def server_sent_events(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    whole: bool = False,
    beat: Callable[[], None] | None = None,
) -> Iterator[tuple[str, bytes]]:
    """The events of an answer as they come, each its type ("" where it has none) and its data.

    The connection is closed at the end, also where the caller closes the iterator. Raises what `exchange` raises; with
    `whole`, also where the connection ends inside the answer. `beat` is called for each comment.
    """
    try:
        connection.request(
            method, path, body=body, headers={**(headers or {}), "accept": "text/event-stream"}
        )
        answer = connection.getresponse()
        if answer.status >= 400:
            raise_error(
                Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
            )
        kind, data = "", []
        for line in _lines(answer, whole):
            if line.startswith(b"event:"):
                kind = line[6:].strip().decode("utf-8", "replace")
            elif line.startswith(b"data:"):
                data.append(line[5:].strip())
            elif line.startswith(b":"):
                if beat is not None:
                    beat()
            elif not line.strip():
                if data:
                    yield kind, b"\n".join(data)
                kind, data = "", []
    except (OSError, http.client.HTTPException) as error:
        raise unreachable(connection, error) from error
    finally:
        connection.close()


def _lines(answer: http.client.HTTPResponse, whole: bool) -> Iterator[bytes]:
    """The lines of a body as they come. The response's own reading of lines would take a cut body for a whole one."""
    rest = b""
    try:
        while piece := answer.read1():
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines
    except http.client.IncompleteRead:
        if whole:
            raise


def unreachable(connection: http.client.HTTPConnection, error: Exception) -> SeawayError:
    """What to tell of a connection that failed."""
    if isinstance(error, socket.timeout | TimeoutError):
        return TemporaryError("deadline_exceeded", f"no answer within {connection.timeout} s")
    if isinstance(connection, UnixConnection):
        return TemporaryError(
            "control_unavailable", f"the control process does not answer: {error}", "start it: seaway up"
        )
    host = f"[{connection.host}]" if ":" in connection.host else connection.host
    where = f"{host}:{connection.port}"
    if isinstance(error, ssl.SSLError) or _is_alert(error):
        return _misspoken(connection, where, error)
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        secure = isinstance(connection, http.client.HTTPSConnection)
        other = "" if secure else f"; if the server speaks HTTPS, call https://{where}"
        return TemporaryError(
            "control_unavailable", f"{where} closed the connection without an answer", f"try again{other}"
        )
    return TemporaryError(
        "control_unavailable",
        f"no server answers at {where}: {error}",
        "start it: seaway up",
    )


def _is_alert(error: Exception) -> bool:
    """Whether a TLS alert came where the head of an answer was due."""
    return isinstance(error, http.client.BadStatusLine) and str(error).startswith("\x15\x03")


def _misspoken(connection: http.client.HTTPConnection, where: str, error: Exception) -> SeawayError:
    """What to tell of a server that speaks TLS where we do not, or the other way round, or is not trusted."""
    if not isinstance(connection, http.client.HTTPSConnection):
        return UserError("invalid_config", f"the server at {where} speaks HTTPS", f"call https://{where}")
    if isinstance(error, ssl.SSLCertVerificationError):
        return UserError(
            "invalid_config",
            f"the certificate of {where} is not trusted: {error.verify_message}",
            "call the server by the name in its certificate; name the certificates to trust: --ca FILE, or ca= in Python",
        )
    if isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        return UserError("invalid_config", f"the server at {where} speaks plain HTTP", f"call http://{where}")
    return TemporaryError("control_unavailable", f"no TLS with {where}: {error}", "try again")


def raise_error(response: Response) -> NoReturn:
    """The error that an answer's status and body name, in the family that its status belongs to."""
    try:
        body = _ERRORS.decode(response.body)
    except msgspec.DecodeError:
        text = response.body[:200].decode("utf-8", "replace")
        raise PermanentError("internal", f"HTTP {response.status}: {text}") from None
    code = body.code if body.code in CODES else "internal"
    if response.status in (429, 503, 504):
        wait_s = response.headers.get("retry-after", "1")
        raise TemporaryError(
            code, body.error, body.hint, retry_after_s=float(wait_s) if wait_s.isdigit() else 1.0
        )
    family: Any = PermanentError if response.status >= 500 else UserError
    raise family(code, body.error, body.hint)
