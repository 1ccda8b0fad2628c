"""Where a server is and how it is reached: plain or over TLS, and whom to trust; used by `predictions` and the verbs."""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from seaway import settings
from seaway.core.errors import UserError

_EXAMPLE: Final = "such as http://127.0.0.1:8080 or https://models.example:8443"
_PEM_END: Final = "-----END CERTIFICATE-----"


class Address:
    """One server. Connections may be made by any thread; certificates are read once, when the address is made."""

    def __init__(self, host: str, port: int, trust: ssl.SSLContext | None) -> None:
        """`trust` checks the server's certificate; None means plain HTTP."""
        self._host, self._port, self._trust = host, port, trust

    @property
    def url(self) -> str:
        """As `of_url` takes it."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http{'' if self._trust is None else 's'}://{host}:{self._port}"

    def connection(self, timeout_s: float) -> http.client.HTTPConnection:
        """A connection that opens with its first request."""
        if self._trust is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        return http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._trust)


class _ServerRecord(msgspec.Struct):
    http: str
    certificate: str | None = None


def of_url(url: str, ca: str | Path | None = None) -> Address:
    """The server at `http://HOST[:PORT]` or `https://HOST[:PORT]`.

    `ca`: a PEM file of the certificates that are trusted; when omitted, those of the system. Raises `UserError`
    (`invalid_config`, `file_not_found`).
    """
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError as error:
        raise UserError("invalid_config", f"{url!r} is not the address of a server", _EXAMPLE) from error
    if scheme not in ("http", "https") or not host:
        raise UserError("invalid_config", f"{url!r} is not the address of a server", _EXAMPLE)
    if scheme == "https":
        return Address(host, port or 443, _trusting(ca))
    if ca is not None:
        raise UserError("invalid_config", f"{url} is plain HTTP, where a CA has no use", "call https://…")
    return Address(host, port or 80, None)


def of_home(configuration: settings.Configuration, ca: str | Path | None = None) -> Address:
    """The server that runs on a home; the configured address where none does.

    Over TLS, the very certificate that this server shows is trusted, whatever name stands in it; with `ca`, as `of_url`.
    """
    record = server_record(configuration)
    if record.certificate is None or ca is not None:
        return of_url(server_url(configuration), ca)
    parts = urlsplit(f"//{record.http}")
    return Address(parts.hostname or "", parts.port or 443, _pinned(Path(record.certificate)))


def server_url(configuration: settings.Configuration) -> str:
    """The address of a home's server, as a URL; no certificate is read."""
    record = server_record(configuration)
    return f"http{'' if record.certificate is None else 's'}://{record.http}"


def server_record(configuration: settings.Configuration) -> _ServerRecord:
    """What the home's supervisor wrote down, else what it would by the settings."""
    path = settings.HomePaths(configuration.home).run / "supervisor.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=_ServerRecord)
    except (OSError, msgspec.DecodeError):
        return _ServerRecord(configuration.settings.http, configuration.settings.tls_cert)


def _trusting(ca: str | Path | None) -> ssl.SSLContext:
    if ca is None:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=ca)
    except ssl.SSLError as error:
        raise UserError("invalid_config", f"the CA file {ca} holds no PEM certificate", "name one") from error
    except OSError as error:
        raise UserError("file_not_found", f"the CA file {ca} cannot be read: {error.strerror}") from error


def _pinned(chain: Path) -> ssl.SSLContext:
    """Trust in the first certificate of a chain alone: with that, the name that stands in it adds nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it need not be a CA's
    try:
        first = chain.read_text("ascii", "replace").partition(_PEM_END)[0] + _PEM_END + "\n"
        context.load_verify_locations(cadata=first[first.find("-----BEGIN") :])
    except (OSError, ValueError) as error:
        raise UserError(
            "invalid_config",
            f"the server's certificate {chain} cannot be used: {error}",
            "name the server by --url https://HOST:PORT, with --ca FILE",
        ) from error
    return context
