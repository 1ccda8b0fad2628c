"""What a verb that waits for a change says meanwhile, and how long it waits while no worker answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from seaway.core.errors import TemporaryError

if TYPE_CHECKING:
    from seaway.control import views
    from seaway.wiring.control_access import Control

PATIENCE_S: Final = 120.0


class Patience:
    """Call `look` now and then while waiting; a worker that stays, though it is not ready, is one that loads models."""

    def __init__(
        self,
        control: Control,
        accepted: views.Accepted,
        progress: Callable[[str], None],
        now_s: Callable[[], float],
    ) -> None:
        self._control = control
        self._accepted = accepted
        self._progress = progress
        self._now_s = now_s
        self._alive_s = now_s()
        self._seen: frozenset[int] = frozenset()
        self._opening = False

    def look(self) -> None:
        """Raises `TemporaryError("not_ready")` where no worker has answered for `PATIENCE_S`."""
        status = self._control.status()
        self._tell_opening(status)
        workers = status.workers
        seen = frozenset(worker.pid for worker in workers)
        alive = any(worker.ready for worker in workers) or not seen.isdisjoint(self._seen)
        self._seen = seen
        if alive:
            self._alive_s = self._now_s()
            return
        waited_s = self._now_s() - self._alive_s
        endpoint = self._accepted.endpoint
        self._progress(f"{endpoint}: no worker is ready (for {waited_s:.0f} s); the server's log says why")
        if waited_s >= PATIENCE_S:
            raise TemporaryError(
                "not_ready",
                f"{self._accepted.message}; it is stored, but no worker has been ready for {waited_s:.0f} s",
                f"look at what `seaway up` writes (workers that cannot start say why), then: seaway status {endpoint}",
            )

    def _tell_opening(self, status: views.Status) -> None:
        """The control process checks a bundle before any worker loads it, which takes minutes for a very large one."""
        name = self._accepted.endpoint
        opening = any(self._accepted.ref in e.opening for e in status.endpoints if e.endpoint == name)
        if opening != self._opening:
            what = "opening, each byte is checked:" if opening else "loading and warming"
            self._progress(f"{name}: {what} {self._accepted.ref}")
        self._opening = opening
