"""The use case that erases a subject: from captured requests, and with their ids from all other records; POST /erase.

`wiring.erasing` puts it together, for the control process and for a verb that finds no server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from seaway.control import auth, changes, views
from seaway.control.auth import Action, Principal, Role
from seaway.control.deployments import Deployments
from seaway.control.feedback import Feedback
from seaway.core import events
from seaway.core.bundles import parse_name
from seaway.core.deployments import Phase
from seaway.core.errors import UserError
from seaway.core.events import EventKind, NewEvent
from seaway.core.ports import Change, Clock, StateStore
from seaway.monitor.capture import files as capture_files
from seaway.monitor.capture import gone
from seaway.monitor.capture.segments import Done
from seaway.monitor.logs import erasing as log_erasing
from seaway.monitor.provenance import erasing as provenance_erasing
from seaway.monitor.recording import mirrored

EraseCaptured = Callable[[str | None, str], Done]
"""Erases a subject (second) from the captured requests of an endpoint, None for all. Blocking."""


class Erasing:
    """The erasure of one home. Thread-safe: one erasure runs at a time."""

    def __init__(
        self,
        captured: EraseCaptured,
        feedback: Feedback,
        deployments: Deployments,
        store: StateStore,
        records: Path,
        log: Path,
        clock: Clock,
    ) -> None:
        """`log` is the directory of the request log."""
        self._captured = captured
        self._feedback = feedback
        self._deployments = deployments
        self._store = store
        self._records = records
        self._log = log
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "seaway-erasing")

    async def erase(self, principal: Principal, asked: views.EraseRequest) -> views.Erased:
        """Remove what is kept of a subject's captured requests, durable when it returns; leaves one event, which names nobody.

        Idempotent; killed anywhere, `finish` goes on. Raises `UserError` (`forbidden`, `invalid_request`,
        `endpoint_not_found`, `nothing_captured`), and `PermanentError` where captured requests cannot be rewritten.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._erase, principal, asked)

    def finish(self) -> None:
        """Erase what is left of requests that ended after their subject's erasure, or whose erasure was killed. Blocking."""
        self._thread.submit(self._erase_rest, Principal(changes.ACTOR, Role.OWNER)).result()

    def _erase(self, principal: Principal, asked: views.EraseRequest) -> views.Erased:
        try:
            self._check(principal, asked)
        except UserError as error:
            endpoint = asked.endpoint and asked.endpoint[:63]
            self._deployments.record_refusal(principal, Action.ERASE, endpoint, error.code, error.message)
            raise
        done = self._captured(asked.endpoint, asked.subject)
        answers, outcomes, lines = self._erase_rest(principal)
        found = views.Erased(
            requests=len(done.erased_ids),
            rows=done.erased_rows,
            request_ids=done.erased_ids,
            explained=answers,
            outcomes=outcomes,
            log_lines=lines,
            pending=done.pending,
            damaged=done.damaged,
        )
        counts = {
            "requests": found.requests,
            "rows": found.rows,
            "explained": answers,
            "outcomes": outcomes,
            "log lines": lines,
        }
        event = NewEvent(
            at=events.timestamp(self._clock.now_s()),
            kind=EventKind.DATA_ERASED,
            principal=principal.name,
            endpoint=asked.endpoint,
            message="a subject's data were erased",
            details={name: str(count) for name, count in counts.items()},
        )
        self._store.apply(Change(events=(event,)))
        return found

    def _check(self, principal: Principal, asked: views.EraseRequest) -> None:
        resource = "records" if asked.endpoint is None else f"endpoints/{asked.endpoint}"
        auth.authorize(principal, Action.ERASE, resource)
        if not asked.subject.strip():
            raise UserError(
                "invalid_request", "the subject is empty", "name the value of the subject's header"
            )
        if asked.endpoint is not None:
            parse_name(asked.endpoint)
            if not capture_files.directory(self._records, asked.endpoint).is_dir():
                raise self._nothing(asked.endpoint)

    def _nothing(self, endpoint: str) -> UserError:
        state = self._store.state(endpoint)
        if state is None or state.phase is Phase.DELETED:
            none = f"there is no endpoint {endpoint!r}, and nothing was captured of one of that name"
            return UserError("endpoint_not_found", none, "see: seaway status")
        return UserError(
            "nothing_captured",
            f"nothing was captured of {endpoint}, so nothing of it is kept under a subject",
            "subjects are known of captured requests alone: `record` in its endpoint file",
        )

    def _erase_rest(self, principal: Principal) -> tuple[int, int, int]:
        """All else of the requests whose captured rows went: explained requests, facts of feedback, lines of the log."""
        answers = outcomes = lines = 0
        for endpoint in capture_files.endpoints(self._records):
            place = capture_files.directory(self._records, endpoint)
            ids = gone.read(place)
            if ids:
                encoded = [each.encode() for each in ids]
                answers += provenance_erasing.erase(self._records, encoded)
                mirrored.erase(self._records, encoded)
                outcomes += self._feedback.erase(principal, ids)
                lines += log_erasing.erase(self._log, ids)
                gone.forget(place, ids)
        return answers, outcomes, lines
