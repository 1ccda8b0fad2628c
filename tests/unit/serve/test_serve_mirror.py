"""Shadow traffic in the worker: counted exactly, bounded, apart from the live predictor, and never in its way."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from engine_fakes import FakeModel, FakeRuntime, revision, sources
from front_server import Server

from seaway.core.agreement import Agreed
from seaway.core.bundles import OpenedBundle
from seaway.core.errors import PermanentError, SeawayError, TemporaryError
from seaway.core.records import Chosen, MirroredAnswer, RecordRules
from seaway.core.tensors import Tensors
from seaway.core.traffic import Limits, Mirror, Route, RoutedRevision, RoutingTable
from seaway.core.user_keys import UserKey
from seaway.engine.handle import Handle
from seaway.engine.pool import Pool
from seaway.engine.router import Router
from seaway.serve import mirror as mirroring
from seaway.serve.mirror import Mirrors


class Request:
    """`core.records.Answered`, as far as a mirror looks at it."""

    def __init__(self, number: int, values: list[float], chosen: Chosen = Chosen.ONLY) -> None:
        self.request_id = b"r-%d" % number
        self.tensors: Tensors = {"x": np.array(values, dtype=np.float32)}
        self.outputs: Tensors | None = {"y": np.array(values, dtype=np.float32) * np.float32(2)}
        self.rows = len(values)
        self.size = 10
        self.chosen = chosen
        self.user: bytes | None = None

    def header(self, name: str) -> bytes | None:
        assert name == "x-user-id"
        return self.user


class Mirrored:
    """Two revisions of `e`, the second mirrored to; `loads` are the models that were started for it."""

    def __init__(
        self,
        percent: float = 100.0,
        answer: Callable[[Tensors], Tensors] | None = None,
        answers: bool = False,
    ) -> None:
        self.pool = Pool(sources(FakeRuntime()), _Clock())
        for number in (1, 2):
            self.pool.load("e", revision(number), Limits())
        self.router = Router(self.pool, RoutingTable(1, (self.route(percent, answers),)))
        self.answer = answer
        self.loads: list[FakeModel] = []
        self.failures: list[SeawayError] = []
        self.found: Counter[Agreed] = Counter()
        self.counted_for: set[int] = set()
        self.users: list[bytes | None] = []
        self.told: list[MirroredAnswer] = []
        self.mirrors = Mirrors(self.router, self, self.load)

    @staticmethod
    def route(percent: float, answers: bool = False) -> Route:
        live, candidate = revision(1), revision(2)
        candidate = RoutedRevision(2, candidate.digest, candidate.bundle, candidate.ref, 0.0)
        mirror = Mirror(2, percent, answers=answers)
        return Route("e", (live, candidate), Limits(deadline_s=0.5), mirror=mirror, salt="s")

    def load(self, bundle: OpenedBundle) -> FakeModel:
        if self.failures:
            raise self.failures.pop()
        model = FakeModel(self.answer)
        self.loads.append(model)
        return model

    def compared(self, handle: Handle, found: Agreed, user: bytes | None) -> None:
        self.found[found] += 1
        self.counted_for.add(handle.revision.number)
        self.users.append(user)

    def mirrored(self, handle: Handle, told: MirroredAnswer) -> None:
        assert handle.revision.number == 2
        self.told.append(told)

    async def begin(self) -> None:
        self.mirrors.rules_changed()
        await until(lambda: self.shadow.has_room)

    @property
    def shadow(self) -> mirroring.Shadow:
        return self.mirrors._shadows["e"]

    @property
    def live(self) -> Handle:
        handle = self.pool.get("e", 1)
        assert handle is not None
        return handle

    def send(self, *requests: Request) -> None:
        for request in requests:
            self.mirrors.answered(request, self.live)  # type: ignore[arg-type]


class _Clock:
    def now_s(self) -> float:
        return 0.0

    def monotonic_s(self) -> float:
        return 0.0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


def run(scenario: Callable[[], object]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def test_every_mirrored_request_is_counted_once_for_the_candidate() -> None:
    async def scenario() -> None:
        mirrored = Mirrored(answer=lambda x: {"y": np.asarray(x["x"]) * np.float32(2)})
        await mirrored.begin()
        mirrored.send(*(Request(n, [1.0, 2.0]) for n in range(20)))
        await until(lambda: mirrored.found.total() == 20)
        assert mirrored.found == {Agreed.SAME: 20}
        assert mirrored.counted_for == {2}
        assert len(mirrored.loads[0].calls) == 20 and mirrored.loads[0].calls[0][1] == 0.5
        mirrored.mirrors.close()

    run(scenario)


def test_one_row_of_each_request_stands_for_it() -> None:
    """The second of two rows differs always: about half of the requests draw it."""

    def second_is_wrong(inputs: Tensors) -> Tensors:
        return {"y": np.asarray(inputs["x"]) * np.array([2.0, 3.0], dtype=np.float32)}

    async def scenario() -> None:
        mirrored = Mirrored(answer=second_is_wrong)
        await mirrored.begin()
        for start in range(0, 400, 50):
            mirrored.send(*(Request(n, [1.0, 1.0]) for n in range(start, start + 50)))
            await until(lambda: mirrored.found.total() == start + 50)  # noqa: B023 - awaited in this round
        assert 160 < mirrored.found[Agreed.DIFFER] < 240
        mirrored.mirrors.close()

    run(scenario)


def test_only_a_sample_of_the_traffic_is_mirrored() -> None:
    async def scenario() -> None:
        mirrored = Mirrored()
        await mirrored.begin()
        others = (Chosen.NAMED, Chosen.FLAG, Chosen.FALLBACK)
        mirrored.send(*(Request(n, [1.0], chosen) for n, chosen in enumerate(others)))
        mirrored.send(Request(9, []))
        streamed = Request(10, [1.0])
        streamed.outputs = None
        mirrored.send(streamed)
        candidate = mirrored.pool.get("e", 2)
        assert candidate is not None
        mirrored.mirrors.answered(Request(11, [1.0]), candidate)  # type: ignore[arg-type]
        mirrored.send(Request(12, [1.0], Chosen.SPLIT))
        await until(lambda: mirrored.found.total() == 1)
        assert len(mirrored.loads[0].calls) == 1
        mirrored.mirrors.close()

    run(scenario)


def test_the_share_is_drawn_by_the_request_id() -> None:
    async def scenario() -> None:
        mirrored = Mirrored(percent=25.0)
        await mirrored.begin()
        for _ in range(2):
            mirrored.send(*(Request(n, [1.0]) for n in range(200)))
            await until(lambda: mirrored.shadow._outstanding == 0)
        total = mirrored.found.total()
        assert total % 2 == 0 and 60 < total < 140
        mirrored.mirrors.close()

    run(scenario)


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (PermanentError("execution_failed", "its own fault"), Agreed.FAILED),
        (TemporaryError("engine_crashed", "it ended"), Agreed.FAILED),
        (TemporaryError("deadline_exceeded", "no time"), Agreed.DROPPED),
        (TemporaryError("not_ready", "being started"), Agreed.DROPPED),
        (LookupError("anything"), Agreed.FAILED),
    ],
)
def test_what_the_candidate_cannot_answer(error: Exception, found: Agreed) -> None:
    def fail(inputs: Tensors) -> Tensors:
        raise error

    async def scenario() -> None:
        mirrored = Mirrored(answer=fail)
        await mirrored.begin()
        mirrored.send(Request(1, [1.0]))
        await until(lambda: mirrored.found.total() == 1)
        assert mirrored.found == {found: 1}
        mirrored.mirrors.close()

    run(scenario)


@pytest.mark.parametrize(
    "outputs", [{}, {"y": np.zeros((2, 2), dtype=np.float32)}, {"y": np.zeros(2, dtype=np.int64)}]
)
def test_an_answer_of_another_form_is_a_failure(outputs: Tensors) -> None:
    async def scenario() -> None:
        mirrored = Mirrored(answer=lambda _: outputs)
        await mirrored.begin()
        mirrored.send(Request(1, [1.0, 2.0]))
        await until(lambda: mirrored.found.total() == 1)
        assert mirrored.found == {Agreed.FAILED: 1}
        mirrored.mirrors.close()

    run(scenario)


def test_what_the_candidate_said_is_told_where_it_is_wanted_and_only_there() -> None:
    """All rows of the output that is its answer, or that it failed; nothing of what was never run."""

    def answer(inputs: Tensors) -> Tensors:
        first = float(inputs["x"][0])
        if first == 2.0:
            raise PermanentError("execution_failed", "its own fault")
        if first == 3.0:
            raise TemporaryError("deadline_exceeded", "no time")
        return {"y": np.asarray(inputs["x"]) * np.float32(3)}

    async def scenario() -> None:
        for wanted in (False, True):
            mirrored = Mirrored(answer=answer, answers=wanted)
            await mirrored.begin()
            mirrored.send(Request(1, [1.0, 5.0]), Request(2, [2.0]), Request(3, [3.0]))
            await until(lambda: mirrored.found.total() == 3)  # noqa: B023 - awaited in this round
            assert mirrored.found == {Agreed.DIFFER: 1, Agreed.FAILED: 1, Agreed.DROPPED: 1}
            told = {
                one.request_id: (one.rows, one.outputs and one.outputs["y"].tolist()) for one in mirrored.told
            }
            assert told == ({b"r-1": (2, [3.0, 15.0]), b"r-2": (1, None)} if wanted else {})
            mirrored.mirrors.close()

    run(scenario)


def test_a_candidate_that_hangs_takes_no_more_than_the_bound() -> None:
    async def scenario() -> None:
        mirrored = Mirrored()
        await mirrored.begin()
        gate = mirrored.loads[0].gate = threading.Event()
        mirrored.send(*(Request(n, [1.0]) for n in range(100)))
        assert mirrored.found == {Agreed.DROPPED: 100 - mirroring.MOST_OUTSTANDING}
        gate.set()
        await until(lambda: mirrored.found.total() == 100)
        assert mirrored.found[Agreed.SAME] == mirroring.MOST_OUTSTANDING
        mirrored.mirrors.close()

    run(scenario)


@pytest.mark.parametrize("read", [False, True])
def test_large_requests_are_bounded_by_their_bytes(read: bool) -> None:
    """Those of their bodies, or where that is more of what was read from them."""

    async def scenario() -> None:
        mirrored = Mirrored()
        await mirrored.begin()
        gate = mirrored.loads[0].gate = threading.Event()
        large = [Request(n, [1.0]) for n in range(10)]
        for request in large:
            if read:
                request.tensors = {"x": np.zeros(4 * 1024 * 1024, np.float32)}
            else:
                request.size = 16 * 1024 * 1024
        mirrored.send(*large)
        assert mirrored.found == {Agreed.DROPPED: 8}
        gate.set()
        await until(lambda: mirrored.found.total() == 10)
        mirrored.mirrors.close()

    run(scenario)


def test_while_live_requests_wait_nothing_is_mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        mirrored = Mirrored()
        await mirrored.begin()
        monkeypatch.setattr(type(mirrored.live.predictor), "waiting", property(lambda _: True))
        mirrored.send(Request(1, [1.0]))
        assert mirrored.found == {Agreed.DROPPED: 1}
        mirrored.mirrors.close()

    run(scenario)


def test_until_its_process_is_there_requests_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[str] = []

    def told() -> bool:
        shown.append(capsys.readouterr().err)
        return "cannot be mirrored to now: execution_failed" in "".join(shown)

    async def scenario() -> None:
        mirrored = Mirrored()
        mirrored.failures.append(PermanentError("execution_failed", "no memory"))
        mirrored.mirrors.rules_changed()
        mirrored.send(Request(1, [1.0]))
        assert mirrored.found == {Agreed.DROPPED: 1}
        await until(told)  # on the mirror's thread
        mirrored.mirrors.close()

    run(scenario)


def test_a_draining_worker_drops_and_counts_and_ends_the_process() -> None:
    async def scenario() -> None:
        mirrored = Mirrored()
        await mirrored.begin()
        gate = mirrored.loads[0].gate = threading.Event()
        mirrored.send(*(Request(n, [1.0]) for n in range(3)))
        await until(lambda: len(mirrored.loads[0].calls) == 1)
        mirrored.mirrors.close()
        mirrored.mirrors.close()
        assert mirrored.loads[0].closed
        mirrored.send(Request(4, [1.0]))
        gate.set()
        await until(lambda: mirrored.found.total() == 4)
        assert mirrored.found[Agreed.DROPPED] == 3
        assert len(mirrored.loads) == 1

    run(scenario)


def test_a_table_without_the_mirror_ends_it_and_one_with_it_begins_it_again() -> None:
    async def scenario() -> None:
        mirrored = Mirrored()
        await mirrored.begin()
        mirrored.router.commit(RoutingTable(2, (mirrored.route(0.0),)))
        mirrored.mirrors.rules_changed()
        assert mirrored.loads[0].closed and not mirrored.mirrors.routes
        mirrored.send(Request(1, [1.0]))
        assert not mirrored.found
        mirrored.router.commit(RoutingTable(3, (mirrored.route(50.0),)))
        await mirrored.begin()
        mirrored.router.commit(RoutingTable(4, (mirrored.route(100.0),)))
        mirrored.mirrors.rules_changed()
        assert len(mirrored.loads) == 2, "a larger share needs no new process"
        mirrored.mirrors.close()

    run(scenario)


def test_a_revision_of_the_same_bundle_that_takes_its_place_is_mirrored_to_under_its_own_number_and_limits() -> (
    None
):
    async def scenario() -> None:
        mirrored = Mirrored()
        await mirrored.begin()
        mirrored.send(Request(1, [1.0]))
        await until(lambda: mirrored.found.total() == 1)
        second = mirrored.route(100.0).revisions[1]
        third = RoutedRevision(3, second.digest, second.bundle, second.ref, 0.0)
        mirrored.pool.load("e", third, Limits(deadline_s=0.25))
        route = msgspec.structs.replace(
            mirrored.route(100.0),
            revisions=(revision(1), third),
            limits=Limits(deadline_s=0.25),
            mirror=Mirror(3, 100.0),
        )
        mirrored.router.commit(RoutingTable(2, (route,)))
        await mirrored.begin()
        assert mirrored.loads[0].closed and len(mirrored.loads) == 2
        mirrored.counted_for.clear()
        mirrored.send(Request(2, [1.0]))
        await until(lambda: mirrored.found.total() == 2)
        assert mirrored.counted_for == {3}
        assert [deadline_s for _, deadline_s in mirrored.loads[1].calls] == [0.25]
        assert mirrored.mirrors.counts["e", "3", "same"] == 1
        mirrored.mirrors.close()

    run(scenario)


def test_where_units_are_by_user_a_pair_is_told_with_its_user_and_without_a_key_not_at_all() -> None:
    """All are in `counts`; elsewhere each request is a unit, whoever sends it."""

    async def scenario() -> None:
        mirrored = Mirrored()
        await mirrored.begin()
        plain = Request(1, [1.0])
        plain.user = b"ada"
        mirrored.send(plain)
        await until(lambda: mirrored.found.total() == 1)
        assert mirrored.users == [None]
        rules = RecordRules(judged=True, unit=UserKey(header="x-user-id"), scope=2)
        route = msgspec.structs.replace(mirrored.route(100.0), record=rules)
        mirrored.router.commit(RoutingTable(2, (route,)))
        mirrored.mirrors.rules_changed()
        gate = mirrored.loads[0].gate = threading.Event()
        requests = [Request(2 + n, [1.0]) for n in range(mirroring.MOST_OUTSTANDING + 1)]
        for number, request in enumerate(requests):
            request.user = None if number == 0 else b"" if number == 1 else b"u%d" % (number % 5)
        mirrored.send(*requests)
        assert mirrored.found[Agreed.DROPPED] == 1 and mirrored.users[1:] == [requests[-1].user]
        gate.set()
        known = [request.user for request in requests if request.user]
        await until(lambda: len(mirrored.users) == 1 + len(known))
        assert sorted(filter(None, mirrored.users)) == sorted(known)
        assert sum(mirrored.mirrors.counts.values()) == 1 + len(requests)
        mirrored.mirrors.close()

    run(scenario)


def test_the_front_hands_over_what_it_has_answered_and_counts_it_as_live_alone() -> None:
    class Heard:
        def __init__(self) -> None:
            self.routes = {"e": None}
            self.given: list[tuple[bytes, int]] = []

        def answered(self, request: Request, handle: Handle) -> None:
            assert request.outputs is not None
            self.given.append((request.request_id, handle.revision.number))

    async def scenario() -> None:
        server, heard = Server(), Heard()
        server.plane.mirrors = heard  # type: ignore[assignment]
        status, _, _ = await server.ask("/predict/e", b"[1, 2]", headers=[(b"x-request-id", b"r-1")])
        refused, _, _ = await server.ask("/predict/e", b'["x"]')
        assert (status, refused) == (200, 400)
        assert heard.given == [(b"r-1", 1)]
        assert server.counted()["predict", "e", "1", "200"] == 1

    run(scenario)
