"""Which revision answers: traffic splits, and the immutable routing table that workers hold."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Set
from typing import Literal, NamedTuple

import msgspec

from seaway.core.bundles import Digest
from seaway.core.errors import UserError
from seaway.core.records import Chosen, RecordRules
from seaway.core.user_keys import UserKey


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one request, the queue of all and one batch may take.

    `wait_s` is the longest that an idle model waits for more rows; None leaves it to what was measured of the model.
    """

    deadline_s: float = 1.0
    queue_s: float = 2.0
    body_bytes: int = 16 * 1024 * 1024
    max_rows: int = 64
    wait_s: float | None = None


class RoutedRevision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One revision as a worker needs it.

    `bundle` is the directory of the opened bundle, `ref` NAME:vN for people; `isolated` asks for a process of its own.
    """

    number: int
    digest: Digest
    bundle: str
    ref: str
    percent: float = 0.0
    isolated: bool = False


class FlagRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Requests that go to the revision `number`, whatever the shares: where a header, a cookie or the client's preferred
    language is one of `values`. Header names and values of languages are in lower case."""

    number: int
    values: tuple[str, ...]
    key: UserKey | None = None
    """None means the language."""


class Mirror(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which share of the requests the revision `number` answers too, its answers compared and thrown away; `by` and
    `tolerance` say when two answers agree (docs/rollouts.md). With `answers` they are kept, for labels to come."""

    number: int
    percent: float
    by: Literal["exact", "tolerance", "rank"] | None = None
    tolerance: float | None = None
    answers: bool = False


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One endpoint: its revisions with their shares (0 = loaded and warm, but takes no traffic unless named).

    While a rollout runs: `salt` makes its split its own, `sticky` is the user key that the split goes by (the request id
    where a request has none), `flags` go before the split, first match first, `fallback` is the revision that answers what
    another one could not.
    """

    endpoint: str
    revisions: tuple[RoutedRevision, ...]
    limits: Limits = Limits()
    record: RecordRules = RecordRules()
    salt: str = ""
    sticky: UserKey | None = None
    flags: tuple[FlagRule, ...] = ()
    mirror: Mirror | None = None
    fallback: int | None = None

    def revision(self, number: int) -> RoutedRevision | None:
        return next((r for r in self.revisions if r.number == number), None)


class RoutingTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All routes at one moment. A worker replaces its table whole; `generation` only grows."""

    generation: int = 0
    routes: tuple[Route, ...] = ()

    def route(self, endpoint: str) -> Route | None:
        return next((r for r in self.routes if r.endpoint == endpoint), None)

    def on_trial(self) -> frozenset[Digest]:
        """Versions that another one stands in for, and that stand in for none: candidates of rollouts."""
        trusted = {
            r.digest
            for route in self.routes
            for r in route.revisions
            if route.fallback is None or r.number == route.fallback
        }
        return frozenset(r.digest for route in self.routes for r in route.revisions) - trusted


def until_loaded(route: Route, loading: Set[int]) -> Route:
    """What a worker that serves already routes by while it still loads the revisions `loading`: their shares are the
    fallback's, else those of an older one that answers, and nothing is judged, since what lacks is no fault of theirs.

    As it was where nobody may answer for them: a candidate never takes the share of the stable revision.
    """
    wanted = {r.number for r in route.revisions if r.percent > 0} | {rule.number for rule in route.flags}
    late = wanted & loading
    older = [r for r in route.revisions if r.percent > 0 and r.number < min(late, default=0)]
    heir = route.fallback if route.fallback is not None else max((r.number for r in older), default=None)
    if not late or heir is None or heir in loading:
        return route
    freed = sum(r.percent for r in route.revisions if r.number in late)
    shares = {r.number: 0.0 if r.number in late else r.percent for r in route.revisions}
    shares[heir] += freed
    return msgspec.structs.replace(
        route,
        revisions=tuple(msgspec.structs.replace(r, percent=shares[r.number]) for r in route.revisions),
        flags=tuple(rule for rule in route.flags if rule.number not in late),
        record=msgspec.structs.replace(route.record, judged=False),
    )


def without(table: RoutingTable, absent: Set[Digest]) -> RoutingTable:
    """What a worker routes by while models that belong there are absent, for no fault of theirs: see `until_loaded`. Where
    nobody may answer for them nothing is judged either."""
    if not absent:
        return table
    return msgspec.structs.replace(table, routes=tuple(_without(route, absent) for route in table.routes))


def _without(route: Route, absent: Set[Digest]) -> Route:
    loading = {revision.number for revision in route.revisions if revision.digest in absent}
    found = until_loaded(route, loading)
    lacks = any(r.number in loading and r.percent > 0 for r in found.revisions)
    if not lacks or not found.record.judged:
        return found
    return msgspec.structs.replace(found, record=msgspec.structs.replace(found.record, judged=False))


class Place(NamedTuple):
    """Where the split sends a key: `chosen` tells the slice from the rest."""

    revision: RoutedRevision
    chosen: Chosen


class Split:
    """A route's shares, made ready for many requests.

    A key's hash, which depends on the route's salt, is a point in [0, 100); revisions take consecutive intervals in the
    order of their numbers. So a candidate, which has the highest number, takes the upper end: while its share grows it
    only gains keys.

    Where two arms are sticky, the lower end is the *slice*: keys of the stable revision that are told apart, to be compared
    with the rest of its own. It is as wide as the candidate's share, but at most half of the stable's: it only gains keys
    while the candidate's share grows to a third, and only loses some beyond.
    """

    __slots__ = ("_edges", "_last", "_salt", "only")

    def __init__(self, route: Route) -> None:
        """Raises `UserError("endpoint_not_found")` where no revision takes traffic."""
        carrying = sorted((r for r in route.revisions if r.percent > 0), key=lambda r: r.number)
        if not carrying:
            raise UserError("endpoint_not_found", f"no revision of {route.endpoint!r} takes traffic")
        places = [Place(revision, Chosen.SPLIT) for revision in carrying]
        edges = itertools.accumulate(revision.percent for revision in carrying)
        self._edges = tuple(zip(edges, places, strict=True))
        if route.sticky is not None and len(carrying) == 2:
            stable, candidate = carrying
            width = min(candidate.percent, stable.percent / 2)
            self._edges = ((width, Place(stable, Chosen.SLICE)), *self._edges)
        self._last = places[-1]
        self._salt = hashlib.blake2b(route.salt.encode(), digest_size=16).digest() if route.salt else b""
        self.only = carrying[0] if len(carrying) == 1 else None
        """The one that takes all traffic."""

    def choose(self, key: bytes) -> Place:
        """The place of a key: the same key gets the same one while shares and salt stand."""
        digest = hashlib.blake2b(key, digest_size=8, salt=self._salt, person=b"seaway").digest()
        point = int.from_bytes(digest, "big") / 2**64 * 100
        for edge, place in self._edges:
            if point < edge:
                return place
        return self._last  # shares whose sum is rounded down
