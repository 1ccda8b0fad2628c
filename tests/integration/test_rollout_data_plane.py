"""A real worker while a rollout runs: who gets which revision, what answers where the candidate fails, what is counted."""

from __future__ import annotations

import contextlib
import http.client
import re
import time
from collections import Counter
from pathlib import Path

import faulty_bundles
import msgspec
import numpy as np
import pytest
from faulty_server import FaultyServer
from grpc_serving import OIP, Client
from onnx import TensorProto, helper, numpy_helper
from serve_process import JSON, WorkerProcess, revision, until

from ports import free_port
from seaway.core import ledger, traffic
from seaway.core.bundles import OpenedBundle
from seaway.core.ledger import Counts
from seaway.core.records import Chosen, RecordRules
from seaway.core.traffic import FlagRule, Limits, Route, RoutingTable
from seaway.core.user_keys import UserKey
from seaway.monitor.provenance import files as provenance_files
from seaway.monitor.recording import seconds
from seaway.testing import tiny_models
from seaway.wire import worker_admin

STABLE, CANDIDATE = 1, 2
ROW = b"[[1, 2, 3]]"


def counted(records: Path, number: int, which: str = "counts") -> Counts:
    """All seconds of one revision of `e` together."""
    pages = [page for page in seconds.read(records, "e", 0, 2**36) if page.revision == number]
    found = [getattr(second, which) for page in pages for second in page.seconds]
    return ledger.merge_counts(one for one in found if one is not None)


def tensor(values: list[float]) -> object:
    message = OIP.ModelInferRequest(model_name="e")
    shape = [len(values) // 3, 3] if len(values) % 3 == 0 else [len(values)]
    message.inputs.add(name="x", datatype="FP32", shape=shape).contents.fp32_contents.extend(values)
    return message


class Split:
    """A worker with two revisions of `e`, whose shares change."""

    def __init__(self, home: Path, sticky: UserKey, flags: tuple[FlagRule, ...] = ()) -> None:
        self._bundles = [tiny_models.linear(home / f"m{n}", float(n)) for n in (STABLE, CANDIDATE)]
        self._sticky, self._flags = sticky, flags
        self._generation = 1
        self.records = home / "run" / "records"
        self.worker = WorkerProcess(home / "run", self._table(30.0), grpc=True)
        self.grpc = Client(self.worker.grpc_address)

    def route(self, percent: float) -> Route:
        shares = (100.0 - percent, percent)
        revisions = tuple(
            revision(n, b, s) for n, (b, s) in enumerate(zip(self._bundles, shares, strict=True), 1)
        )
        return Route(
            "e",
            revisions,
            Limits(deadline_s=60.0, queue_s=60.0),
            RecordRules(judged=True, unit=self._sticky, scope=CANDIDATE),
            salt="e/2",
            sticky=self._sticky,
            flags=self._flags,
        )

    def _table(self, percent: float) -> RoutingTable:
        return RoutingTable(self._generation, (self.route(percent),))

    def share(self, percent: float) -> None:
        self._generation += 1
        assert self.worker.ask(worker_admin.Commit(self._table(percent))).failure is None

    def over_http(self, headers: dict[str, str], path: str = "/predict/e") -> int:
        answer = self.worker.call("POST", path, ROW, {**JSON, **headers})
        assert answer.status == 200
        return int(answer.headers["seaway-revision"])

    def over_grpc(self, *metadata: tuple[str, str]) -> int:
        _, found = self.grpc.infer(tensor([1.0, 2.0, 3.0]), metadata=metadata)
        return int(found["seaway-revision"])

    def stop(self) -> None:
        self.grpc.channel.close()
        assert self.worker.stop() == 0


@pytest.fixture(params=["header", "cookie"])
def key(request: pytest.FixtureRequest) -> UserKey:
    return UserKey(header="x-user-id") if request.param == "header" else UserKey(cookie="user")


def named(key: UserKey, user: str) -> dict[str, str]:
    return {"x-user-id": user} if key.header else {"cookie": f"theme=dark; user={user}"}


@pytest.mark.slow
def test_a_user_stays_on_the_candidate_while_its_share_grows_over_every_door(
    tmp_path: Path, key: UserKey
) -> None:
    split = Split(tmp_path, key)
    users = [f"user-{n}" for n in range(150)]
    try:
        alone = [split.over_http({"x-request-id": f"r-{n}"}) for n in range(150)]  # at 30 %, by its own id
        assert abs(alone.count(CANDIDATE) / len(users) - 0.3) < 0.13
        before = dict.fromkeys(users, STABLE)
        for percent in (5.0, 25.0, 50.0):
            split.share(percent)
            now: dict[str, int] = {}
            for place, user in enumerate(users):
                over_http, over_grpc = split.over_http, lambda marks: split.over_grpc(*marks.items())
                first, then = (over_http, over_grpc) if place % 2 else (over_grpc, over_http)
                now[user] = first(named(key, user))
                assert then(named(key, user)) == now[user]
            assert all(now[user] >= before[user] for user in users)
            on = sum(number == CANDIDATE for number in now.values())
            assert abs(on / len(users) - percent / 100) < 0.13  # about 3 standard deviations of 150
            before = now
    finally:
        split.stop()
    units = [counted(split.records, number, "units").finished for number in (STABLE, CANDIDATE)]
    assert sum(units) == len(users)  # each user once, wherever the first request went; none without a user
    first = traffic.Split(split.route(5.0))  # the share at which each user came first
    in_slice = sum(first.choose(user.encode()).chosen is Chosen.SLICE for user in users)
    pages = seconds.read(split.records, "e", 0, 2**36)
    sliced = {page.revision: sum(s.slice.finished for s in page.seconds if s.slice) for page in pages}
    assert sliced == {STABLE: in_slice, CANDIDATE: 0} and in_slice > 0
    assert sum(counted(split.records, n).finished for n in (STABLE, CANDIDATE)) == 7 * len(users)


@pytest.mark.slow
def test_flags_and_names_go_before_the_split_over_every_door_and_are_no_units(tmp_path: Path) -> None:
    group = UserKey(header="x-group")
    flags = (FlagRule(STABLE, ("staff",), group), FlagRule(CANDIDATE, ("de",)))
    split = Split(tmp_path, UserKey(header="x-user-id"), flags)
    try:
        split.share(0.001)
        german = {"accept-language": "en;q=0.8, de-CH"}
        assert split.over_http(german) == split.over_grpc(*german.items()) == CANDIDATE
        assert split.over_http({**german, "x-group": "staff"}) == STABLE
        assert split.over_grpc(*german.items(), ("x-group", "staff")) == STABLE
        metadata = split.worker.call("GET", "/v2/models/e/ready", headers=german)
        assert metadata.status == 200
        path = f"/v2/models/e/versions/{CANDIDATE}/infer"
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}
        answer = split.worker.call("POST", path, body, {**JSON, "x-request-id": "r-named"})
        assert answer.headers["seaway-revision"] == str(CANDIDATE)
        assert split.over_http({"x-user-id": "ada"}) == STABLE
    finally:
        split.stop()
    assert counted(split.records, CANDIDATE, "units").finished == 0
    assert counted(split.records, STABLE, "units").finished == 1
    assert counted(split.records, CANDIDATE).finished == 3
    (told,) = provenance_files.find(split.records, b"r-named")
    assert told.chosen == "named"


