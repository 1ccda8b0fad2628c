"""The two doors of the control API, and what each asks of a caller before any route is looked at.

The Unix socket trusts the kernel's word for who connects. The TCP door asks for the bearer token, and refuses what
only a browser led by a foreign page would send (see the attacks on Ray, CVE-2025-62593, and on Ollama).
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final, Protocol

from starlette.requests import Request

from seaway import sockets
from seaway.control import peers
from seaway.control.auth import Principal, Role
from seaway.core.errors import UserError

_FORMS: Final = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data")
_CHANGING: Final = ("PUT", "POST", "DELETE", "PATCH")


class Door(Protocol):
    """Where a request came in."""

    def admit(self, request: Request) -> None:
        """Raises `UserError` (`cross_origin`, `unsupported_media_type`) for what no honest client sends."""

    def principal(self, request: Request) -> Principal:
        """Who calls. Raises `UserError("unauthenticated")`."""


class SocketDoor:
    """HOME/control.sock, opened by the user `owner`."""

    def __init__(self, owner: int) -> None:
        self._owner = owner

    def admit(self, request: Request) -> None:
        _refuse_forms(request)
        if "origin" in request.headers:
            raise _cross_origin("a web page cannot be at the other end of this socket")

    def principal(self, request: Request) -> Principal:
        if request.client is None:
            raise UserError("unauthenticated", "the connection does not say who is at its other end")
        return peers.principal_of(int(request.client.host), self._owner)


class TcpDoor:
    """HOST:PORT with a bearer token; callers must know the address by the host's own name."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self._token = token.encode()
        names = {host, "localhost", "127.0.0.1", "::1"} if sockets.is_loopback(host) else {host}
        shown = {f"[{name}]" if ":" in name else name for name in names}
        self._hosts = frozenset({f"{name}:{port}" for name in shown} | (shown if port == 80 else set()))
        self._any_host = host in ("0.0.0.0", "::")  # reached under any name: then the token alone protects

    def admit(self, request: Request) -> None:
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or not (self._any_host or hosts[0].lower() in self._hosts):
            raise _cross_origin(f"this server is not known as {', '.join(hosts)[:100] or 'nothing'}")
        origin = request.headers.get("origin")
        if origin is not None and origin.removeprefix("http://").lower() != hosts[0].lower():
            raise _cross_origin(f"pages of {origin[:100]} may not call this server")
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise _cross_origin("another site's page may not call this server")
        _refuse_forms(request)

    def principal(self, request: Request) -> Principal:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
            raise UserError(
                "unauthenticated",
                "the call carries no valid token",
                "send: Authorization: Bearer <HOME/token>",
            )
        return Principal("token", Role.OWNER)


def _refuse_forms(request: Request) -> None:
    """A page may send these without asking the server first, so nothing here takes them."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method in _CHANGING and media in _FORMS:
        raise _cross_origin(f"{media} is what forms of web pages send")


def _cross_origin(why: str) -> UserError:
    return UserError("cross_origin", f"refused: {why}", "call it from a program, as application/json")


def read_token(path: Path) -> str:
    """The token at `path`, made (mode 0600) if it is not there. Raises `UserError("invalid_config")` where others can read it."""
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
    if path.stat().st_mode & 0o077:
        raise UserError("invalid_config", f"{path} can be read by others", f"rm {path}: a new one is made")
    token = path.read_text("ascii").strip()
    if len(token) < 32:
        raise UserError("invalid_config", f"{path} holds no token", f"rm {path}: a new one is made")
    return token
