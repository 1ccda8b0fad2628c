"""What an endpoint's workers answered second by second, and how they run it now: GET /endpoints/NAME/seconds.

`seaway watch` reads it about once a second. Every worker is asked at the same time; one that gives no answer is named,
so that nobody takes the others' figures for all.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from seaway.control import views, workers
from seaway.control.auth import Principal
from seaway.control.rollouts import waiting
from seaway.control.routes import Parts, json_response
from seaway.control.workers import Workers
from seaway.core.answers import AnswerKind
from seaway.core.errors import SeawayError, UserError
from seaway.core.ledger import Page, merge_pages
from seaway.wire import worker_admin

_ASK_S: Final = 1.5
_LATE_S: Final = 1.5
"""How long after its end a second may still be counted in some worker."""


async def seconds(parts: Parts, principal: Principal, request: Request) -> Response:
    """The `views.Seconds` of an endpoint after second N (`?after=N`); without it, of all that the workers keep."""
    name, after_s = request.path_params["name"], _after(request.query_params.get("after", "0"))
    status = with_opening(parts, await asyncio.to_thread(parts.deployments.get, principal, name))
    rollout = await asyncio.to_thread(parts.rollouts.last, principal, name)
    if rollout is not None:
        unmirrored = parts.effects.unmirrored(name, rollout.candidate.number)
        rollout = waiting.as_seen(rollout, status.opening, unmirrored)
    now_s = parts.clock.now_s()
    through_s = complete_through_s(now_s)
    told = await ask_workers(parts.effects.workers, after_s, name)
    seen = [o for o in parts.effects.observed if o.slot in told.slots]
    return json_response(
        views.Seconds(
            endpoint=status,
            now_s=now_s,
            through_s=through_s,
            pages=_between(told.pages, after_s, through_s),
            workers=tuple(worker_status(o, name) for o in seen),
            missing=told.missing,
            answers=_answers(parts, name, status),
            rollout=rollout,
        )
    )


def with_opening(parts: Parts, status: views.EndpointStatus) -> views.EndpointStatus:
    """With what the control loop opens of the endpoint."""
    return msgspec.structs.replace(status, opening=parts.effects.opening(status.endpoint))


def complete_through_s(now_s: float) -> int:
    """The newest second that every worker has finished counting."""
    return math.floor(now_s - 1.0 - _LATE_S)


class Told(msgspec.Struct, frozen=True):
    """What the workers of `slots` answered, merged; seconds that are not complete yet are in it. `missing` gave no answer."""

    slots: tuple[int, ...]
    pages: tuple[Page, ...]
    missing: tuple[views.MissingWorker, ...]

    @property
    def answered(self) -> set[int]:
        return set(self.slots) - {one.slot for one in self.missing}


async def ask_workers(asked: Workers, after_s: int, endpoint: str) -> Told:
    """Ask every worker at the same time for an endpoint's seconds after `after_s` (since 1970); takes 1.5 s at most."""
    slots = asked.slots()
    found = await asyncio.gather(*(_ask(asked, slot, after_s, endpoint) for slot in slots))
    pages = [page for one in found if not isinstance(one, views.MissingWorker) for page in one]
    missing = tuple(one for one in found if isinstance(one, views.MissingWorker))
    return Told(slots, merge_pages(pages), missing)


async def _ask(
    asked: Workers, slot: int, after_s: int, endpoint: str
) -> tuple[Page, ...] | views.MissingWorker:
    try:
        return (await asked.ask(slot, worker_admin.Seconds(after_s, endpoint), _ASK_S)).pages
    except SeawayError as error:
        return views.MissingWorker(slot, error.message)


def _between(pages: tuple[Page, ...], after_s: int, through_s: int) -> tuple[Page, ...]:
    """Only whole seconds, each handed out once to whoever asks on from `through_s`."""
    cut = (
        msgspec.structs.replace(
            page, seconds=tuple(second for second in page.seconds if after_s < second.at_s <= through_s)
        )
        for page in pages
    )
    return tuple(page for page in cut if page.seconds)


def worker_status(observed: worker_admin.Observed, endpoint: str | None = None) -> views.WorkerStatus:
    """A worker as it was seen; with `endpoint`, of its revisions those alone."""
    return views.WorkerStatus(
        slot=observed.slot,
        pid=observed.pid,
        ready=observed.ready,
        draining=observed.draining,
        generation=observed.generation,
        rss_bytes=observed.rss_bytes,
        failing=tuple(workers.failures_of(observed)),
        loaded=tuple(one for one in observed.loaded if endpoint in (None, one.endpoint)),
        recorder_rate=observed.recorder_rate,
        recorder_faults=observed.recorder_faults,
    )


def _answers(parts: Parts, name: str, status: views.EndpointStatus) -> dict[int, AnswerKind]:
    kinds = ((r.number, parts.effects.answer_kind(name, r.number)) for r in status.revisions)
    return {number: kind for number, kind in kinds if kind is not None}


def _after(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise UserError("invalid_request", f"after={text[:40]!r} is no second", "seconds since 1970")
    return int(text)
