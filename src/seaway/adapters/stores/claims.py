"""One process at a time works with a state store, whichever home it belongs to; used by `sql` alone.

Two control planes on one database would each take the other's endpoints for their own. HOME/lock keeps them apart
only where they share a home.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import sqlalchemy as sa

from seaway.core.errors import TemporaryError, UserError

CLAIM_KEY: Final = 0x5EA_0002
_WAIT_S: Final = 5.0
"""A holder that was killed is gone within moments, and so is a verb that works without a server."""
_POLL_S: Final = 0.1


class Claim(Protocol):
    """The right to work with one store."""

    def take(self) -> None:
        """Blocks some seconds while another process has it. Idempotent. Raises `UserError("already_running")`."""

    def check(self, connection: sa.Connection) -> None:
        """Inside a transaction: raises `TemporaryError("store_unavailable")` where the claim was lost meanwhile.

        A claim that was never taken passes.
        """

    def release(self) -> None:
        """Idempotent."""


class FileClaim:
    """A lock on a file beside the SQLite file, which ends with the process; the SQLite file itself has SQLite's locks."""

    def __init__(self, database: Path) -> None:
        found = database.resolve()
        self._database = found
        self._path = found.with_name(f"{found.name}.lock")
        self._descriptor: int | None = None

    def take(self) -> None:
        """See `Claim`; also raises `OSError`."""
        if self._descriptor is not None:
            return
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _patiently(lambda: _lock(descriptor), str(self._database))
        except UserError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def check(self, connection: sa.Connection) -> None:
        """It cannot be lost."""

    def release(self) -> None:
        """See `Claim`."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class SessionClaim:
    """An advisory lock of a PostgreSQL session that does nothing else.

    Every transaction asks the server whether that session still has it, so what is written after a lost connection
    cannot meet another holder; the next transaction takes it again.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._turn = threading.Lock()
        self._session: sa.Connection | None = None
        self._pid: int | None = None

    def take(self) -> None:
        """See `Claim`; also raises what the database raises, like all methods here."""
        with self._turn:
            if self._session is None:
                _patiently(self._try, f"the database {self._engine.url.database!r}")

    def check(self, connection: sa.Connection) -> None:
        """See `Claim`; takes a lost claim again where nobody else has it."""
        with self._turn:
            if self._pid is None or self._held_on(connection):
                return
            self._drop()
            if not self._try():
                raise TemporaryError(
                    "store_unavailable",
                    "the connection to the state store was lost, and another Seaway uses the store now",
                    "stop the other one",
                )

    def release(self) -> None:
        """See `Claim`."""
        with self._turn:
            self._drop()
            self._pid = None

    def _try(self) -> bool:
        session = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            if not session.execute(sa.select(sa.func.pg_try_advisory_lock(CLAIM_KEY))).scalar():
                session.close()
                return False
            self._pid = session.execute(sa.select(sa.func.pg_backend_pid())).scalar_one()
        except BaseException:
            session.invalidate()
            session.close()
            raise
        self._session = session
        return True

    def _held_on(self, connection: sa.Connection) -> bool:
        # Keys of one 64-bit number lie in two columns, with objsubid 1; databases have locks of their own.
        found = connection.execute(
            sa.text(
                "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = 0 AND objid = :key"
                " AND objsubid = 1 AND granted AND pid = :pid"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            ),
            {"key": CLAIM_KEY, "pid": self._pid},
        )
        return found.scalar() is not None

    def _drop(self) -> None:
        """Give the session up, and with it the lock: it must not go back to the pool."""
        if self._session is not None:
            with contextlib.suppress(sa.exc.DBAPIError):
                self._session.invalidate()
                self._session.close()
            self._session = None


def _patiently(attempt: Callable[[], bool], store: str) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not attempt():
        if time.monotonic() >= deadline:
            raise UserError(
                "already_running",
                f"another Seaway uses this state store: {store}",
                "stop the other one, or give this home a store of its own (the setting `store`)",
            )
        time.sleep(_POLL_S)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
