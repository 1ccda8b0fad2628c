"""What is SQLite's own: durability settings, migrations with a backup, errors, and kill -9 of a writer (S01, S06)."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from seaway import settings
from seaway.adapters.stores import claims, migrate, schema, sql
from seaway.core.errors import SeawayError
from seaway.core.ports import Change
from seaway.testing.state_store import make_event, make_revision, make_state
from seaway.wiring import control_parts
from seaway.wiring.home import Home

KILLS = 10
WRITER = """
import sys
from seaway.adapters.stores import sql
from seaway.core.ports import Change
from seaway.testing.state_store import make_event, make_revision, make_state
store = sql.open_store(sys.argv[1])
state = store.state("prices")
number = 0 if state is None else state.generation
while True:
    number += 1
    store.apply(Change((make_event("prices", number),), make_state("prices", number), make_revision("prices", number)))
    print(number, flush=True)
"""


def test_the_schema_is_what_the_migrations_make(tmp_path: Path) -> None:
    sql.open_store(f"sqlite:///{tmp_path}/state.db").close()
    engine = sa.create_engine(f"sqlite:///{tmp_path}/state.db")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "seaway_schema"})
        assert compare_metadata(context, schema.metadata) == []
    engine.dispose()


def test_the_file_is_the_owners_alone_and_durable(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = sql.open_store(f"sqlite:///{path}")
    assert path.stat().st_mode & 0o777 == 0o600
    with store._engine.begin() as connection:
        values = [
            connection.exec_driver_sql(f"PRAGMA {p}").scalar()
            for p in ("journal_mode", "synchronous", "foreign_keys")
        ]
    store.close()
    assert values == ["delete", 3, 1]


def test_s06_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    sql.open_store(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE seaway_schema SET version_num = '9999'")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(SeawayError) as caught:
        sql.open_store(f"sqlite:///{path}")
    assert caught.value.code == "store_too_new"
    assert path.read_bytes() == before


@pytest.mark.parametrize("breaks", [False, True])
def test_s06_a_migration_backs_up_first_and_is_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks: bool
) -> None:
    path = tmp_path / "state.db"
    store = sql.open_store(f"sqlite:///{path}")
    store.apply(Change((make_event(),), make_state(), make_revision()))
    store.close()
    newer = tmp_path / "migrations"
    shutil.copytree(migrate.MIGRATIONS, newer, ignore=shutil.ignore_patterns("__pycache__"))
    (newer / "versions" / "0002_next.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\nrevision, down_revision = '0002', '0001'\n"
        "def upgrade():\n    op.create_table('seaway_next', sa.Column('id', sa.Integer))\n"
        + ("    op.execute('SELECT * FROM nowhere')\n" if breaks else "")
    )
    monkeypatch.setattr(migrate, "MIGRATIONS", newer)
    if breaks:
        with pytest.raises(SeawayError):
            sql.open_store(f"sqlite:///{path}")
        monkeypatch.undo()
    store = sql.open_store(f"sqlite:///{path}")
    assert store.state("prices") == make_state()
    store.close()
    with sqlite3.connect(path) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    assert ("seaway_next" in tables) is not breaks
    backup = sql.open_store(f"sqlite:///{path}.before-0001") if breaks else None
    assert (tmp_path / "state.db.before-0001").exists()
    if backup is not None:
        assert backup.state("prices") == make_state()
        backup.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(SeawayError) as caught:
        sql.open_store(f"sqlite:///{tmp_path}/state.db")
    assert caught.value.code == "store_unavailable"
    assert "damaged" in caught.value.message


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    store = sql.open_store(f"sqlite:///{tmp_path}/state.db")
    with store._engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
    with pytest.raises(SeawayError) as caught:
        for number in range(1, 2000):
            store.apply(Change(tuple(make_event("prices", number) for _ in range(50))))
    store.close()
    assert caught.value.code == "disk_full"


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "mysql://ada:hunter2@h/y",
        "hunter2://h/y",
        "postgresql://ada:hunter2@h:hunter2/db",
        "postgresql://ada:hunter2@h:99999/db",
        "sqlite+hunter2:///x",
        "sqlite://",
    ],
)
def test_an_unknown_store_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(SeawayError) as caught:
        sql.open_store(url)
    assert caught.value.code == "invalid_config"
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in f"{error}{getattr(error, 'hint', '')}"
        error = error.__cause__


@pytest.mark.parametrize("name", ["what?mode=memory", "100%41", "a#b", "ü x"])
def test_a_home_of_any_name_has_its_store_in_it(tmp_path: Path, name: str) -> None:
    home = Home(settings.load(tmp_path / name, {}))
    store = control_parts.open_store(home)
    store.apply(Change((make_event(),)))
    store.close()
    assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["state.db", "state.db.lock"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


CLAIMER = """
import sys
from seaway.adapters.stores import sql
store = sql.open_store(sys.argv[1])
store.claim()
print("mine", flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_a_file_has_one_claimer_under_whatever_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.db").symlink_to("real/state.db")
    other = subprocess.Popen(
        [sys.executable, "-c", CLAIMER, f"sqlite:///{tmp_path}/link.db"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None and other.stdout.readline() == "mine\n"
    home = Home(settings.load(tmp_path / "real", {}))
    monkeypatch.setattr(claims, "_WAIT_S", 0.2)
    with pytest.raises(SeawayError) as caught:
        control_parts.open_store(home)
    assert caught.value.code == "already_running"
    assert "real/state.db" in caught.value.message and "store" in (caught.value.hint or "")
    other.kill()
    other.communicate()
    control_parts.open_store(home).close()  # the claim ended with its process


def test_a_closed_store_lets_the_next_one_in_and_a_reader_needs_no_claim(tmp_path: Path) -> None:
    first, second = (sql.open_store(f"sqlite:///{tmp_path}/state.db") for _ in range(2))
    first.claim()
    first.apply(Change((make_event(),)))
    assert len(second.events()) == 1
    first.close()
    second.claim()
    second.close()


@pytest.mark.slow
def test_s01_kill_9_of_a_writer_loses_nothing_acknowledged(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.db"
    chance = random.Random(7)
    acknowledged = 0
    for _ in range(KILLS):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(chance.randrange(1, 12)):
            acknowledged = int(writer.stdout.readline())
        writer.kill()
        rest = writer.communicate()[0].split()
        acknowledged = max([acknowledged, *map(int, rest)])
        store = sql.open_store(url)
        state = store.state("prices")
        assert state is not None
        assert acknowledged <= state.generation <= acknowledged + 1
        assert len(store.revisions("prices")) == state.generation
        assert [event.seq for event in store.events(limit=10_000)] == list(range(1, state.generation + 1))
        store.close()
