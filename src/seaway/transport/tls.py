"""Certificates from files, taken in again when the files change; used by `server.HttpServer`."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

from seaway.core.errors import SeawayError, UserError

_Seen = tuple[tuple[int, int, int], ...]
_CERTIFICATE: Final = re.compile(rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----")
_KEY: Final = re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----")


class Certificates:
    """A certificate chain and its key, as PEM files. New connections get the pair that was last read whole."""

    def __init__(self, certificate: Path, key: Path, on_broken: Callable[[SeawayError], None]) -> None:
        """Blocking. `on_broken` is called once for each changed pair that cannot be used; the old one stays.

        Raises `UserError("invalid_config")` where the first pair cannot be used.
        """
        self._certificate = certificate
        self._key = key
        self._on_broken = on_broken
        self._seen = self._look()
        self._current = _context(certificate, key)
        self.context = _context(certificate, key)
        """What a listener is given: it hands each handshake to the newest pair."""
        self.context.sni_callback = self._choose

    def refresh(self) -> None:
        """Read the pair again if a file has changed. Blocking, for two `stat` calls as a rule."""
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._current = _context(self._certificate, self._key)
        except UserError as error:
            self._on_broken(error)

    def _choose(
        self, handshake: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        handshake.context = self._current

    def _look(self) -> _Seen:
        seen: list[tuple[int, int, int]] = []
        for path in (self._certificate, self._key):
            try:
                stat = path.stat()
                seen.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
            except OSError:
                seen.append((0, 0, 0))
        return tuple(seen)


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise UserError(
            "invalid_config",
            f"the certificate {certificate.name} and the key {key.name} cannot be used: {_cause(certificate, key, error)}",
            "give a PEM certificate chain and the unencrypted PEM key that belongs to it",
        ) from error
    return context


def _cause(certificate: Path, key: Path, error: Exception) -> str:
    """What is wrong with the pair; OpenSSL says `[SSL] PEM lib` of most of it."""
    for path, kind, label in ((certificate, "certificate", _CERTIFICATE), (key, "private key", _KEY)):
        try:
            data = path.read_bytes()
        except OSError as unread:
            return f"{path} cannot be read: {unread.strerror}"
        if label.search(data) is None:
            return f"{path} is no PEM {kind}"
    reason = error.reason if isinstance(error, ssl.SSLError) else str(error)
    if reason == "KEY_VALUES_MISMATCH":
        return "the key does not belong to the certificate"
    return str(error) if reason is None else reason


def _no_password() -> str:
    """Without this, an encrypted key would ask for its password on the terminal."""
    raise ValueError("the key is encrypted")
