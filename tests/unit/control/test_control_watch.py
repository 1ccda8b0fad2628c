"""What the supervisor concludes from a heartbeat, an end, and what a process takes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from seaway.control.isolation import Isolation
from seaway.control.watch import LOOK_S, Pulse
from seaway.core.bundles import Digest
from seaway.engine import faults, usage
from seaway.engine.usage import Caps, Usage
from seaway.wire import isolation as wire

A, B = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)


def looks(pulse: Pulse, beats: list[float], running: tuple[Digest, ...] = (), gap_s: float = LOOK_S) -> int:
    """After how many looks the worker is said to hang; 0 where it never is."""
    for number, beat_s in enumerate(beats, 1):
        if pulse.hangs(100.0 + number * gap_s, beat_s, running):
            return number
    return 0


def test_a_beating_worker_never_hangs() -> None:
    assert looks(Pulse(5.0), [float(n) for n in range(1, 100)], (A,)) == 0


def test_silence_for_the_whole_time_is_a_hang() -> None:
    assert looks(Pulse(5.0), [1.0] * 20) == 6


def test_a_worker_that_starts_may_take_any_time_but_one_model_may_not() -> None:
    assert looks(Pulse(5.0), [0.0] * 500) == 0
    assert looks(Pulse(5.0), [0.0] * 500, (A,)) == 61
    pulse = Pulse(5.0)
    assert not any(pulse.hangs(float(n), 0.0, (A,) if n // 50 % 2 else (B,)) for n in range(500))


def test_a_draining_worker_is_let_alone() -> None:
    assert looks(Pulse(5.0), [1.0, *[-1.0] * 100], (A,)) == 0


def test_a_machine_that_stood_still_blames_no_worker() -> None:
    pulse = Pulse(5.0)
    assert not pulse.hangs(100.0, 1.0, ())
    assert not pulse.hangs(5000.0, 1.0, ())
    assert not pulse.hangs(5001.0, 2.0, ())


@pytest.mark.parametrize(
    ("code", "own"),
    [
        (-signal.SIGSEGV, True),
        (-signal.SIGABRT, True),
        (-signal.SIGBUS, True),
        (-signal.SIGILL, True),
        (-signal.SIGFPE, True),
        (-signal.SIGTRAP, True),
        (0, True),
        (1, True),
        (-signal.SIGKILL, False),
        (-signal.SIGTERM, False),
        (-signal.SIGHUP, False),
    ],
)
def test_f01_who_ended_a_worker(code: int, own: bool) -> None:
    assert faults.is_own_fault(code) is own


def test_f02_the_list_of_isolated_models_grows_and_outlives_the_supervisor(tmp_path: Path) -> None:
    listed = Isolation(tmp_path)
    listed.add([A], 1000.0)
    listed.write()
    listed = Isolation(tmp_path)
    listed.add([A, B], 2000.0)
    listed.write()
    found = wire.read(tmp_path / wire.FILE).models
    assert found == {A: wire.Isolated(2, 2000.0, alone=1), B: wire.Isolated(1, 2000.0, alone=0)}


def test_a_list_of_an_earlier_version_names_suspects(tmp_path: Path) -> None:
    (tmp_path / wire.FILE).write_text(f'{{"models": {{"{A}": {{"crashes": 3, "last_at_s": 9.5}}}}}}')
    assert wire.read(tmp_path / wire.FILE).models == {A: wire.Isolated(3, 9.5, alone=0)}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"models": 7}', b"\xff"])
def test_a_damaged_list_counts_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / wire.FILE).write_bytes(content)
    assert wire.read(tmp_path / wire.FILE).models == {}
    listed = Isolation(tmp_path)
    listed.add([A], 1.0)
    listed.write()
    assert set(wire.read(tmp_path / wire.FILE).models) == {A}


def test_f04_what_a_process_takes_is_what_it_holds() -> None:
    before = usage.usage(os.getpid())
    assert before is not None
    kept = [os.dup(0) for _ in range(20)]
    block = bytearray(b"x" * (64 << 20))
    after = usage.usage(os.getpid())
    assert after is not None
    assert after.descriptors == before.descriptors + 20
    assert after.memory_bytes - before.memory_bytes > 60 << 20
    for descriptor in kept:
        os.close(descriptor)
    assert len(block) == 64 << 20


def test_f04_no_process_no_usage() -> None:
    assert usage.usage(2**22 + 1) is None


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Usage(100, 10, 10), None),
        (Usage(101 << 20, 10, 10), "101 MiB of memory"),
        (Usage(100, 11, 10), "11 open files"),
        (Usage(100, 10, 11), "11 threads"),
    ],
)
def test_f04_caps(found: Usage, words: str | None) -> None:
    said = usage.excess(found, Caps(100 << 20, 10, 10))
    assert said is None if words is None else words in (said or "")


def test_the_machines_memory_is_at_most_what_the_kernel_says() -> None:
    assert 0 < usage.machine_bytes() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_f04_what_a_process_needs_from_its_start_is_no_leak_and_what_it_grows_by_is() -> None:
    allowed = Caps(100 << 20, 10, 10)
    small, large = usage.Usage(50 << 20, 1, 1), usage.Usage(400 << 20, 1, 1)
    assert usage.roomy(allowed, small) == allowed
    room = usage.roomy(allowed, large)
    assert usage.excess(large, room) is None
    assert usage.excess(usage.Usage(600 << 20, 1, 1), room) is not None
    assert (room.descriptors, room.threads) == (10, 10)
