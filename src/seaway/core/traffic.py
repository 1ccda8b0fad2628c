"""Which revision answers: traffic splits, and the immutable routing table that workers hold."""

from __future__ import annotations

import hashlib

import msgspec

from seaway.core.bundles import Digest
from seaway.core.errors import UserError
from seaway.core.records import RecordRules


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


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One endpoint: its revisions with their shares (0 = loaded and warm, but takes no traffic unless named)."""

    endpoint: str
    revisions: tuple[RoutedRevision, ...]
    limits: Limits = Limits()
    record: RecordRules = RecordRules()

    def revision(self, number: int) -> RoutedRevision | None:
        return next((r for r in self.revisions if r.number == number), None)


class RoutingTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All routes at one moment. A worker replaces its table whole; `generation` only grows."""

    generation: int = 0
    routes: tuple[Route, ...] = ()

    def route(self, endpoint: str) -> Route | None:
        return next((r for r in self.routes if r.endpoint == endpoint), None)


def choose(route: Route, key: str) -> RoutedRevision:
    """The revision that answers a request with this key: the same key gets the same one while shares stand.

    The key's hash is a point in [0, 100); revisions take consecutive intervals in the order of their numbers.
    """
    carrying = [r for r in route.revisions if r.percent > 0]
    if len(carrying) == 1:
        return carrying[0]
    if not carrying:
        raise UserError("endpoint_not_found", f"no revision of {route.endpoint!r} takes traffic")
    carrying.sort(key=lambda r: r.number)
    digest = hashlib.blake2b(key.encode(), digest_size=8, person=b"seaway").digest()
    point = int.from_bytes(digest, "big") / 2**64 * 100
    edge = 0.0
    for revision in carrying:
        edge += revision.percent
        if point < edge:
            return revision
    return carrying[-1]
