"""The thread that writes outcomes: one transaction for all that wait, bounded, and every caller gets an answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from outcome_lookups import Lookup

from seaway.core.errors import PermanentError, TemporaryError
from seaway.core.feedback import Fact
from seaway.core.provenance import Joined
from seaway.monitor.feedback import reading as outcomes_read
from seaway.monitor.feedback import writer as outcomes_writer
from seaway.monitor.feedback.outcomes import OutcomeRules, Outcomes
from seaway.monitor.feedback.writer import OutcomeWriter
from seaway.testing.clock import VirtualClock


def fact(request_id: str) -> Fact:
    return Fact(request_id, 0, "", "1", None, None, None)


class Gated:
    """A lookup that waits until it is let go; counts the transactions that it is asked for."""

    def __init__(self) -> None:
        self.inner, self.open, self.asked = Lookup(), threading.Event(), threading.Event()

    def __call__(self, ids: Sequence[bytes], /) -> Joined:
        self.asked.set()
        assert self.open.wait(60)
        return self.inner(ids)


def test_requests_that_wait_share_one_transaction(tmp_path: Path) -> None:
    gate = Gated()
    writer = OutcomeWriter(Outcomes(tmp_path, gate, OutcomeRules()), VirtualClock())
    first = writer.add([fact("first")])
    assert gate.asked.wait(60)
    waiting = [writer.add([fact(f"r{index}"), fact(f"q{index}")]) for index in range(500)]
    gate.open.set()
    assert first.result(60).accepted == 1
    assert sum(one.result(60).accepted for one in waiting) == 1000
    writer.close()
    assert gate.inner.asked == 2


def test_more_than_may_wait_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes_writer, "_MOST_WAITING", 400)
    gate = Gated()
    writer = OutcomeWriter(Outcomes(tmp_path, gate, OutcomeRules()), VirtualClock())
    many = [fact("the same")] * 100
    held = [writer.add(many) for _ in range(4)]
    with pytest.raises(TemporaryError) as raised:
        writer.add([fact("one more")])
    assert raised.value.code == "overloaded"
    gate.open.set()
    assert [one.result(60).accepted for one in held] == [1, 0, 0, 0]
    assert writer.add([fact("one more")]).result(60).accepted == 1
    writer.close()


def test_an_error_reaches_all_who_wait_and_the_thread_goes_on(tmp_path: Path) -> None:
    rules = OutcomeRules(most_bytes=40 * 4096)
    writer = OutcomeWriter(Outcomes(tmp_path, Lookup(), rules), VirtualClock())
    with pytest.raises(PermanentError):
        writer.add([fact(f"r{index}") for index in range(10_000)]).result(60)
    assert writer.add([fact("small")]).result(60).accepted == 1
    assert writer.erase(["small"]).result(60) == 1
    writer.close()


def test_f10_a_request_too_large_for_the_disk_does_not_refuse_its_neighbours(tmp_path: Path) -> None:
    gate, rules = Gated(), OutcomeRules(most_bytes=40 * 4096)
    writer = OutcomeWriter(Outcomes(tmp_path, gate, rules), VirtualClock())
    held = writer.add([fact("first")])
    assert gate.asked.wait(60)
    small, large = writer.add([fact("a")]), writer.add([fact(f"r{index}") for index in range(10_000)])
    gate.open.set()
    assert (held.result(60).accepted, small.result(60).accepted) == (1, 1)
    with pytest.raises(PermanentError):
        large.result(60)
    writer.close()


def test_a_client_that_goes_away_harms_nobody(tmp_path: Path) -> None:
    gate = Gated()
    writer = OutcomeWriter(Outcomes(tmp_path, gate, OutcomeRules()), VirtualClock())
    first, second = writer.add([fact("a")]), writer.add([fact("b")])
    assert not second.cancel()
    gate.open.set()
    assert (first.result(60).accepted, second.result(60).accepted) == (1, 1)
    writer.close()


def test_close_writes_what_waits_and_refuses_the_rest(tmp_path: Path) -> None:
    writer = OutcomeWriter(Outcomes(tmp_path, Lookup(), OutcomeRules()), VirtualClock())
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda index: writer.add([fact(f"r{index}")]), range(100)))
    writer.close()
    writer.close()
    assert all(one.done() and one.result().accepted == 1 for one in taken)
    assert outcomes_read.state(tmp_path, "prices").pending == 100
    with pytest.raises(TemporaryError):
        writer.add([fact("late")])
