"""kill -9 while packaging: every acknowledged version is there and whole, and nothing is half visible."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from seaway.bundle.store import BundleStore
from seaway.core.bundles import ModelRef
from seaway.testing.clock import VirtualClock

WRITER = Path(__file__).with_name("bundle_writer.py")
KILLS = 10


@pytest.mark.slow
def test_s01_p20_killed_writers_leave_a_verifying_store(tmp_path: Path) -> None:
    store = BundleStore(tmp_path / "models", tmp_path / "opened", VirtualClock())
    acknowledged: dict[int, str] = {}
    for kill in range(KILLS):
        command = [sys.executable, str(WRITER), str(tmp_path), str(kill * 1000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline()]  # it is in the middle of the next version from here on
            timer = threading.Timer(0.003 * kill, writer.kill)
            timer.start()
            lines += list(writer.stdout)
            timer.join()
        for line in lines:
            if line.endswith("\n"):
                number, digest = line.split()
                acknowledged[int(number)] = digest
        assert store.verify() == []
    versions = store.versions("crash")
    assert [v.number for v in versions] == list(range(1, len(versions) + 1))
    assert len(acknowledged) >= KILLS
    for number, digest in acknowledged.items():
        assert versions[number - 1].digest == digest
        store.open(store.resolve(ModelRef("crash", number)))
        assert len(store.attachments(versions[number - 1], "parity")) == 1


@pytest.mark.slow
def test_p19_processes_that_package_at_once_never_share_a_number(tmp_path: Path) -> None:
    store = BundleStore(tmp_path / "models", tmp_path / "opened", VirtualClock())
    commands = [[sys.executable, str(WRITER), str(tmp_path), str(first)] for first in (0, 1000)]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    lines: list[str] = []
    for writer in writers:
        assert writer.stdout is not None
        lines += [writer.stdout.readline() for _ in range(5)]
    for writer in writers:
        writer.kill()
        writer.communicate()
    numbers = [int(line.split()[0]) for line in lines]
    assert len(set(numbers)) == 10
    assert store.verify() == []
