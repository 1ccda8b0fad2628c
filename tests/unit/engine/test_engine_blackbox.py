"""The black box: what its reader finds after whatever its writer did."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from engine_fakes import digest

from seaway.engine import blackbox
from seaway.engine.blackbox import BlackBox, BoxReader


def read(path: Path, pid: int | None = None) -> BoxReader:
    found = blackbox.open_box(path, pid or os.getpid())
    assert found is not None
    return found


def test_what_runs_is_what_has_entered_and_not_left(tmp_path: Path) -> None:
    box = BlackBox(tmp_path / "w.box")
    reader = read(tmp_path / "w.box")
    assert reader.running() == ()
    first, second, again = box.enter(digest("a")), box.enter(digest("b")), box.enter(digest("a"))
    assert set(reader.running()) == {digest("a"), digest("b")}
    box.leave(second)
    box.leave(first)
    assert reader.running() == (digest("a"),)
    box.leave(again)
    assert reader.running() == ()


def test_the_heartbeat_is_seen_at_once(tmp_path: Path) -> None:
    box = BlackBox(tmp_path / "w.box")
    reader = read(tmp_path / "w.box")
    assert reader.beat_s == 0
    box.beat(12.5)
    assert reader.beat_s == 12.5
    box.rest()
    assert reader.beat_s < 0


def test_a_box_of_another_process_is_none(tmp_path: Path) -> None:
    BlackBox(tmp_path / "w.box")
    assert blackbox.open_box(tmp_path / "w.box", os.getpid() + 1) is None
    assert blackbox.open_box(tmp_path / "gone.box", os.getpid()) is None
    (tmp_path / "short.box").write_bytes(b"seawybx1")
    assert blackbox.open_box(tmp_path / "short.box", os.getpid()) is None


def test_a_successors_box_leaves_the_predecessors_readable(tmp_path: Path) -> None:
    old = BlackBox(tmp_path / "w.box")
    old.enter(digest("a"))
    reader = read(tmp_path / "w.box")
    BlackBox(tmp_path / "w.box")
    assert reader.running() == (digest("a"),)
    assert read(tmp_path / "w.box").running() == ()


def test_more_runs_than_places_and_more_models_than_numbers(tmp_path: Path) -> None:
    box = BlackBox(tmp_path / "w.box")
    places = [box.enter(digest("a")) for _ in range(300)]
    assert places.count(-1) == 300 - 256
    for place in places:
        box.leave(place)
    for number in range(1000):
        box.leave(box.enter(blackbox.Digest(f"sha256:{number:064x}")))
    box.enter(blackbox.Digest(f"sha256:{999:064x}"))
    box.enter(blackbox.Digest(f"sha256:{1:064x}"))  # its number was given away long ago
    assert set(read(tmp_path / "w.box").running()) == {f"sha256:{n:064x}" for n in (1, 999)}


def test_many_threads_get_places_of_their_own(tmp_path: Path) -> None:
    box = BlackBox(tmp_path / "w.box")
    seen: list[int] = []

    def work(letter: str) -> None:
        for _ in range(500):
            place = box.enter(digest(letter))
            seen.append(place)
            box.leave(place)

    threads = [threading.Thread(target=work, args=(letter,)) for letter in "abcdef"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert -1 not in seen
    places = [box.enter(digest("a")) for _ in range(256)]
    assert sorted(places) == list(range(256))


def test_it_survives_a_segfault_of_its_writer(tmp_path: Path) -> None:
    code = (
        "import ctypes, pathlib, sys; from seaway.engine.blackbox import BlackBox; "
        "box = BlackBox(pathlib.Path(sys.argv[1])); box.beat(7.0); box.enter('sha256:' + 'a' * 64); "
        "ctypes.string_at(0)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "w.box")])
    assert child.wait(60) == -11
    reader = read(tmp_path / "w.box", child.pid)
    assert (reader.beat_s, reader.running()) == (7.0, (digest("a"),))


def test_f10_a_full_disk_leaves_a_box_that_nobody_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "posix_fallocate", full)
    box = BlackBox(tmp_path / "w.box")
    box.leave(box.enter(digest("a")))
    box.beat(1.0)
    assert list(tmp_path.iterdir()) == []
