"""How the workers run each revision, as `seaway status` shows it: lane, realised batches, time in the queue, start-up.

Both tables fit in 100 columns; a long endpoint's name is cut short for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from seaway.cli import output

if TYPE_CHECKING:
    from seaway.control import views
    from seaway.wire.worker_admin import LoadedRevision

_HEADS = ("revision", "lane", "requests", "open", "batch", "queue ms", "run ms", "refused", "late", "memory")
_MOST_LABEL = 22
_START_HEADS = ("revision", "worker", "verify ms", "load ms", "warm ms", "memory")


def print_serving(status: views.Status, endpoint: str | None) -> None:
    """One line per loaded revision, added up over the workers; of one endpoint, also how long each start took."""
    found: dict[tuple[str, int], list[tuple[int, LoadedRevision]]] = {}
    for worker in status.workers:
        for loaded in worker.loaded:
            if loaded.ready and endpoint in (None, loaded.endpoint):
                found.setdefault((loaded.endpoint, loaded.number), []).append((worker.slot, loaded))
    if not found:
        return
    output.say("")
    rows = [_line(key, [one for _, one in loaded]) for key, loaded in sorted(found.items())]
    output.table(None, _HEADS, rows)
    if endpoint is not None:
        output.say("")
        starts = [_start(key, slot, one) for key, loaded in sorted(found.items()) for slot, one in loaded]
        output.table(None, _START_HEADS, starts)


def _line(key: tuple[str, int], loaded: Sequence[LoadedRevision]) -> tuple[object, ...]:
    """`open` counts requests and streams under way; `batch` is the mean of its rows, and both times are means too."""
    runs = [one.execution for one in loaded if one.execution is not None]
    requests, batches = sum(run.requests for run in runs), sum(run.batches for run in runs)
    return (
        _label(*key),
        _lanes(loaded),
        requests,
        sum(one.in_flight for one in loaded),
        _mean(sum(run.rows for run in runs), batches),
        _mean_ms(sum(run.queue_s for run in runs), requests),
        _mean_ms(sum(run.run_s for run in runs), batches),
        sum(run.refused for run in runs),
        sum(run.late for run in runs),
        output.human_bytes(sum(one.memory_bytes for one in loaded)),
    )


def _start(key: tuple[str, int], slot: int, loaded: LoadedRevision) -> tuple[object, ...]:
    phases = (loaded.verify_s, loaded.load_s, loaded.warm_s)
    memory = output.human_bytes(loaded.memory_bytes)
    return _label(*key), f"{slot}", *(f"{phase * 1e3:.0f}" for phase in phases), memory


def _label(endpoint: str, number: int) -> str:
    room = _MOST_LABEL - 1 - len(str(number))
    return f"{endpoint if len(endpoint) <= room else endpoint[: room - 1] + '…'} {number}"


def _lanes(loaded: Sequence[LoadedRevision]) -> str:
    """`inline`, `thread` or `apart` (in a process of its own), where the workers differ `mixed`."""
    lanes = {"apart" if one.isolated else one.execution.lane for one in loaded if one.execution is not None}
    return "mixed" if len(lanes) > 1 else "".join(lanes) or "-"


def _mean(total: float, count: int) -> str:
    return f"{total / count:.1f}" if count else "-"


def _mean_ms(total_s: float, count: int) -> str:
    return f"{total_s / count * 1e3:.2f}" if count else "-"
