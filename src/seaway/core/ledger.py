"""The ledger: what was answered in each second, exactly, for each revision; all that rollout verdicts are made of.

`monitor` counts it in every worker, `control` and `seaway watch` read it. All is counted in integers, so that merging
(over workers, over seconds) is exact, associative and commutative.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

LATENCY_BINS_PER_OCTAVE: Final = 16
"""A bin of latency spans a factor of 2**(1/16), about 4.4 %; its middle is within 2.2 % of all that it holds."""
_UNIT_S: Final = 1e-6
_HIGHEST_BIN: Final = 16 * 40
Sparse = tuple[tuple[int, int], ...]
"""Counts by bin, sorted, without the empty ones."""


class Counts(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Requests of one revision, each counted once, in the second in which it ended: at its deadline at the latest, since a
    run that hangs on a thread is answered `deadline_exceeded` then. Where the worker's event loop itself stands still, its
    requests are counted once it goes on; those of a worker that is killed never are. Such a worker tells no seconds
    meanwhile: whoever judges must take that for missing, not for none.

    `finished` is all of them: `failed` (5xx, a deadline that passed while it ran or waited), `refused` (overload),
    `rejected` (4xx: the caller's fault), `cancelled` (the client left), `invalid` (answered, with NaN or infinity), the
    rest is answered well. `overdue` of the failed got no answer before their deadline, whether they ran or still waited.
    `latency` counts those answered or timed out, by bin of `latency_bin`. `answers` counts answered rows by class, or by
    bin for numbers (`core.answers`), `unread` those rows whose answer was not looked at, under pressure. `cost` and
    `confidence` count only the requests that were drawn for the sinks, by bin: the processor time that each took in the
    model (`latency_bin`), and the confidence of its first row in thousandths.
    """

    finished: int = 0
    failed: int = 0
    refused: int = 0
    rejected: int = 0
    cancelled: int = 0
    invalid: int = 0
    overdue: int = 0
    rows: int = 0
    unread: int = 0
    latency: Sparse = ()
    answers: tuple[tuple[str, int], ...] = ()
    cost: Sparse = ()
    confidence: Sparse = ()

    @property
    def bad(self) -> int:
        """What the errors check counts: the revision's fault."""
        return self.failed + self.refused + self.invalid


NUMBERS: Final = (
    "finished",
    "failed",
    "refused",
    "rejected",
    "cancelled",
    "invalid",
    "overdue",
    "rows",
    "unread",
)
"""The fields of Counts that are plain numbers, in their order."""
BINNED: Final = ("latency", "cost", "confidence")
"""Those that are counts by bin."""


