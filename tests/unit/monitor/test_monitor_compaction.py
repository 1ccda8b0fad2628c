"""Merging of old windows: minutes, hours, days; killed anywhere it neither counts twice nor loses."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

from seaway.core import summaries
from seaway.core.profiles import NumericSummary
from seaway.core.summaries import ColumnSummary, Summary
from seaway.monitor.summaries import compaction, windows
from seaway.monitor.summaries.windows import Window

DIGEST = "sha256:" + "0" * 64
DAY_S = 1_800_057_600  # begins a day in UTC
HOUR_S = 3600


class Killed(BaseException):
    """The process ends here."""


def where(root: Path) -> Path:
    return windows.directory(root, "prices", 1, DIGEST)


def window(start_s: int, rows: int) -> Window:
    numeric = NumericSummary(count=rows, zero=rows, low=0.0, high=0.0)
    summary = Summary(rows, {"x": ColumnSummary(numeric=numeric)})
    return Window("prices", 1, DIGEST, "prices:v1", start_s, 60, rows, rows, rows, 0.5, summary)


def put(root: Path, start_s: int, writer: str = "0-7", rows: int = 1) -> None:
    directory = where(root)
    directory.mkdir(parents=True, exist_ok=True)
    windows.write(directory / windows.minute_name(start_s, writer, 0), window(start_s, rows), durable=False)


def seen(root: Path) -> int:
    found = windows.read(root, "prices", 1, 0, 4e9)
    return 0 if found is None else found.window.seen


def kinds(root: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for file in windows.files(where(root)):
        found[file.kind] = found.get(file.kind, 0) + 1
    return found


def test_minutes_become_hours_become_days_and_go(tmp_path: Path) -> None:
    for minute in range(0, 180, 10):
        put(tmp_path, DAY_S + minute * 60)
        put(tmp_path, DAY_S + minute * 60, "1-8")
    due = DAY_S + HOUR_S + compaction.MINUTES_KEPT_S
    assert compaction.compact(tmp_path, due - 1) == compaction.Compacted()
    assert compaction.compact(tmp_path, due) == compaction.Compacted(1, 12)
    assert (kinds(tmp_path), seen(tmp_path)) == ({"minute": 24, "hour": 1}, 36)
    compaction.compact(tmp_path, due + 2 * HOUR_S)
    assert (kinds(tmp_path), seen(tmp_path)) == ({"hour": 3}, 36)
    compaction.compact(tmp_path, DAY_S + 86_400 + compaction.HOURS_KEPT_S)
    assert (kinds(tmp_path), seen(tmp_path)) == ({"day": 1}, 36)
    total = windows.read(tmp_path, "prices", 1, DAY_S, DAY_S + 1)
    assert total is not None and (total.window.start_s, total.end_s) == (DAY_S, DAY_S + 86_400)
    one = summaries.merge([window(0, 1).summary] * 36)
    assert summaries.encode(total.window.summary) == summaries.encode(one)
    compaction.compact(tmp_path, DAY_S + 86_400 + compaction.DAYS_KEPT_S)
    assert seen(tmp_path) == 0 and not where(tmp_path).exists()


def test_minutes_that_come_late_are_added(tmp_path: Path) -> None:
    put(tmp_path, DAY_S)
    late = DAY_S + 86_400 + compaction.HOURS_KEPT_S
    for number, now_s in enumerate((DAY_S + 4 * HOUR_S, DAY_S + 5 * HOUR_S, late, late, late)):
        compaction.compact(tmp_path, now_s)
        put(tmp_path, DAY_S, f"9-{number}")
        assert seen(tmp_path) == number + 2
    compaction.compact(tmp_path, late)
    assert (kinds(tmp_path), seen(tmp_path)) == ({"day": 1}, 6)


def test_killed_at_any_step_it_counts_each_window_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, stop_at, armed = 0, 0, False

    def step() -> None:
        nonlocal steps
        steps += armed
        if armed and steps == stop_at:
            raise Killed

    real_replace, real_unlink, real_fsync = Path.replace, Path.unlink, os.fsync

    def replace(self: Path, target: Path) -> Path:
        step()
        found = real_replace(self, target)
        step()
        return found

    def unlink(self: Path, missing_ok: bool = False) -> None:
        step()
        real_unlink(self, missing_ok)

    def fsync(descriptor: int) -> None:
        step()
        real_fsync(descriptor)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(Path, "unlink", unlink)
    monkeypatch.setattr(os, "fsync", fsync)
    for stop_at_next in range(1, 400):
        root = tmp_path / str(stop_at_next)
        for minute in range(4):
            put(root, DAY_S + minute * 60)
            put(root, DAY_S + HOUR_S + minute * 60)
        steps, stop_at = 0, stop_at_next
        killed = False
        for now_s in (DAY_S + 6 * HOUR_S, DAY_S + 86_400 + compaction.HOURS_KEPT_S):
            try:
                armed = True
                compaction.compact(root, now_s)
            except Killed:
                killed = True
            armed = False
            assert seen(root) == 8, stop_at_next
            put(root, DAY_S + 30, f"5-{now_s}")  # late
            assert seen(root) == 9, stop_at_next
            windows.remove(where(root), [windows.minute_name(DAY_S + 30, f"5-{now_s}", 0)])
        compaction.compact(root, DAY_S + 86_400 + compaction.HOURS_KEPT_S)
        assert (seen(root), kinds(root)) == (8, {"day": 1}), stop_at_next
        if not killed:
            break
    assert stop_at_next > 15, "every step was tried"


def test_a_part_that_cannot_be_removed_is_not_counted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, DAY_S)
    real, stuck = Path.unlink, windows.minute_name(DAY_S, "0-7", 0)

    def unlink(self: Path, missing_ok: bool = False) -> None:
        if self.name == stuck:
            raise PermissionError(self.name)
        real(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    for now_s in (DAY_S + 6 * HOUR_S, DAY_S + 9 * 86_400, DAY_S + 10 * 86_400):
        compaction.compact(tmp_path, now_s)
        assert seen(tmp_path) == 1
    assert kinds(tmp_path) == {"minute": 1, "day": 1}


def test_random_damage_to_any_file_is_never_fatal_and_never_counts_twice(tmp_path: Path) -> None:
    chance = random.Random(8)
    for turn in range(25):
        root = tmp_path / str(turn)
        for minute in range(0, 240, 20):
            put(root, DAY_S + minute * 60)
        now_s = DAY_S + HOUR_S
        for _ in range(6):
            now_s += chance.choice([HOUR_S, 3 * HOUR_S, 4 * 86_400])
            names = [file.name for file in windows.files(where(root))]
            if names and chance.random() < 0.5:
                path = where(root) / chance.choice(names)
                path.write_bytes(path.read_bytes()[: chance.randint(0, path.stat().st_size)])
            compaction.compact(root, now_s)
            assert seen(root) <= 12


def test_a_reader_beside_the_merging_sees_every_window_once(tmp_path: Path) -> None:
    for hour in range(30):
        for minute in range(6):
            put(tmp_path, DAY_S + hour * HOUR_S + minute * 60)
    wrong: list[int] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            found = seen(tmp_path)
            if found != 180:
                wrong.append(found)

    reader = threading.Thread(target=look)
    reader.start()
    for hour in range(34):
        compaction.compact(tmp_path, DAY_S + hour * HOUR_S)
    done.set()
    reader.join()
    assert not wrong and kinds(tmp_path) == {"hour": 30}


def test_what_a_killed_writer_left_goes(tmp_path: Path) -> None:
    put(tmp_path, DAY_S)
    left = where(tmp_path) / f"{windows.TEMPORARY}minute-1-0-7-0.sum"
    left.write_bytes(b"half")
    os.utime(left, (DAY_S, DAY_S))
    compaction.compact(tmp_path, DAY_S + 60)
    assert left.exists()
    compaction.compact(tmp_path, DAY_S + HOUR_S)
    assert not left.exists() and seen(tmp_path) == 1


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    put(tmp_path, DAY_S)
    other = where(tmp_path) / "README"
    other.write_text("mine")
    (tmp_path / "prices" / windows.DIRECTORY / "notes").mkdir()
    compaction.compact(tmp_path, DAY_S + 900 * 86_400)
    assert other.exists()
