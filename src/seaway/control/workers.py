"""The control plane's side of `wire.worker_admin`: asks the data workers of one RUN directory over their sockets.

Used by `control.loop` alone. Nothing here blocks; a worker that does not answer in time counts as absent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from seaway import line_exchange
from seaway.core.bundles import Digest
from seaway.core.errors import CODES, PermanentError, SeawayError, TemporaryError
from seaway.wire import isolation, worker_admin
from seaway.wire.isolation import Isolated

_OBSERVE_S: Final = 1.5
_HANGING_S: Final = 0.3
"""How long one is waited for that gave no answer the last time: a rollback of the others must not wait for it."""
_decoder = msgspec.json.Decoder(worker_admin.Reply)


class WorkerEnded(TemporaryError):
    """A worker took a request and ended before it answered."""


class Workers:
    """The workers whose admin sockets lie in `run`."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._hanging: set[int] = set()

    def slots(self) -> tuple[int, ...]:
        """Slots that have a socket; whether somebody listens there is another question."""
        found = (path.stem.removeprefix("worker-") for path in worker_admin.socket_paths(self._run))
        return tuple(sorted(int(slot) for slot in found if slot.isdigit()))

    def isolated(self) -> Mapping[Digest, Isolated]:
        """The models that ran when a worker ended. Blocking."""
        return isolation.read(self._run / isolation.FILE).models

    async def observe(self) -> tuple[worker_admin.Observed, ...]:
        """What each worker holds; those that do not answer are left out."""
        slots = self.slots()
        found = await asyncio.gather(*(self._observe(slot) for slot in slots))
        return tuple(observed for observed in found if observed is not None)

    async def _observe(self, slot: int) -> worker_admin.Observed | None:
        hangs = slot in self._hanging
        try:
            reply = await self.ask(slot, worker_admin.Observe(), _HANGING_S if hangs else _OBSERVE_S)
        except SeawayError as error:
            if error.code == "deadline_exceeded":
                self._hanging.add(slot)
            return None
        return reply.observed

    async def ask(self, slot: int, request: worker_admin.Request, timeout_s: float) -> worker_admin.Reply:
        """One request to one worker.

        Raises the worker's own refusal, else `TemporaryError` (`not_ready` where nobody listens, `deadline_exceeded`),
        `WorkerEnded` where the worker ended meanwhile.
        """
        path = worker_admin.socket_path(self._run, slot)
        try:
            reply = _decoder.decode(await line_exchange.ask(path, msgspec.json.encode(request), timeout_s))
        except line_exchange.Unanswered as error:
            raise WorkerEnded("not_ready", f"worker {slot} ended before it answered") from error
        except TimeoutError as error:
            raise TemporaryError(
                "deadline_exceeded", f"worker {slot} gave no answer in {timeout_s:g} s"
            ) from error
        except (OSError, ValueError) as error:
            raise TemporaryError("not_ready", f"worker {slot} cannot be reached: {error}") from error
        self._hanging.discard(slot)
        if reply.failure is not None:
            code = reply.failure.code if reply.failure.code in CODES else "internal"
            raise PermanentError(code, reply.failure.message, reply.failure.hint)
        return reply


def failures_of(observed: worker_admin.Observed) -> Sequence[str]:
    """What a worker cannot load, in words."""
    return [f"{r.endpoint} revision {r.number}: {r.error}" for r in observed.loaded if r.error is not None]
