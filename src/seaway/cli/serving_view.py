"""How the workers run each revision, as `seaway status` shows it: lane, realised batches, time in the queue, start-up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from seaway.cli import output

if TYPE_CHECKING:
    from seaway.control import views
    from seaway.wire.worker_admin import LoadedRevision

_HEADS = (
    "revision",
    "lane",
    "requests",
    "rows per batch",
    "queue ms",
    "batch ms",
    "refused",
    "late",
    "memory",
    "start ms (verify + load + warm)",
)


def print_serving(status: views.Status, endpoint: str | None) -> None:
    """One line per loaded revision, added up over the workers."""
    found: dict[tuple[str, int], list[LoadedRevision]] = {}
    for worker in status.workers:
        for loaded in worker.loaded:
            if loaded.ready and endpoint in (None, loaded.endpoint):
                found.setdefault((loaded.endpoint, loaded.number), []).append(loaded)
    if found:
        output.say("")
        output.table(None, _HEADS, [_line(key, loaded) for key, loaded in sorted(found.items())])


def _line(key: tuple[str, int], loaded: Sequence[LoadedRevision]) -> tuple[object, ...]:
    runs = [one.execution for one in loaded if one.execution is not None]
    start = max(loaded, key=lambda one: one.verify_s + one.load_s + one.warm_s)
    return (
        f"{key[0]} {key[1]}",
        ", ".join(sorted({_lane(one) for one in loaded})),
        sum(run.requests for run in runs),
        _mean(sum(run.rows for run in runs), sum(run.batches for run in runs)),
        _mean_ms(sum(run.queue_s for run in runs), sum(run.requests for run in runs)),
        _mean_ms(sum(run.run_s for run in runs), sum(run.batches for run in runs)),
        sum(run.refused for run in runs),
        sum(run.late for run in runs),
        output.human_bytes(sum(one.memory_bytes for one in loaded)),
        f"{start.verify_s * 1e3:.0f} + {start.load_s * 1e3:.0f} + {start.warm_s * 1e3:.0f}",
    )


def _lane(loaded: LoadedRevision) -> str:
    lane = "-" if loaded.execution is None else loaded.execution.lane
    return f"{lane}, own process" if loaded.isolated else lane


def _mean(total: float, count: int) -> str:
    return f"{total / count:.1f}" if count else "-"


def _mean_ms(total_s: float, count: int) -> str:
    return f"{total_s / count * 1e3:.2f}" if count else "-"
