"""Recorders for tests of doors and fronts, and for the bench: one that keeps what it is told, one that does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from seaway.core.agreement import Agreed
from seaway.core.records import Answered, MirroredAnswer
from seaway.engine.handle import Handle
from seaway.wire.prometheus import Family, Sample


class Unrecorded:
    """`serve.plane.Recorder` that records nothing."""

    def answered(self, handle: Handle, request: Answered, door: str) -> None: ...

    def unrouted(self, door: str, endpoint: str, code: str, took_s: float) -> None: ...

    def compared(self, handle: Handle, found: Agreed, user: bytes | None) -> None: ...

    def mirrored(self, handle: Handle, told: MirroredAnswer) -> None: ...

    def rules_changed(self) -> None: ...

    async def settled(self) -> None: ...

    @property
    def rate(self) -> float:
        return 1.0

    @property
    def faults(self) -> tuple[str, ...]:
        return ()

    def pages(self, after_s: int, endpoint: str | None) -> list[bytes]:
        return []

    def families(self, labels: dict[str, str]) -> Iterator[Family]:
        return iter(())

    def begin(self) -> None: ...

    def close(self) -> None: ...

    def drop_retired(self, alive: Collection[tuple[str, str]]) -> None: ...


class MemoryRecorder(Unrecorded):
    """Without threads or files. `codes` counts (door, endpoint, revision, code), `pairs` (endpoint, revision, found)."""

    def __init__(self) -> None:
        self.codes: Counter[tuple[str, str, str, str]] = Counter()
        self.pairs: Counter[tuple[str, str, Agreed]] = Counter()
        self.requests: list[Answered] = []

    def answered(self, handle: Handle, request: Answered, door: str) -> None:
        self.codes[door, handle.endpoint, str(handle.revision.number), request.code] += 1
        self.requests.append(request)

    def compared(self, handle: Handle, found: Agreed, user: bytes | None) -> None:
        self.pairs[handle.endpoint, str(handle.revision.number), found] += 1

    def unrouted(self, door: str, endpoint: str, code: str, took_s: float) -> None:
        self.codes[door, endpoint, "", code] += 1

    def families(self, labels: dict[str, str]) -> Iterator[Family]:
        total = Family("seaway_requests_total", "counter", "Answered requests.", [])
        for (door, endpoint, revision, code), count in self.codes.items():
            own = {"door": door, "endpoint": endpoint, "revision": revision, "code": code, **labels}
            total.samples.append(Sample(own, count))
        yield total
