"""How a verb finds the control plane while a server starts, or another verb holds the home."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from seaway import settings, sockets
from seaway.control import locks, supervisor
from seaway.core.errors import TemporaryError, UserError
from seaway.wiring import control_access, local_control
from seaway.wiring.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(settings.load(tmp_path / "home"))


@pytest.fixture
def locked(home: Home) -> Iterator[contextlib.ExitStack]:
    """The home's lock is held, as by a control process, until the stack is closed."""
    with contextlib.ExitStack() as held:
        held.enter_context(locks.hold(home.directory / "lock", 0.0))
        yield held


def test_a_server_that_is_starting_is_found_when_its_socket_opens(
    home: Home, locked: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Event()
    original = local_control.open_local

    def open_local(where: Home, wait_s: float) -> contextlib.AbstractContextManager[object]:
        if not tried.is_set():
            tried.set()
            locked.enter_context(contextlib.closing(sockets.listen_unix(home.paths.control_socket)))
        return original(where, wait_s)

    monkeypatch.setattr(local_control, "open_local", open_local)
    with control_access.open_control(home) as control:
        assert tried.is_set() and not isinstance(control, local_control.LocalControl)


def test_another_verb_is_waited_for(
    home: Home, locked: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = local_control.open_local
    waits: list[float] = []

    def open_local(where: Home, wait_s: float) -> contextlib.AbstractContextManager[object]:
        waits.append(wait_s)
        if len(waits) == 2:
            locked.close()
        return original(where, wait_s)

    monkeypatch.setattr(local_control, "open_local", open_local)
    with control_access.open_control(home) as control:
        assert isinstance(control, local_control.LocalControl) and len(waits) == 2


@pytest.mark.usefixtures("locked")
def test_a_home_that_is_kept_is_refused_after_the_wait(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_access, "_WAIT_S", 0.2)
    with pytest.raises(UserError) as caught, control_access.open_control(home):
        pass
    assert caught.value.code == "already_running"


@pytest.mark.parametrize("wait_s", [0.2, 60.0], ids=["a young server is waited for", "an old one is not"])
def test_a_server_whose_socket_was_removed_is_named(
    home: Home, locked: contextlib.ExitStack, wait_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_access, "_WAIT_S", wait_s)
    started_at_s = home.clock.now_s() - (0.0 if wait_s < 1 else 2 * wait_s)
    record = supervisor.Record(41, started_at_s, "127.0.0.1:8080", (42,), os.getpid())
    home.paths.run.mkdir()
    (home.paths.run / supervisor.RECORD).write_bytes(msgspec.json.encode(record))
    with pytest.raises(TemporaryError) as caught, control_access.open_control(home):
        pass
    assert caught.value.code == "control_unavailable"
    assert "the server runs (process 41)" in caught.value.message
    assert "control.sock is gone" in caught.value.message
    assert f"kill {os.getpid()}" in str(caught.value.hint)


@pytest.mark.usefixtures("locked")
def test_a_record_that_another_server_left_is_not_taken_for_the_one_that_runs(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_access, "_WAIT_S", 0.2)
    record = supervisor.Record(41, 0.0, "127.0.0.1:8080", (42,), os.getpid() + 1)
    home.paths.run.mkdir()
    (home.paths.run / supervisor.RECORD).write_bytes(msgspec.json.encode(record))
    with pytest.raises(UserError) as caught, control_access.open_control(home):
        pass
    assert caught.value.code == "already_running"
