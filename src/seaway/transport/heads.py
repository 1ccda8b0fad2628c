"""The heads of requests and answers: what RFC 9112 asks for beyond what llhttp (httptools) checks by itself.

llhttp refuses bad tokens, control bytes, bare CR and LF, folded lines, Content-Length in any bad form, twice, or next
to Transfer-Encoding, and bad chunks. Here is the rest: versions, Host, the form of the target, transfer codings. It
skips empty lines before a request and runs of spaces within the request line, as RFC 9112 (2.2 and 3) allows.
"""

from __future__ import annotations

import functools
import http
import re
from typing import Final

from seaway.core.errors import UserError

METHODS: Final = {
    method.encode(): method
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE")
}
_KNOWN: Final = """
    accept accept-encoding accept-language authorization connection content-encoding content-length content-type cookie
    expect forwarded host inference-header-content-length origin referer seaway-caller te traceparent tracestate
    transfer-encoding upgrade user-agent x-forwarded-for x-forwarded-proto x-request-id x-user-id
"""
# Lower-case names by the spellings that clients send, so that most names cost one look-up.
NAMES: Final = {
    spelling: name.encode() for name in _KNOWN.split() for spelling in (name.encode(), name.title().encode())
}
FRAMING: Final = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect", b"upgrade"))
STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus
}
BODYLESS: Final = frozenset((204, 304))
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_HOST: Final = re.compile(
    rb"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2}){1,255}(?::[0-9]{0,5})?\Z"
    rb"|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{0,5})?\Z"
)
_ABSOLUTE: Final = re.compile(rb"https?://([^/?]*)(.*)\Z", re.IGNORECASE)


def invalid(found: str) -> UserError:
    """The error for bytes that are no HTTP request; `found` completes a sentence."""
    return UserError(
        "invalid_http", f"the request is not valid HTTP/1.1: {found}", "send it as RFC 9112 says"
    )


@functools.lru_cache(maxsize=256)
def is_host(value: bytes) -> bool:
    """Whether `value` is a host with an optional port (RFC 9112, 3.2); an empty one is not."""
    return _HOST.match(value) is not None


class Framing:
    """What the head says of the body and the connection."""

    __slots__ = ("chunked", "content_length", "expects", "host", "upgrade")

    def __init__(self) -> None:
        self.host: bytes | None = None
        self.content_length = 0
        self.chunked = False
        self.expects: bytes | None = None
        self.upgrade = False


def framing(headers: list[tuple[bytes, bytes]], version: str) -> Framing:
    """Read the fields that frame a request of this HTTP version. Raises `UserError("invalid_http")`."""
    if version != "1.1" and version != "1.0":
        raise invalid(f"its version is {version}, and only 1.1 and 1.0 are spoken here")
    found = Framing()
    for name, value in headers:
        if name not in FRAMING:
            continue
        if name == b"host":
            if found.host is not None:
                raise invalid("it has two Host fields")
            if not is_host(value):
                raise invalid("its Host field is no host name")
            found.host = value
        elif name == b"content-length":
            found.content_length = int(value)
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked" or found.chunked:
                raise invalid("its Transfer-Encoding is not exactly `chunked`")
            if version == "1.0":
                raise invalid("Transfer-Encoding does not exist in HTTP/1.0")
            found.chunked = True
        elif name == b"expect":
            found.expects = value
        else:
            found.upgrade = True
    if found.host is None and version == "1.1":
        raise invalid("it has no Host field")
    return found


def split_target(method: str, target: bytes, host: bytes | None) -> tuple[bytes, bytes]:
    """Path and query of a request target in any of its four forms (RFC 9112, 3.2). Raises `UserError`.

    For CONNECT the path is the authority. An absolute target must name the host that the Host field names.
    """
    if b"#" in target:
        raise invalid("its target has a fragment")
    if method == "CONNECT":
        if not is_host(target):
            raise invalid("the target of CONNECT is not HOST:PORT")
        return target, b""
    if not target.startswith(b"/"):
        if target == b"*" and method == "OPTIONS":
            return target, b""
        match = _ABSOLUTE.match(target)
        if match is None or not is_host(match[1]):
            raise invalid("its target is neither a path nor an http URL")
        if host is not None and match[1].lower() != host.lower():
            raise invalid("its target names another host than its Host field")
        target = match[2] if match[2].startswith(b"/") else b"/" + match[2]
    path, _, query = target.partition(b"?")
    return path, query


def status_line(status: int) -> bytes:
    """The first line of an answer, with its CRLF."""
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
