"""Which loaded revision answers: the routing table of the moment over the pool. On the event loop's thread only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, NoReturn, Protocol

from seaway.core import accept_language
from seaway.core.errors import TemporaryError, UserError
from seaway.core.records import Chosen
from seaway.core.traffic import FlagRule, Route, RoutedRevision, RoutingTable, Split
from seaway.core.user_keys import UserKey
from seaway.engine.pool import Handle, Pool


class Asking(Protocol):
    """A request that looks for its revision. `chosen` is `ONLY` before, and tells why after."""

    chosen: Chosen

    @property
    def request_id(self) -> bytes: ...

    def header(self, name: str) -> bytes | None:
        """A header, or gRPC metadata, by its name in lower case."""


class RevisionNotReady(TemporaryError):
    """A request's revision cannot answer now. `handle` is that revision's, and may hold no model."""

    def __init__(self, handle: Handle) -> None:
        super().__init__(
            "not_ready", f"revision {handle.revision.number} of {handle.endpoint!r} is not ready"
        )
        self.handle = handle


class _Flag(NamedTuple):
    """A FlagRule, made ready for many requests. Without `key` the values are languages."""

    revision: RoutedRevision
    key: UserKey | None
    values: frozenset[bytes]
    languages: tuple[str, ...]

    def meets(self, request: Asking) -> bool:
        """Whether it is about this request."""
        if self.key is not None:
            return self.key.read(request.header) in self.values
        header = request.header("accept-language")
        tag = None if header is None else accept_language.preferred(header)
        return tag is not None and any(accept_language.names(tag, language) for language in self.languages)


class _Choice:
    """One route, made ready for many requests. `only` is set where every request that names no revision goes there."""

    __slots__ = ("_flags", "_split", "by_number", "only", "route")

    def __init__(self, route: Route) -> None:
        self.route = route
        self.by_number: dict[int, RoutedRevision] = {r.number: r for r in route.revisions}
        self._split = Split(route) if any(r.percent > 0 for r in route.revisions) else None
        self._flags = tuple(
            _flag(rule, self.by_number[rule.number]) for rule in route.flags if rule.number in self.by_number
        )
        self.only = None if self._split is None or self._flags else self._split.only

    def choose(self, request: Asking) -> RoutedRevision:
        """By the flags, then by the split. Raises `UserError("endpoint_not_found")` where nothing takes traffic."""
        for flag in self._flags:
            if flag.meets(request):
                request.chosen = Chosen.FLAG
                return flag.revision
        split = self._split or Split(self.route)
        if split.only is not None:
            return split.only
        sticky = self.route.sticky
        user = None if sticky is None else sticky.read(request.header)
        revision, chosen = split.choose(user or request.request_id)
        request.chosen = chosen if user else Chosen.SPLIT  # the slice is one of users
        return revision

    def named(self, number: int, request: Asking) -> RoutedRevision:
        """Raises `UserError("revision_not_found")`."""
        request.chosen = Chosen.NAMED
        revision = self.by_number.get(number)
        if revision is None:
            known = ", ".join(str(r.number) for r in self.route.revisions)
            raise UserError(
                "revision_not_found",
                f"{self.route.endpoint!r} has no revision {number}",
                f"loaded here: {known}",
            )
        return revision


def _flag(rule: FlagRule, revision: RoutedRevision) -> _Flag:
    values = frozenset(value.encode() for value in rule.values)
    return _Flag(revision, rule.key, values, tuple(value.lower() for value in rule.values))


class Router:
    """Holds one immutable table; `commit` swaps it whole. Picking costs the same for one endpoint and for thousands."""

    def __init__(self, pool: Pool, table: RoutingTable) -> None:
        self.pool = pool
        self._choices: dict[str, _Choice] = {}
        self._swap(table)

    def _swap(self, table: RoutingTable) -> None:
        self.table = table
        before, self._choices = self._choices, {}
        for route in table.routes:
            known = before.get(route.endpoint)
            if known is not None and known.route == route:  # of a thousand endpoints one changes at a time
                self._choices[route.endpoint] = known
                continue
            self._choices[route.endpoint] = choice = _Choice(route)
            if known is not None:
                self._part(known, choice)

    def _part(self, before: _Choice, after: _Choice) -> None:
        """Revisions leave the table, and may still run requests: who stood in for them goes on to."""
        for number in before.by_number.keys() - after.by_number.keys():
            handle = self.pool.get(before.route.endpoint, number)
            if handle is not None:
                handle.fallback = before.route.fallback

    def pick(self, endpoint: str, request: Asking, number: int | None = None) -> Handle:
        """The revision that answers: `number` where the client names one, else by flags, the traffic split and the
        request's user key or id; why is told in `request.chosen`.

        Enter the handle before the next await. Raises `UserError` (`endpoint_not_found`, `revision_not_found`) and
        `RevisionNotReady`.
        """
        choice = self._choices.get(endpoint) or self._unknown(endpoint)
        if number is None:
            revision = choice.only or choice.choose(request)
        else:
            revision = choice.named(number, request)
        handle = self.pool.get(endpoint, revision.number)
        if handle is None or not handle.ready:
            raise RevisionNotReady(handle or Handle(endpoint, revision, choice.route.limits))
        return handle

    def stand_in(self, failed: Handle, chosen: Chosen) -> Handle | None:
        """The revision that answers what another one could not: the route's fallback, where it is ready and is not that
        one; None for requests whose client named their revision, and for those that were passed on once already.

        A revision that was rolled back keeps the fallback it had, for the requests that it still runs.
        """
        choice = self._choices.get(failed.endpoint)
        if choice is None or chosen in (Chosen.NAMED, Chosen.FALLBACK):
            return None
        own = failed.revision.number
        number = choice.route.fallback if own in choice.by_number else failed.fallback
        if number is None or number == own:
            return None
        handle = self.pool.get(failed.endpoint, number)
        return handle if handle is not None and handle.ready else None

    def find(self, endpoint: str, request: Asking, number: int | None = None) -> Handle:
        """As `pick`, and at once the one that stands in where it is not ready: for those who only ask about it."""
        try:
            return self.pick(endpoint, request, number)
        except RevisionNotReady as error:
            handle = self.stand_in(error.handle, request.chosen)
            if handle is None:
                raise
            return handle

    def route(self, endpoint: str) -> Route:
        """Raises `UserError("endpoint_not_found")`."""
        return (self._choices.get(endpoint) or self._unknown(endpoint)).route

    def _unknown(self, endpoint: str) -> NoReturn:
        known = ", ".join(r.endpoint for r in self.table.routes[:20]) or "none"
        raise UserError(
            "endpoint_not_found", f"there is no endpoint {endpoint[:80]!r}", f"the endpoints: {known}"
        )

    def serving(self) -> Iterator[tuple[Route, Handle | None]]:
        """Each endpoint with its ready revision of the largest share, None where nothing can answer."""
        for route in self.table.routes:
            handles = [
                (revision.percent, handle)
                for revision in route.revisions
                if (handle := self.pool.get(route.endpoint, revision.number)) is not None and handle.ready
            ]
            yield route, max(handles, key=lambda pair: pair[0])[1] if handles else None

    @property
    def ready(self) -> bool:
        """Whether every revision that takes traffic can answer, or another one in its place."""
        return all(
            self._answers(route.endpoint, revision.number) or self._answers(route.endpoint, route.fallback)
            for route in self.table.routes
            for revision in route.revisions
            if revision.percent > 0
        )

    def _answers(self, endpoint: str, number: int | None) -> bool:
        handle = None if number is None else self.pool.get(endpoint, number)
        return handle is not None and handle.ready

    def commit(self, table: RoutingTable) -> None:
        """Swap the table; requests in flight finish on the revision they have. Idempotent.

        Raises `UserError`: `generation_conflict` for a table older than this one, `revision_failed` where it
        names a revision that is not ready here and that the present table does not name either.
        """
        if table.generation < self.table.generation:
            raise UserError(
                "generation_conflict",
                f"the table of generation {table.generation} is older than {self.table.generation}, which is live",
            )
        for route in table.routes:
            present = self._choices.get(route.endpoint)
            for revision in route.revisions:
                handle = self.pool.get(route.endpoint, revision.number)
                ready = handle is not None and handle.ready and handle.revision.digest == revision.digest
                # A revision that is broken already must not keep other endpoints from changing.
                known = present is not None and revision.number in present.by_number
                if not ready and not known:
                    raise UserError(
                        "revision_failed",
                        f"revision {revision.number} of {route.endpoint!r} is not loaded here",
                        "prepare it first",
                    )
        self._swap(table)

    def retire(self, endpoint: str, number: int) -> None:
        """Drop a revision after its last request. Raises `UserError("generation_conflict")` where it is routed."""
        choice = self._choices.get(endpoint)
        if choice is not None and number in choice.by_number:
            raise UserError("generation_conflict", f"the table still names revision {number} of {endpoint!r}")
        self.pool.retire(endpoint, number)
