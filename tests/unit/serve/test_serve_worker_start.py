"""A worker that starts while a rollout runs: a candidate with a process of its own comes after the others."""

from __future__ import annotations

import asyncio

import msgspec
from engine_fakes import Asked, FakeModel, FakeRuntime, digest, revision, sources
from front_server import Server

from seaway.core.bundles import OpenedBundle
from seaway.core.ports import LoadedModel
from seaway.core.traffic import Limits, Route, RoutedRevision, RoutingTable, without
from seaway.engine.pool import Pool
from seaway.engine.router import Router
from seaway.serve import worker
from seaway.serve.plane import DataPlane

APART = msgspec.structs.replace(revision(2, "b", 25.0), isolated=True)
TABLE = RoutingTable(7, (Route("e", (revision(1, "a", 75.0), APART), fallback=1),))
WANTED = [("e", APART, Limits())]


def isolate(wanted: RoutedRevision, bundle: OpenedBundle) -> LoadedModel:
    return FakeModel()


def started() -> DataPlane:
    """As `worker.run` has it when it begins to serve: the shared revision is loaded."""
    server = Server()
    made = msgspec.structs.replace(sources(FakeRuntime()), isolate=isolate)
    pool = Pool(made, server.plane.clock)
    worker.load_all(pool, [("e", TABLE.routes[0].revisions[0], Limits())])
    absent = worker._absent(WANTED, set())
    router = Router(pool, without(TABLE, absent))
    plane = DataPlane(router, server.recorder, server.plane.clock, server.plane.metrics, "1")
    plane.absent, plane.whole = absent, TABLE
    return plane


def numbers(plane: DataPlane) -> set[int]:
    return {plane.router.pick("e", Asked(f"request-{n}")).revision.number for n in range(200)}


def test_its_share_is_the_stables_until_it_is_loaded_and_nobody_fails() -> None:
    async def scene() -> None:
        plane = started()
        assert numbers(plane) == {1}
        assert plane.router.table.generation == 7, "control sees a worker that is up to date"
        await worker._load_later(plane, WANTED)
        assert numbers(plane) == {1, 2}
        assert plane.router.table == TABLE

    asyncio.run(scene())


def test_a_newer_table_of_control_stays() -> None:
    async def scene() -> None:
        plane = started()
        newer = RoutingTable(8, (Route("e", (revision(1, "a", 100.0),)),))
        plane.commit(newer)
        await worker._load_later(plane, WANTED)
        assert plane.router.table == newer

    asyncio.run(scene())


def test_a_newer_table_that_still_names_it_waits_for_it_too() -> None:
    async def scene() -> None:
        plane = started()
        newer = RoutingTable(8, (msgspec.structs.replace(TABLE.routes[0], salt="other"),))
        plane.commit(newer)
        assert numbers(plane) == {1}
        await worker._load_later(plane, WANTED)
        assert plane.router.table == newer and numbers(plane) == {1, 2}

    asyncio.run(scene())


def test_what_became_absent_meanwhile_is_not_there_since_another_is_loaded() -> None:
    """A suspect that begins to move as soon as the worker serves has its own end of it."""

    async def scene() -> None:
        plane = started()
        later = asyncio.create_task(worker._load_later(plane, WANTED))
        plane.set_absent(plane.absent | {digest("c")})
        await later
        assert plane.absent == {digest("c")}

    asyncio.run(scene())


def test_one_that_ended_a_worker_for_certain_keeps_its_share_and_its_failures() -> None:
    assert worker._absent(WANTED, {digest("b")}) == set()
    assert worker._absent(WANTED, {digest("a")}) == {digest("b")}
