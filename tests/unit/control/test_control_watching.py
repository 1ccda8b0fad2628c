"""GET /endpoints/NAME/seconds: all workers are asked, only whole seconds are told, who is missing is named."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from control_fakes import OWNER, Answer, PatientWorkers, Plane, digest_of, exchange

from seaway import sockets
from seaway.control import api, doors, routes, views, watching
from seaway.control.bell import Bell
from seaway.control.effects import Effects
from seaway.control.rollouts.metrics import RolloutMetrics
from seaway.core.ledger import Counts, Page, Second
from seaway.wire import worker_admin

SOCKET = doors.SocketDoor(owner=os.geteuid())
ME = (str(os.geteuid()), 1)


class Worker:
    """A worker's admin socket that knows `seconds` and `observe`; a silent one never answers."""

    def __init__(self, run: Path, slot: int, *pages: Page, silent: bool = False) -> None:
        self._path, self._slot, self._pages, self._silent = run / f"worker-{slot}.sock", slot, pages, silent
        self.asked: list[worker_admin.Seconds] = []

    async def start(self) -> asyncio.Server:
        return await asyncio.start_unix_server(self._serve, sock=sockets.listen_unix(self._path))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = msgspec.json.decode(await reader.readline(), type=worker_admin.Request)
        if isinstance(request, worker_admin.Seconds):
            self.asked.append(request)
            if self._silent:
                writer.close()
                return
            reply = worker_admin.Reply(pages=self._pages)
        else:
            reply = worker_admin.Reply(observed=self._observed())
        writer.write(msgspec.json.encode(reply) + b"\n")
        writer.close()

    def _observed(self) -> worker_admin.Observed:
        loaded = tuple(
            worker_admin.LoadedRevision(name, 1, digest_of(name, 1), ready=True)
            for name in ("prices", "other")
        )
        return worker_admin.Observed(self._slot, 100, 1, True, False, loaded, 4096)


@pytest.fixture
def plane() -> Iterator[Plane]:
    plane = Plane()
    plane.deployments.deploy(OWNER, "prices", views.DeployRequest(bundle="prices:v1"))
    yield plane


def ask(plane: Plane, run: Path, path: str, *workers: Worker) -> Answer:
    """One request to a control API whose workers are these."""

    async def talk() -> Answer:
        bell = Bell()
        effects = Effects(
            plane.store, plane.bundles, PatientWorkers(run), run / "table", plane.clock, bell.ring
        )
        with ThreadPoolExecutor(2) as deploying:
            parts = routes.Parts(
                plane.deployments,
                plane.rollouts,
                effects,
                bell,
                deploying,
                plane.records,
                plane.clock,
                RolloutMetrics(plane.store, plane.records, plane.clock),
            )
            async with contextlib.AsyncExitStack() as held:
                for worker in workers:
                    server = await worker.start()
                    held.callback(server.close)
                await effects.observe()
                return await exchange(api.create_app(parts, SOCKET), "GET", path, b"", {}, ME)

    return asyncio.run(talk())


def told(answer: Answer) -> views.Seconds:
    assert answer.status == 200, answer.body
    return msgspec.json.decode(answer.body, type=views.Seconds)


def page(*seconds: tuple[int, int]) -> Page:
    """Finished requests by second."""
    return Page("prices", 1, digest_of("prices", 1), tuple(Second(s, Counts(finished=n)) for s, n in seconds))


def test_all_workers_are_added_up_second_by_second(plane: Plane, tmp_path: Path) -> None:
    end_s = watching.complete_through_s(plane.clock.now_s())
    first = Worker(tmp_path, 0, page((end_s - 1, 5), (end_s, 7)))
    second = Worker(tmp_path, 1, page((end_s, 30)))
    found = told(ask(plane, tmp_path, "/endpoints/prices/seconds", first, second))
    assert found.through_s == end_s and found.missing == ()
    (merged,) = found.pages
    assert [(s.at_s, s.counts.finished) for s in merged.seconds] == [(end_s - 1, 5), (end_s, 37)]
    assert [worker.slot for worker in found.workers] == [0, 1]
    assert all([loaded.endpoint for loaded in w.loaded] == ["prices"] for w in found.workers)
    assert first.asked == [worker_admin.Seconds(0, "prices")]


def test_a_second_that_some_worker_may_still_count_waits_for_the_next_question(
    plane: Plane, tmp_path: Path
) -> None:
    now_s = int(plane.clock.now_s())
    worker = Worker(tmp_path, 0, page(*((now_s - ago, 1) for ago in (6, 5, 4, 3, 2, 1))))
    path = f"/endpoints/prices/seconds?after={now_s - 5}"
    found = told(ask(plane, tmp_path, path, worker))
    assert worker.asked == [worker_admin.Seconds(now_s - 5, "prices")]
    assert [s.at_s for s in found.pages[0].seconds] == [now_s - 4, now_s - 3]
    plane.clock.advance(0.5)  # second now - 2 ended 1.5 s ago
    assert told(ask(plane, tmp_path, path, worker)).through_s == now_s - 2


def test_a_worker_that_gives_no_answer_is_named_and_the_others_count(plane: Plane, tmp_path: Path) -> None:
    end_s = watching.complete_through_s(plane.clock.now_s())
    well, lost = Worker(tmp_path, 0, page((end_s, 2))), Worker(tmp_path, 1, silent=True)
    found = told(ask(plane, tmp_path, "/endpoints/prices/seconds", well, lost))
    assert [one.slot for one in found.missing] == [1]
    assert "worker 1" in found.missing[0].why
    assert found.pages[0].seconds[0].counts.finished == 2


def test_an_unknown_endpoint_and_a_second_that_is_none_are_refused(plane: Plane, tmp_path: Path) -> None:
    assert ask(plane, tmp_path, "/endpoints/none/seconds").json()["code"] == "endpoint_not_found"
    for text in ("-1", "1.5", "x", "9" * 13):
        answer = ask(plane, tmp_path, f"/endpoints/prices/seconds?after={text}")
        assert (answer.status, answer.json()["code"]) == (400, "invalid_request")


def test_a_worker_says_what_it_draws_from_and_what_it_cannot_keep() -> None:
    observed = worker_admin.Observed(
        0, 7, 1, True, False, (), recorder_rate=0.25, recorder_faults=("seconds: full",)
    )
    seen = watching.worker_status(observed)
    assert (seen.recorder_rate, seen.recorder_faults) == (0.25, ("seconds: full",))
