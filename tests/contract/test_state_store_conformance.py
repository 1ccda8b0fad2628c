"""One suite on the fake, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from seaway.adapters.stores import claims, sql
from seaway.core.errors import SeawayError, TemporaryError
from seaway.core.ports import Change, StateStore
from seaway.testing.state_store import CASES, MemoryStateStore, make_event


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A private cluster on a Unix socket, run as the user `postgres`; its directory is its address."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.fail("PostgreSQL is not installed: `make test-all` needs the package postgresql")
    binaries = found[-1].parent
    directory = Path(tempfile.mkdtemp(prefix="seaway-pg-"))
    account: dict[str, str] = {}
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(directory, owner.pw_uid, owner.pw_gid)
        account = {"user": "postgres"}
    data = directory / "data"
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "seaway", "-A", "trust", "--no-sync"],
        check=True,
        capture_output=True,
        cwd="/",
        **account,
    )
    server = subprocess.Popen(
        [binaries / "postgres", "-D", data, "-k", directory, "-c", "listen_addresses=", "-c", "fsync=off"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        **account,
    )
    try:
        for _ in range(1200):
            try:
                psycopg.connect(f"host={directory} user=seaway dbname=postgres", connect_timeout=60).close()
                break
            except psycopg.OperationalError:
                if server.poll() is not None:
                    pytest.fail("PostgreSQL did not start")
                subprocess.run(["sleep", "0.1"], check=True)
        yield str(directory)
    finally:
        server.terminate()
        server.wait(60)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def memory() -> StateStore:
    return MemoryStateStore()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[StateStore]:
    store = sql.open_store(f"sqlite:///{tmp_path}/state.db")
    yield store
    store.close()


@pytest.fixture
def postgresql(postgres: str, request: pytest.FixtureRequest) -> Iterator[StateStore]:
    name = f"t{abs(hash(request.node.nodeid))}"
    with psycopg.connect(f"host={postgres} user=seaway dbname=postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    store = sql.open_store(f"postgresql://seaway@/{name}?host={postgres}")
    yield store
    store.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
@pytest.mark.parametrize("kind", ["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.outside)])
def test_state_store(kind: str, case: Callable[[StateStore], None], request: pytest.FixtureRequest) -> None:
    store: StateStore = request.getfixturevalue(kind)
    case(store)


@pytest.mark.outside
def test_a_database_has_one_claimer_and_a_lost_claim_stops_its_holder(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_WAIT_S", 0.2)
    with psycopg.connect(f"host={postgres} user=seaway dbname=postgres", autocommit=True) as admin:
        admin.execute("CREATE DATABASE claimed")
    url = f"postgresql://seaway@/claimed?host={postgres}"
    first, second = sql.open_store(url), sql.open_store(url)
    first.claim()
    with pytest.raises(SeawayError) as caught:
        second.claim()
    assert caught.value.code == "already_running"
    assert "'claimed'" in caught.value.message

    _end_claims(postgres)
    first.apply(Change((make_event(),)))  # nobody else came: it is taken again
    with pytest.raises(SeawayError):
        second.claim()

    _end_claims(postgres)
    second.claim()
    for call in (first.states, lambda: first.apply(Change((make_event(),)))):
        with pytest.raises(TemporaryError) as lost:
            call()
        assert lost.value.code == "store_unavailable"
    assert second.last_seq() == 1
    second.close()
    assert first.states() == ()
    first.close()


def _end_claims(postgres: str) -> None:
    """End the sessions that hold a claim, as a lost connection would."""
    with psycopg.connect(f"host={postgres} user=seaway dbname=postgres", autocommit=True) as admin:
        query = (
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s"
        )
        assert admin.execute(query, (claims.CLAIM_KEY,)).fetchall() == [(True,)]
