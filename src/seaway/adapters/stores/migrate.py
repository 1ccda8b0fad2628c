"""Brings a state store's schema up to date when it is opened; called by `sql` alone."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from seaway.core.errors import PermanentError

MIGRATIONS: Final = Path(__file__).parent / "migrations"
LOCK_KEY: Final = 0x5EA_0001
_VERSION_TABLE: Final = "seaway_schema"


def migrate(engine: sa.Engine) -> None:
    """Apply what is missing, in one transaction; a SQLite file is copied beside itself first.

    Raises `PermanentError("store_too_new")` where a newer Seaway wrote the schema; nothing is changed then.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK_KEY)))
        context = MigrationContext.configure(connection, opts={"version_table": _VERSION_TABLE})
        current = context.get_current_revision()
        if current is not None and current not in known:
            raise PermanentError(
                "store_too_new",
                f"the state store has schema {current}, and this Seaway knows up to {scripts.get_current_head()}",
                "install the Seaway that wrote it or a newer one; nothing was changed",
            )
        if current == scripts.get_current_head():
            return
        if current is not None and connection.dialect.name == "sqlite":
            _back_up(engine, current)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _back_up(engine: sa.Engine, current: str) -> None:
    """A whole copy of the SQLite file, `state.db.before-<schema>`; written aside and renamed, so never half there."""
    path = Path(str(engine.url.database))
    part = path.with_name(f"{path.name}.before-{current}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    with _sqlite(path) as source, _sqlite(part) as copy:
        source.backup(copy)
    part.rename(path.with_name(f"{path.name}.before-{current}"))


@contextlib.contextmanager
def _sqlite(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path)
    try:
        yield connection
    finally:
        connection.close()
