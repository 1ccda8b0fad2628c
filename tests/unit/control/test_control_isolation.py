"""The list of isolated models: whom the end of a worker is put down to, and a full disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from seaway.control.isolation import Isolation
from seaway.core.bundles import Digest
from seaway.core.traffic import Route, RoutedRevision, RoutingTable
from seaway.wire import isolation
from seaway.wire.isolation import Isolated

A, B, C = (Digest("sha256:" + letter * 64) for letter in "abc")


def test_f02_a_candidate_is_suspected_before_what_has_served_for_long(tmp_path: Path) -> None:
    listed = Isolation(tmp_path)
    assert listed.add([A, B, C], 1.0, frozenset({B})) == [B]
    listed.write()
    assert isolation.read(tmp_path / isolation.FILE).models == {B: Isolated(1, 1.0)}
    # It was apart: what ends a worker now is one of the others.
    assert listed.add([A, C], 2.0, frozenset({B})) == [A, C]
    listed.write()
    assert set(isolation.read(tmp_path / isolation.FILE).models) == {A, B, C}


def test_f02_a_candidate_that_ends_two_workers_at_once_takes_no_other_along(tmp_path: Path) -> None:
    """The same request, tried again, ends the second one before the candidate is apart there."""
    listed = Isolation(tmp_path)
    assert listed.add([A, B], 1.0, frozenset({B})) == [B]
    assert listed.add([A, B], 1.0, frozenset({B})) == [B]
    listed.write()
    assert isolation.read(tmp_path / isolation.FILE).models == {B: Isolated(2, 1.0)}


def test_what_ran_alone_is_known_to_be_guilty_whoever_it_is(tmp_path: Path) -> None:
    listed = Isolation(tmp_path)
    assert listed.add([A], 1.0, frozenset({B})) == [A]
    assert listed.add([B], 2.0, frozenset({B})) == [B]
    listed.write()
    found = isolation.read(tmp_path / isolation.FILE).models
    assert {digest: one.alone for digest, one in found.items()} == {A: 1, B: 1}


def test_on_trial_is_what_another_one_stands_in_for() -> None:
    def revision(number: int, digest: Digest) -> RoutedRevision:
        return RoutedRevision(number, digest, "/b", "x:v1")

    alone, rollout = (
        Route("one", (revision(1, A),)),
        Route("two", (revision(1, B), revision(2, C)), fallback=1),
    )
    assert RoutingTable(routes=(alone, rollout)).on_trial() == {C}
    same = Route("two", (revision(1, C), revision(2, C)), fallback=1)
    assert RoutingTable(routes=(alone, same)).on_trial() == frozenset()
    served = Route("three", (revision(1, C),))
    assert RoutingTable(routes=(rollout, served)).on_trial() == frozenset()


def test_f10_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    listed = Isolation(tmp_path)
    assert not listed.unwritten
    blocked = tmp_path / "isolated.part"
    blocked.mkdir()
    listed.add([A], 1.0)
    with pytest.raises(OSError, match="directory"):
        listed.write()
    assert listed.unwritten
    assert isolation.read(tmp_path / isolation.FILE).models == {}
    blocked.rmdir()
    listed.write()
    assert not listed.unwritten
    assert set(isolation.read(tmp_path / isolation.FILE).models) == {A}