class PairCounts(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Mirrored requests: one row of each, whose two answers agreed or differed, and those without a pair: `failed` ones
    that the candidate could not answer, `dropped` ones that were never run, to spare the live ones."""

    same: int = 0
    differ: int = 0
    failed: int = 0
    dropped: int = 0


class SliceCounts(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Of the units of the stable revision, those of the slice of users that is compared with the rest (`traffic.Split`)."""

    finished: int = 0
    bad: int = 0


class Second(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One second (`at_s`, since 1970) of one revision in one worker.

    While a rollout is judged, `units` counts what its verdicts are made of: the requests that the split sent here, and where
    it is sticky, of each user key only the first. `pairs` stand at the revision that is mirrored to, of each user key
    only the first where it is sticky. `slice` is a part of `units`, None where it is empty.
    """

    at_s: int
    counts: Counts
    units: Counts | None = None
    pairs: PairCounts | None = None
    slice: SliceCounts | None = None


class Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds of one revision, in the order of time; of one worker, or merged."""

    endpoint: str
    revision: int
    digest: str
    seconds: tuple[Second, ...]


def merge_counts(found: Iterable[Counts]) -> Counts:
    """All of them together."""
    sums = [0] * len(NUMBERS)
    bins: dict[str, dict[int, int]] = {name: {} for name in BINNED}
    answers: dict[str, int] = {}
    for one in found:
        for place, name in enumerate(NUMBERS):
            sums[place] += getattr(one, name)
        for name, own in bins.items():
            for index, count in getattr(one, name):
                own[index] = own.get(index, 0) + count
        for answer, count in one.answers:
            answers[answer] = answers.get(answer, 0) + count
    numbers = dict(zip(NUMBERS, sums, strict=True))
    binned = {name: sparse(own) for name, own in bins.items()}
    return msgspec.structs.replace(Counts(answers=tuple(sorted(answers.items()))), **numbers, **binned)


def merge_pages(pages: Iterable[Page]) -> tuple[Page, ...]:
    """The pages of several workers as one for each revision, with one Second for each second; sorted."""
    found: dict[tuple[str, int, str], dict[int, list[Second]]] = {}
    for page in pages:
        seconds = found.setdefault((page.endpoint, page.revision, page.digest), {})
        for second in page.seconds:
            seconds.setdefault(second.at_s, []).append(second)
    return tuple(
        Page(*key, seconds=tuple(_together(at_s, seconds[at_s]) for at_s in sorted(seconds)))
        for key, seconds in sorted(found.items())
    )


def _together(at_s: int, seconds: list[Second]) -> Second:
    if len(seconds) == 1:
        return seconds[0]
    units = [second.units for second in seconds if second.units is not None]
    pairs = [second.pairs for second in seconds if second.pairs is not None]
    slices = [second.slice for second in seconds if second.slice is not None]
    return Second(
        at_s,
        merge_counts(second.counts for second in seconds),
        merge_counts(units) if units else None,
        merge_pairs(pairs) if pairs else None,
        merge_slices(slices) if slices else None,
    )


def merge_pairs(found: Iterable[PairCounts]) -> PairCounts:
    """All of them together."""
    all_ = list(found)
    return PairCounts(
        sum(one.same for one in all_),
        sum(one.differ for one in all_),
        sum(one.failed for one in all_),
        sum(one.dropped for one in all_),
    )


def merge_slices(found: Iterable[SliceCounts]) -> SliceCounts:
    """All of them together."""
    all_ = list(found)
    return SliceCounts(sum(one.finished for one in all_), sum(one.bad for one in all_))


def latency_bins(took_s: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The bin of each time: i holds 2**(i/16) <= microseconds < 2**((i+1)/16); 0 also all below, the last all above."""
    micros = np.maximum(took_s / _UNIT_S, 1.0)
    bins: npt.NDArray[np.int64] = np.floor(np.log2(micros) * LATENCY_BINS_PER_OCTAVE).astype(np.int64)
    return np.minimum(bins, _HIGHEST_BIN)


def latency_bin(took_s: float) -> int:
    """`latency_bins` of one time."""
    return min(math.floor(math.log2(max(took_s / _UNIT_S, 1.0)) * LATENCY_BINS_PER_OCTAVE), _HIGHEST_BIN)


def count_latency(took_s: npt.NDArray[np.float64]) -> dict[int, int]:
    """Counts by bin of `latency_bins`."""
    counts = np.bincount(latency_bins(took_s))
    filled = np.flatnonzero(counts)
    return dict(zip(filled.tolist(), counts[filled].tolist(), strict=True))


def edge_s(index: int) -> float:
    """Where a bin begins, in seconds."""
    return float(2.0 ** (index / LATENCY_BINS_PER_OCTAVE) * _UNIT_S)


def threshold_bin(threshold_s: float) -> int:
    """The first bin that is wholly above a threshold; its `edge_s` is the threshold that is counted by, at most 4.4 %
    above the one asked for."""
    micros = max(threshold_s / _UNIT_S, 1.0)
    return math.ceil(math.log2(micros) * LATENCY_BINS_PER_OCTAVE - 1e-9)


def slower(latency: Sparse, first_bin: int) -> int:
    """How many took at least `edge_s(first_bin)`."""
    return sum(count for index, count in latency if index >= first_bin)


def latency_quantile_s(latency: Sparse, q: float) -> float | None:
    """The q-quantile (0 < q <= 1), at most 2.2 % from the exact one; None where nothing was counted."""
    total = sum(count for _, count in latency)
    if total == 0:
        return None
    rank, seen = max(1, math.ceil(q * total)), 0
    for index, count in latency:
        seen += count
        if seen >= rank:
            return edge_s(index) * float(2.0 ** (0.5 / LATENCY_BINS_PER_OCTAVE))
    raise AssertionError("unreachable")


def sparse(counts: Mapping[int, int]) -> Sparse:
    """Counts by bin as they are kept."""
    return tuple(sorted((index, count) for index, count in counts.items() if count))
