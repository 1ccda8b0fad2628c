"""Which loaded revision answers: the routing table of the moment over the pool. On the event loop's thread only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

from seaway.core import traffic
from seaway.core.errors import TemporaryError, UserError
from seaway.core.traffic import Route, RoutedRevision, RoutingTable
from seaway.engine.pool import Handle, Pool


class _Choice:
    """One route, made ready for many requests: its revisions by number, and the only one that takes traffic."""

    __slots__ = ("by_number", "only", "route")

    def __init__(self, route: Route) -> None:
        self.route = route
        self.by_number: dict[int, RoutedRevision] = {r.number: r for r in route.revisions}
        carrying = [r for r in route.revisions if r.percent > 0]
        self.only = carrying[0] if len(carrying) == 1 else None


class Router:
    """Holds one immutable table; `commit` swaps it whole. Picking costs the same for one endpoint and for thousands."""

    def __init__(self, pool: Pool, table: RoutingTable) -> None:
        self.pool = pool
        self._swap(table)

    def _swap(self, table: RoutingTable) -> None:
        self.table = table
        self._choices = {route.endpoint: _Choice(route) for route in table.routes}

    def pick(self, endpoint: str, key: str, number: int | None = None) -> Handle:
        """The revision that answers: `number` where the caller names one, else by the traffic split and `key`.

        Enter the handle before the next await. Raises `UserError` (`endpoint_not_found`, `revision_not_found`)
        and `TemporaryError("not_ready")`.
        """
        choice = self._choices.get(endpoint) or self._unknown(endpoint)
        if number is None:
            revision = choice.only or traffic.choose(choice.route, key)
        else:
            named = choice.by_number.get(number)
            if named is None:
                known = ", ".join(str(r.number) for r in choice.route.revisions)
                raise UserError(
                    "revision_not_found", f"{endpoint!r} has no revision {number}", f"loaded here: {known}"
                )
            revision = named
        handle = self.pool.get(endpoint, revision.number)
        if handle is None or not handle.ready:
            raise TemporaryError("not_ready", f"revision {revision.number} of {endpoint!r} is not ready")
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
        """Whether every revision that takes traffic can answer."""
        for route in self.table.routes:
            for revision in route.revisions:
                handle = self.pool.get(route.endpoint, revision.number)
                if revision.percent > 0 and (handle is None or not handle.ready):
                    return False
        return True

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
