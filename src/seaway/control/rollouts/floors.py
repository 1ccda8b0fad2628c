"""Hard floors: what sends a candidate back at once, without waiting for evidence. Pure; `analysis` asks each second.

They are rules, not tests: no false-alarm rate holds for them (docs/statistics.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from seaway.core.ledger import Counts, Page, merge_counts
from seaway.wire.isolation import Isolated
from seaway.wire.worker_admin import LoadedRevision, Observed

BURST_S: Final = 3
"""Over how many seconds a burst is looked for."""
_FEWEST: Final = 10
_SHARE: Final = 0.5


def not_ready(workers: Sequence[Observed], endpoint: str, candidate: int) -> str | None:
    """Why a candidate that was ready everywhere cannot be loaded on some worker; None where none complains."""
    for slot, loaded in _loaded(workers, endpoint, candidate):
        if loaded.error is not None:
            return f"revision {candidate} is not ready on worker {slot}: {loaded.error}"
    return None


def isolated(workers: Sequence[Observed], endpoint: str, candidate: int) -> bool:
    """Whether some worker runs the candidate in a process of its own."""
    return any(loaded.isolated for _, loaded in _loaded(workers, endpoint, candidate))


def crash(workers: Sequence[Observed], endpoint: str, candidate: int, listed: Isolated | None) -> str | None:
    """That a candidate which shared its workers before has ended one for certain; `listed` is what the supervisor holds
    against it.

    One that was not alone in a worker that ended is a suspect: it runs in a process of its own since, and the next crash
    there is its own.
    """
    if listed is not None and listed.alone:
        return f"revision {candidate} ended a worker, and now runs in a process of its own"
    apart = [one for _, one in _loaded(workers, endpoint, candidate) if one.isolated]
    if apart and listed is None:
        return f"revision {candidate} did not return from a run, and now runs in a process of its own"
    if any(one.faults for one in apart):
        return (
            f"revision {candidate} was running when a worker ended, and has ended a process of its own since"
        )
    return None


def burst(pages: Sequence[Page], now_s: float, candidate: int, stable: int | None) -> str | None:
    """That at least half of the candidate's requests fail (5xx), ten or more, while less than half that share of the stable's do.

    Of the last `BURST_S` seconds of `pages`, incomplete ones too. Without `stable`, as in the bake, the candidate's own
    count.
    """
    since_s = now_s - BURST_S
    ours = _counts(pages, candidate, since_s)
    if ours.failed < _FEWEST or ours.failed < _SHARE * ours.finished:
        return None
    said = f"{ours.failed:,} of {ours.finished:,} requests of revision {candidate} failed within {BURST_S} s"
    if stable is None:
        return said
    theirs = _counts(pages, stable, since_s)
    share = ours.failed / ours.finished
    if theirs.finished and theirs.failed / theirs.finished >= _SHARE * share:
        return None  # something that both depend on is down
    return f"{said}, and {theirs.failed:,} of {theirs.finished:,} of revision {stable}"


def _counts(pages: Sequence[Page], revision: int, since_s: float) -> Counts:
    return merge_counts(
        second.counts
        for page in pages
        if page.revision == revision
        for second in page.seconds
        if second.at_s + 1 > since_s
    )


def _loaded(workers: Sequence[Observed], endpoint: str, number: int) -> Iterator[tuple[int, LoadedRevision]]:
    for worker in workers:
        if not worker.draining:
            for one in worker.loaded:
                if (one.endpoint, one.number) == (endpoint, number):
                    yield worker.slot, one
