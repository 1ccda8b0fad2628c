"""Hard floors: a burst, a candidate that cannot be loaded, one that ended a worker."""

from __future__ import annotations

import pytest
from control_fakes import digest_of

from seaway.control.rollouts import floors
from seaway.core.ledger import Counts, Page, Second
from seaway.wire.isolation import Isolated
from seaway.wire.worker_admin import LoadedRevision, Observed

NOW_S = 1_800_000_010.0


def pages(*seconds: tuple[int, int, int, int]) -> tuple[Page, ...]:
    """From (revision, seconds ago, finished, failed)."""
    return tuple(
        Page("prices", number, "d", (Second(int(NOW_S) - ago, Counts(finished=n, failed=bad)),))
        for number, ago, n, bad in seconds
    )


@pytest.mark.parametrize(
    ("seconds", "stable", "broken"),
    [
        (((2, 1, 20, 10), (1, 1, 100, 0)), 1, True),
        (((2, 1, 20, 9), (1, 1, 100, 0)), 1, False),  # too few
        (((2, 1, 21, 10), (1, 1, 100, 0)), 1, False),  # less than half
        (((2, 3, 20, 6), (2, 1, 20, 14), (1, 1, 9, 0)), 1, True),
        (((2, 4, 20, 20), (1, 1, 100, 0)), 1, False),  # too long ago
        (((2, 1, 20, 20), (1, 1, 100, 49)), 1, True),
        (((2, 1, 20, 20), (1, 1, 100, 50)), 1, False),  # both are down
        (((2, 1, 20, 20), (1, 1, 100, 50)), None, True),  # the bake has one arm
        (((2, 1, 20, 20),), 1, True),
        ((), 1, False),
    ],
)
def test_a_burst_is_half_of_ten_or_more_that_the_stable_does_not_share(
    seconds: tuple[tuple[int, int, int, int], ...], stable: int | None, broken: bool
) -> None:
    found = floors.burst(pages(*seconds), NOW_S, 2, stable)
    assert (found is not None) is broken
    assert found is None or "requests of revision 2 failed within 3 s" in found


def observed(*loaded: LoadedRevision, draining: bool = False) -> Observed:
    return Observed(3, 1, 1, True, draining, loaded)


def revision(number: int, **said: object) -> LoadedRevision:
    return LoadedRevision("prices", number, digest_of("prices", number), **said)  # type: ignore[arg-type]


def test_a_worker_that_cannot_load_it_is_named_and_one_that_still_loads_is_not() -> None:
    failed = observed(revision(2, ready=False, error="no space", error_code="disk_full"))
    assert floors.not_ready([failed], "prices", 2) == "revision 2 is not ready on worker 3: no space"
    assert floors.not_ready([failed], "prices", 1) is None
    assert floors.not_ready([failed], "other", 2) is None
    assert floors.not_ready([observed(revision(2, ready=False))], "prices", 2) is None
    gone = observed(revision(2, ready=False, error="no space"), draining=True)
    assert floors.not_ready([gone], "prices", 2) is None


ALONE, SUSPECT = Isolated(1, 9.0, alone=1), Isolated(1, 9.0)


@pytest.mark.parametrize(
    ("said", "listed", "told"),
    [
        ({}, None, None),
        ({}, ALONE, "ended a worker, and"),  # the supervisor knows it before a worker says so
        ({"isolated": True}, ALONE, "ended a worker, and"),
        ({"isolated": True}, SUSPECT, None),
        ({"isolated": True, "faults": 1}, SUSPECT, "has ended a process of its own"),
        ({"isolated": True}, None, "did not return"),  # the worker itself put it out
    ],
)
def test_a_crash_is_the_candidates_only_where_that_is_certain(
    said: dict[str, object], listed: Isolated | None, told: str | None
) -> None:
    workers = [
        observed(revision(1, ready=True, isolated=True, faults=7), revision(2, ready=True)),
        observed(revision(2, ready=True, **said)),
        observed(revision(2, ready=True, isolated=True, faults=9), draining=True),
    ]
    assert floors.isolated(workers, "prices", 2) is ("isolated" in said)
    found = floors.crash(workers, "prices", 2, listed)
    assert (found is None) if told is None else (found is not None and told in found)
