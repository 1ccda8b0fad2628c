"""The use cases of feedback: take it, ask what it says of an endpoint, erase it. Called by `control.feedback_routes` and,
where no server runs, by verbs through `wiring.feedback`."""

from __future__ import annotations

import asyncio
import datetime
import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from seaway.control import auth
from seaway.control.auth import Action, Principal
from seaway.core import events, sections
from seaway.core.errors import UserError
from seaway.core.feedback import Fact, FeedbackAnswer, facts_of
from seaway.core.ports import Clock
from seaway.core.provenance import AnsweredBy, Outcome
from seaway.core.quality import Quality
from seaway.monitor.feedback import quality
from seaway.monitor.feedback import reading as outcomes_read
from seaway.monitor.feedback.writer import OutcomeWriter
from seaway.wire import feedback_json

RESOURCE: Final = "feedback"
DEFAULT_SINCE: Final = "7d"


class Feedback:
    """The feedback of one home. Thread-safe; only its process writes outcomes."""

    def __init__(
        self,
        writer: OutcomeWriter,
        records: Path,
        clock: Clock,
        answered: quality.RowsAnswered | None = None,
    ) -> None:
        """`answered` tells how many rows were answered; without it label shares are not known."""
        self._writer = writer
        self._records = records
        self._clock = clock
        self._answered = answered
        # Threads of their own: a long question or a large body holds up neither the control loop nor each other.
        self._parsing = ThreadPoolExecutor(1, "seaway-feedback")
        self._asking = ThreadPoolExecutor(1, "seaway-quality")

    async def take(self, principal: Principal, body: bytes, content_type: str | None) -> FeedbackAnswer:
        """Keep the rows of a body, all or none of them; they are durable when this returns.

        Idempotent: what was taken before is counted as a duplicate. Raises as `wire.feedback_json.read_rows`,
        `OutcomeWriter.add` and `Outcomes.add`.
        """
        auth.authorize(principal, Action.FEEDBACK, RESOURCE)
        here = asyncio.get_running_loop()
        rows, facts = await here.run_in_executor(self._parsing, _read, body, content_type)
        if not facts:
            return FeedbackAnswer()
        answer = await asyncio.wrap_future(self._writer.add(facts))
        return FeedbackAnswer(rows).plus(answer)

    def erase(self, principal: Principal, request_ids: Sequence[str]) -> int:
        """Delete all that was told of these requests; returns how many facts. Blocking, durable, idempotent."""
        auth.authorize(principal, Action.ERASE, RESOURCE)
        return self._writer.erase(request_ids).result()

    async def quality(
        self,
        principal: Principal,
        endpoint: str,
        *,
        since: str = DEFAULT_SINCE,
        until: str | None = None,
        by: str = quality.BY_REVISION,
        revision: str | None = None,
        slice: str | None = None,
    ) -> Quality:
        """What outcomes say of an endpoint's answers. Times are ISO 8601 or how long ago (`7d`, `24h`); `by` is
        `revision`, `window` or a slice's name; `slice` is NAME=VALUE of one. Raises `UserError("invalid_request")`."""
        auth.authorize(principal, Action.READ, f"endpoints/{endpoint}")
        now_s = self._clock.now_s()
        question = quality.Question(
            endpoint=endpoint,
            since_s=_time(since, now_s),
            until_s=now_s if until is None else _time(until, now_s),
            by=_slice_name(by),
            revision=None if revision is None else _number(revision),
            only=None if slice is None else _pair(slice),
        )
        reading = functools.partial(quality.read, self._records, question, self._answered)
        return await asyncio.get_running_loop().run_in_executor(self._asking, reading)

    def outcomes_of(self, by: AnsweredBy, request_id: str) -> tuple[Outcome, ...]:
        """`core.provenance.OutcomesOf`; blocking."""
        return outcomes_read.outcomes_of(self._records, by, request_id)

    def close(self) -> None:
        """Blocks until what was taken is answered. Idempotent."""
        self._writer.close()


def _read(body: bytes, content_type: str | None) -> tuple[int, list[Fact]]:
    rows = feedback_json.read_rows(body, content_type)
    return len(rows), list(facts_of(rows))


def _time(text: str, now_s: float) -> float:
    try:
        return max(0.0, now_s - sections.seconds(text))
    except ValueError:
        pass  # then it is a point in time
    try:
        return datetime.datetime.fromisoformat(events.parse_time(text)).timestamp()
    except UserError as error:
        raise UserError(error.code, error.message, "such as 24h, 7d or 2026-11-22T09:00:00Z") from error


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise UserError("invalid_request", f"revision={text[:40]!r} is not a number", "such as revision=3")
    return int(text)


def _slice_name(text: str) -> str:
    if not 0 < len(text) <= 128:
        raise UserError(
            "invalid_request", f"{text[:40]!r} names no slice", "revision, window, or the name of a slice"
        )
    return text


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError("invalid_request", f"slice={text[:40]!r} is not NAME=VALUE", "such as region=eu")
    return _slice_name(name), value
