"""The StateStore on SQLite and PostgreSQL, by SQLAlchemy Core; opened by wiring, in one process per home.

SQLite runs with a rollback journal and `synchronous=EXTRA`: an acknowledged change survives a power cut, and the WAL
mode of the SQLite versions in use has a corruption bug. Writers take their turn (SQLite's own lock; an advisory lock
on PostgreSQL), which also keeps the events' numbers without holes.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import exc

from seaway.adapters.stores import claims, migrate, schema
from seaway.core.deployments import DeploymentState, Revision
from seaway.core.errors import PermanentError, SeawayError, TemporaryError, UserError
from seaway.core.events import Event, numbered
from seaway.core.ports import Change, Idempotency

_BUSY_S: Final = 10.0
_CONNECT_S: Final = 5
_DISK_FULL_SQLSTATE: Final = "53100"
_REVISIONS: Final = msgspec.json.Decoder(Revision)
_EVENTS: Final = msgspec.json.Decoder(Event)
_STATES: Final = msgspec.json.Decoder(DeploymentState)
_DAMAGED: Final = ("not a database", "malformed", "disk image")


def open_store(at: str | Path) -> SqlStateStore:
    """The store at a SQLAlchemy URL, such as `postgresql://HOST/NAME`, or in the SQLite file at a path.

    Makes or migrates the schema. Raises `PermanentError("store_too_new")`, `UserError("invalid_config")`, and as the
    port says.
    """
    url = sa.URL.create("sqlite", database=str(at)) if isinstance(at, Path) else _parse(at)
    try:
        engine = _sqlite_engine(url) if url.get_backend_name() == "sqlite" else _postgres_engine(url)
    except (exc.ArgumentError, ValueError, TypeError):
        raise _no_url("the database's driver does not take it") from None  # see _parse
    try:
        with _translated():
            migrate.migrate(engine)
    except SeawayError:
        engine.dispose()
        raise
    claim: claims.Claim = claims.SessionClaim(engine)
    if engine.dialect.name == "sqlite" and url.database:
        claim = claims.FileClaim(Path(url.database))
    return SqlStateStore(engine, claim)


def _parse(text: str) -> sa.URL:
    """A URL with a backend that is known here. No error shows or carries the text: a password may stand in it."""
    try:
        url = sa.make_url(text)
    except (exc.ArgumentError, ValueError):
        raise _no_url("it is not of the form DIALECT://USER:PASSWORD@HOST:PORT/NAME") from None
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise UserError(
            "invalid_config", "a store on this kind of database is not known", "use sqlite or postgresql"
        )
    if url.port is not None and not 0 < url.port < 65_536:
        raise _no_url("its port is not a number from 1 to 65535")
    return url


def _no_url(why: str) -> UserError:
    return UserError(
        "invalid_config",
        f"the setting `store` is no database URL that can be used: {why}",
        "such as postgresql://HOST/NAME; a special character in a password is written as %HH",
    )


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(
        url, connect_args={"timeout": _BUSY_S, "check_same_thread": False}, pool_size=1, max_overflow=0
    )
    if url.database:
        path = Path(url.database)
        with _translated():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where SQLAlchemy says, see _begin
        for pragma in ("journal_mode=DELETE", "synchronous=EXTRA", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # IMMEDIATE takes the write lock at once, so that a read followed by a write cannot meet another writer.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _postgres_engine(url: sa.URL) -> sa.Engine:
    try:
        return sa.create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            connect_args={"connect_timeout": _CONNECT_S, "options": "-c statement_timeout=30000"},
        )
    except ModuleNotFoundError as error:
        raise UserError(
            "missing_extra", "a PostgreSQL store needs psycopg", "pip install 'seaway[postgres]'"
        ) from error


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Every foreign error of the database, in one table."""
    try:
        yield
    except (exc.DBAPIError, exc.TimeoutError, OSError) as error:
        cause = error.orig if isinstance(error, exc.DBAPIError) else error
        text = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        full = getattr(cause, "sqlstate", None) == _DISK_FULL_SQLSTATE or getattr(cause, "errno", None) == 28
        if full or "disk is full" in text:
            raise PermanentError(
                "disk_full", "the state store has no space left", "free some space, then try again"
            ) from error
        if any(sign in text for sign in _DAMAGED):
            raise PermanentError(
                "store_unavailable", f"the state store is damaged: {text}", "restore state.db from a backup"
            ) from error
        raise TemporaryError("store_unavailable", f"the state store does not answer: {text}") from error