def doubled(directory: Path) -> OpenedBundle:
    """What `faulty` does, as ONNX: never fails."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
        [numpy_helper.from_array(np.array([2], np.float32), "two")],
    )
    return tiny_models.write(directory, graph, faulty_bundles.SIGNATURE)


class Failing(FaultyServer):
    """A supervisor with one worker; the candidate of `e` has 30 % and a process of its own."""

    def __init__(self, home: Path) -> None:
        stable, candidate = doubled(home / "stable"), faulty_bundles.write(home / "candidate", "candidate")
        super().__init__(home / "run", {"e": stable}, deadline_s=60.0)
        revisions = (
            revision(STABLE, stable, 70.0),
            msgspec.structs.replace(revision(CANDIDATE, candidate, 30.0), isolated=True),
        )
        route = Route(
            "e",
            revisions,
            Limits(deadline_s=60.0, queue_s=60.0),
            RecordRules(judged=True, scope=CANDIDATE),
            salt="e/2",
            fallback=STABLE,
        )
        (self.run / "table.json").write_bytes(msgspec.json.encode(RoutingTable(1, (route,))))
        self.grpc_address = f"127.0.0.1:{free_port()}"
        self.up("--grpc", self.grpc_address)
        self.warm = 0
        until(self._candidate_answers)  # its process is loaded last, and nothing is judged before
        judged_s = time.monotonic() + 1.0
        until(lambda: time.monotonic() > judged_s)  # the second in which that changes has no units

    def _candidate_answers(self) -> bool:
        self.warm += 1
        return self.ask("e", 0.25)[1]["seaway-revision"] == str(CANDIDATE)

    def fallbacks(self) -> dict[str, int]:
        """Requests of the candidate that the stable revision answered, by code."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        lines = re.findall(
            r'^seaway_fallbacks_total\{endpoint="e",revision="2",code="(\w+)".*\} (\d+)$', text, re.MULTILINE
        )
        return {code: int(count) for code, count in lines}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "code"), [(10.0, "execution_failed"), (1.0, "engine_crashed")], ids=["raises", "crashes"]
)
def test_s09_every_request_is_answered_while_the_candidate_fails_and_the_ledger_is_exact(
    tmp_path: Path, value: float, code: str
) -> None:
    """It raises, or ends its process so that the next requests find it not ready; over HTTP and gRPC alike."""
    server = Failing(tmp_path)
    records = server.run / "records"
    asked = 60
    client = Client(server.grpc_address)
    answered: Counter[int] = Counter()
    try:
        for place in range(asked):
            # A little different each time, so that no single request is taken for one that ends processes.
            one = value + place / 128
            status, headers, body = server.ask("e", one)
            assert (status, body["outputs"][0]["data"]) == (200, [2 * one])
            answered[int(headers["seaway-revision"])] += 1
            answer, metadata = client.infer(tensor([one]))
            assert list(answer.outputs[0].contents.fp32_contents) == [2 * one]
            answered[int(metadata["seaway-revision"])] += 1
        assert answered == {STABLE: 2 * asked}
        fallbacks = server.fallbacks()
    finally:
        client.channel.close()
        assert server.down() == 0
    candidate, units = counted(records, CANDIDATE), counted(records, CANDIDATE, "units")
    stable, stable_units = counted(records, STABLE), counted(records, STABLE, "units")
    failed = sum(fallbacks.values())
    assert candidate.failed == units.failed == failed
    assert code in fallbacks and set(fallbacks) <= {code, "not_ready"}
    # Each request is one unit: of the stable revision, or of the candidate, mostly as its failure.
    more = units.finished + stable_units.finished - 2 * asked
    assert 1 <= more <= server.warm  # those of the start, as far as they were judged already
    assert stable.finished - stable_units.finished == failed + server.warm - more
    assert failed > 3  # of 36 to be expected; fewer come once in 10^14 times
    assert (stable_units.failed, stable.failed) == (0, 0)