class SqlStateStore:
    """See `core.ports.StateStore`."""

    def __init__(self, engine: sa.Engine, claim: claims.Claim) -> None:
        self._engine = engine
        self._claim = claim

    def claim(self) -> None:
        with _translated():
            self._claim.take()

    def states(self) -> tuple[DeploymentState, ...]:
        table = schema.endpoints
        rows = self._read(sa.select(table.c.document).order_by(table.c.endpoint))
        return tuple(sorted((_state(text) for text in rows), key=lambda state: state.endpoint))

    def state(self, endpoint: str) -> DeploymentState | None:
        table = schema.endpoints
        rows = self._read(sa.select(table.c.document).where(table.c.endpoint == endpoint))
        return _state(rows[0]) if rows else None

    def revisions(self, endpoint: str) -> tuple[Revision, ...]:
        table = schema.revisions
        rows = self._read(
            sa.select(table.c.document).where(table.c.endpoint == endpoint).order_by(table.c.number)
        )
        return tuple(_REVISIONS.decode(text) for text in rows)

    def revision(self, endpoint: str, number: int) -> Revision | None:
        table = schema.revisions
        rows = self._read(
            sa.select(table.c.document).where(table.c.endpoint == endpoint, table.c.number == number)
        )
        return _REVISIONS.decode(rows[0]) if rows else None

    def events(self, after: int = 0, endpoint: str | None = None, limit: int = 1000) -> tuple[Event, ...]:
        table = schema.events
        query = sa.select(table.c.document).where(table.c.seq > after).order_by(table.c.seq).limit(limit)
        if endpoint is not None:
            query = query.where(table.c.endpoint == endpoint)
        return tuple(_EVENTS.decode(text) for text in self._read(query))

    def last_seq(self) -> int:
        with self._transaction() as connection:
            return _last_seq(connection)

    def remembered(self, idempotency: Idempotency) -> bytes | None:
        with self._transaction() as connection:
            return _remembered(connection, idempotency)

    def apply(self, change: Change) -> tuple[Event, ...]:
        with self._transaction(migrate.LOCK_KEY) as connection:
            if change.idempotency is not None:
                _remember(connection, change.idempotency, change.result)
            if change.state is not None:
                _compare_and_set(connection, change.state)
            if change.revision is not None:
                revision = change.revision
                connection.execute(
                    sa.insert(schema.revisions).values(
                        endpoint=revision.endpoint,
                        number=revision.number,
                        digest=revision.digest,
                        document=_text(revision),
                    )
                )
            last = _last_seq(connection)
            stored = tuple(numbered(event, last + index) for index, event in enumerate(change.events, 1))
            for event in stored:
                connection.execute(
                    sa.insert(schema.events).values(
                        seq=event.seq, endpoint=event.endpoint, document=_text(event)
                    )
                )
        return stored

    def close(self) -> None:
        self._engine.dispose()
        self._claim.release()

    @contextlib.contextmanager
    def _transaction(self, turn: int | None = None) -> Iterator[sa.Connection]:
        """One transaction under the claim; with a key of `turn`, the only one of its kind at a time."""
        with _translated(), self._engine.begin() as connection:
            if turn is not None and connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(turn)))
            self._claim.check(connection)
            yield connection

    def _read(self, query: sa.Select[str]) -> list[str]:
        with self._transaction() as connection:
            return list(connection.execute(query).scalars())


def _last_seq(connection: sa.Connection) -> int:
    return connection.execute(sa.select(sa.func.max(schema.events.c.seq))).scalar() or 0


def _compare_and_set(connection: sa.Connection, state: DeploymentState) -> None:
    table = schema.endpoints
    values = {"generation": state.generation, "document": _text(state)}
    if state.generation == 1:
        found = connection.execute(
            sa.select(table.c.generation).where(table.c.endpoint == state.endpoint)
        ).scalar()
        if found is None:
            connection.execute(sa.insert(table).values(endpoint=state.endpoint, **values))
            return
    else:
        updated = connection.execute(
            sa.update(table)
            .where(table.c.endpoint == state.endpoint, table.c.generation == state.generation - 1)
            .values(**values)
        )
        if updated.rowcount == 1:
            return
    raise UserError(
        "generation_conflict",
        f"endpoint {state.endpoint!r} was changed by somebody else meanwhile",
        "look at its status, then try again",
    )


def _remembered(connection: sa.Connection, idempotency: Idempotency) -> bytes | None:
    table = schema.idempotency
    row = connection.execute(
        sa.select(table.c.body_hash, table.c.result).where(
            table.c.principal == idempotency.principal, table.c.key == idempotency.key
        )
    ).first()
    if row is None:
        return None
    if row.body_hash != idempotency.body_hash:
        raise UserError(
            "idempotency_conflict",
            "this Idempotency-Key was used with another request",
            "use a new key for a new request",
        )
    return bytes(row.result)


def _remember(connection: sa.Connection, idempotency: Idempotency, result: bytes) -> None:
    if _remembered(connection, idempotency) is not None:
        raise UserError(
            "idempotency_conflict", "a request with this Idempotency-Key was carried out meanwhile"
        )
    connection.execute(
        sa.insert(schema.idempotency).values(
            principal=idempotency.principal,
            key=idempotency.key,
            body_hash=idempotency.body_hash,
            result=result,
        )
    )


def _state(text: str) -> DeploymentState:
    return _STATES.decode(text)


def _text(document: msgspec.Struct) -> str:
    return msgspec.json.encode(document).decode()
