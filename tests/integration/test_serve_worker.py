"""The worker process: start-up, two-phase table changes under load, drain, and living on without its supervisor."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
from serve_process import JSON, Answer, WorkerProcess, revision, route, until

from seaway import sockets
from seaway.bundle import oci, sources
from seaway.core.traffic import Limits, RoutingTable
from seaway.testing import tiny_models
from seaway.wire.worker_admin import Commit, Metrics, Prepare, Retire

LIMITS = Limits(deadline_s=60.0)


@pytest.fixture
def started(tmp_path: Path):
    """Starts workers and stops those that still run."""
    running: list[WorkerProcess] = []

    def start(table: RoutingTable | bytes, **options: object) -> WorkerProcess:
        worker = WorkerProcess(tmp_path / "run", table, **options)  # type: ignore[arg-type]
        running.append(worker)
        return worker

    yield start
    for worker in running:
        worker.stop()


def table_of(generation: int, *revisions: object) -> RoutingTable:
    return RoutingTable(generation, (route("prices", *revisions),))  # type: ignore[arg-type]


def test_a_worker_answers_with_the_table_that_it_finds(tmp_path: Path, started) -> None:
    bundle = tiny_models.linear(tmp_path / "m1", 1.0)
    worker = started(table_of(1, revision(1, bundle)))
    assert worker.call("POST", "/predict/prices", [[1, 2, 3]]).json == {"predictions": [7.0]}
    observed = worker.observe()
    assert (observed.generation, observed.ready, observed.pid) == (1, True, worker.process.pid)


def test_p21_a_manifest_that_changed_since_its_deploy_is_refused(tmp_path: Path, started) -> None:
    bundle = tiny_models.linear(tmp_path / "m1", 1.0)
    manifest = tmp_path / "m1" / "seaway.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"other"', b'"regression"'))
    worker = started(table_of(1, revision(1, bundle)))
    assert worker.call("POST", "/predict/prices", [[1, 2, 3]]).json["code"] == "not_ready"
    assert [(r.ready, r.error_code) for r in worker.observe().loaded] == [(False, "digest_mismatch")]


def test_fifty_commits_under_load_lose_no_request(tmp_path: Path, started) -> None:
    bundles = {number: tiny_models.linear(tmp_path / f"m{number}", float(number)) for number in (1, 2)}
    worker = started(table_of(1, revision(1, bundles[1])))
    stop = threading.Event()
    counts: dict[int, int] = {1: 0, 2: 0}
    wrong: list[str] = []

    def load(seed: int) -> None:
        connection = worker.connect()
        n = seed
        while not stop.is_set():
            n += 1
            connection.request("POST", "/predict/prices", json.dumps([[n, 0, 0]]), JSON)
            answer = Answer(connection.getresponse())
            number = int(answer.headers["seaway-revision"] or 0)
            if answer.status != 200 or answer.json["predictions"] != [float(n + number)]:
                wrong.append(f"{answer.status} {answer.body!r}")
                return
            if answer.headers["seaway-digest"] != bundles[number].digest:
                wrong.append("the digest is not the revision's")
            counts[number] += 1
        connection.close()

    threads = [threading.Thread(target=load, args=(1000 * i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for generation in range(2, 52):
        number = 2 if generation % 2 == 0 else 1
        wanted = revision(number, bundles[number])
        assert worker.ask(Prepare("prices", wanted, LIMITS)).failure is None
        assert worker.ask(Commit(table_of(generation, wanted))).failure is None
        assert worker.ask(Retire("prices", 3 - number)).failure is None
    stop.set()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert min(counts.values()) > 0
    assert [(item.number, item.ready) for item in worker.observe().loaded] == [(1, True)]


def test_the_tables_rules(tmp_path: Path, started) -> None:
    one, two = (tiny_models.linear(tmp_path / f"m{n}", float(n)) for n in (1, 2))
    worker = started(table_of(5, revision(1, one)))

    def code(request: object) -> str | None:
        failure = worker.ask(request).failure  # type: ignore[arg-type]
        return None if failure is None else failure.code

    assert code(Commit(table_of(4, revision(1, one)))) == "generation_conflict"
    assert code(Commit(table_of(6, revision(2, two)))) == "revision_failed"
    assert code(Prepare("prices", revision(2, two), LIMITS)) is None
    assert code(Prepare("prices", revision(2, two), LIMITS)) is None
    assert code(Prepare("prices", revision(2, one), LIMITS)) == "generation_conflict"
    assert code(Retire("prices", 1)) == "generation_conflict"
    assert code(Commit(table_of(6, revision(2, two)))) is None
    assert code(Commit(table_of(6, revision(2, two)))) is None
    assert code(Retire("prices", 1)) is None
    assert code(Retire("prices", 77)) is None
    assert worker.call("POST", "/predict/prices", [[0, 0, 0]]).json == {"predictions": [2.0]}
    (tmp_path / "m1" / "model.onnx").write_bytes(b"flipped")
    assert code(Prepare("prices", revision(3, one), LIMITS)) == "digest_mismatch"
    assert code(Commit(table_of(7, revision(3, one)))) == "revision_failed"
    assert worker.observe().generation == 6


def test_a_line_that_is_no_request_is_answered(tmp_path: Path, started) -> None:
    worker = started(RoutingTable())
    with sockets.connect_unix(worker.admin_path, 60.0) as connection:
        connection.sendall(b"hello\n")
        assert b"invalid_request" in connection.recv(4096)
    assert worker.observe().loaded == ()
    assert worker.call("GET", "/v2/health/ready").status == 200


def slow_request(worker: WorkerProcess, rounds: float, answers: list[Answer]) -> threading.Thread:
    """A request that takes a while, in a thread; returns once the model runs."""
    thread = threading.Thread(target=lambda: answers.append(worker.call("POST", "/predict/slow", [[rounds]])))
    thread.start()
    until(lambda: any(item.in_flight for item in worker.observe().loaded))
    return thread


def slow_table(tmp_path: Path, deadline_s: float) -> RoutingTable:
    limits = Limits(deadline_s=deadline_s)
    return RoutingTable(1, (route("slow", revision(1, tiny_models.endless(tmp_path / "e")), limits=limits),))


def test_f08_sigterm_answers_what_is_in_flight_and_exits_0(tmp_path: Path, started) -> None:
    worker = started(slow_table(tmp_path, 1.0))
    idle = worker.connect()
    idle.request("GET", "/v2/health/live")
    assert Answer(idle.getresponse()).status == 200
    answers: list[Answer] = []
    thread = slow_request(worker, 1e12, answers)
    worker.process.send_signal(signal.SIGTERM)
    until(lambda: worker.observe().draining)
    idle.request(
        "GET", "/v2/health/ready"
    )  # a connection that was open before still gets its answer, then closes
    refused = Answer(idle.getresponse())
    assert (refused.status, refused.json["code"]) == (503, "draining")
    assert refused.headers["connection"] == "close"
    thread.join(60)
    assert [answer.json["code"] for answer in answers] == ["deadline_exceeded"]  # answered, not cut off
    assert worker.process.wait(60) == 0


def test_f08_the_second_sigterm_ends_it_at_once(tmp_path: Path, started) -> None:
    worker = started(slow_table(tmp_path, 600.0), drain_s=600.0)
    thread = threading.Thread(target=_expect_a_cut, args=(worker,))
    thread.start()
    until(lambda: any(item.in_flight for item in worker.observe().loaded))
    worker.process.send_signal(signal.SIGTERM)
    until(lambda: worker.observe().draining)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(60) == 4  # the drain, and what it waits for, have ten minutes
    thread.join(60)


def _expect_a_cut(worker: WorkerProcess) -> None:
    with pytest.raises(ConnectionError):
        worker.call("POST", "/predict/slow", [[1e12]])


def test_f08_the_drain_has_an_end(tmp_path: Path, started) -> None:
    worker = started(slow_table(tmp_path, 600.0), drain_s=0.3)
    thread = threading.Thread(target=_expect_a_cut, args=(worker,))
    thread.start()
    until(lambda: any(item.in_flight for item in worker.observe().loaded))
    assert worker.stop() == 0
    thread.join(60)


def test_f08_connections_that_wait_while_a_worker_stops_go_to_its_successor(tmp_path: Path, started) -> None:
    bundle = tiny_models.linear(tmp_path / "m", 1.0)
    first = started(table_of(1, revision(1, bundle)))
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(60) == 0
    with socket.create_connection(
        ("127.0.0.1", first.port), 60
    ) as waiting:  # nobody accepts now, yet none is lost
        waiting.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        command = [sys.executable, "-m", "seaway.wiring.worker", "--run", str(first.run), "--slot", "0"]
        successor = subprocess.Popen(
            [*command, "--fd", str(first.listener.fileno())],
            pass_fds=[first.listener.fileno()],
            stderr=subprocess.DEVNULL,
        )
        try:
            assert waiting.makefile("rb").read().startswith(b"HTTP/1.1 200 OK")
        finally:
            successor.send_signal(signal.SIGTERM)
            assert successor.wait(60) == 0


def test_f08_sigterm_under_load_loses_no_request(tmp_path: Path, started) -> None:
    table = table_of(1, revision(1, tiny_models.linear(tmp_path / "m", 1.0)))
    stays = started(table, slot=0)
    goes = started(table, slot=1, listener=stays.listener)
    stop = threading.Event()
    wrong: list[str] = []
    answered: list[int] = []

    def load(keep_alive: bool) -> None:
        connection = stays.connect()
        count = 0
        while not stop.is_set():
            headers = JSON if keep_alive else JSON | {"connection": "close"}
            try:
                connection.request("POST", "/predict/prices", json.dumps([[count, 0, 0]]), headers)
                answer = Answer(connection.getresponse())
            except OSError as error:
                wrong.append(repr(error))
                return
            if (answer.status, answer.json["predictions"]) != (200, [count + 1.0]):
                wrong.append(f"{answer.status} {answer.body!r}")
                return
            count += 1
        connection.close()
        answered.append(count)

    threads = [threading.Thread(target=load, args=(n % 2 == 0,)) for n in range(6)]
    for thread in threads:
        thread.start()
    label = 'seaway_requests_total{door="predict",endpoint="prices",revision="1",code="200",worker="1"}'
    until(lambda: label in (goes.ask(Metrics()).metrics or ""))  # both get their share
    goes.process.send_signal(signal.SIGTERM)
    assert goes.process.wait(60) == 0
    stop.set()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert min(answered) > 0


def test_f05_a_worker_serves_on_when_its_parent_is_gone_and_hands_its_socket_over(tmp_path: Path) -> None:
    bundle = tiny_models.linear(tmp_path / "m", 1.0)
    code = (
        "import sys, pathlib, msgspec; sys.path[:0] = sys.argv[3:]\n"
        "from serve_process import WorkerProcess; from seaway.core.traffic import RoutingTable\n"
        "table = msgspec.json.decode(pathlib.Path(sys.argv[2]).read_bytes(), type=RoutingTable)\n"
        "worker = WorkerProcess(pathlib.Path(sys.argv[1]), table)\n"
        "print(worker.port, worker.process.pid, flush=True)\n"
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run, here = tmp_path / "run", Path(__file__).parent
    helpers = [here, here.parent / "proof"]
    run.mkdir()
    (tmp_path / "given.json").write_bytes(msgspec.json.encode(table_of(1, revision(1, bundle))))
    parent = subprocess.run(
        [sys.executable, "-c", code, str(run), str(tmp_path / "given.json"), *map(str, helpers)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert parent.returncode == -signal.SIGKILL, parent.stderr
    port, pid = map(int, parent.stdout.split())
    try:
        with socket.create_connection(("127.0.0.1", port), 60) as connection:
            connection.sendall(b"GET /v2/health/ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            assert connection.makefile("rb").read().startswith(b"HTTP/1.1 200 OK")
        with sockets.connect_unix(run / "worker-0.fd", 60.0) as door:
            _, descriptors, _, _ = socket.recv_fds(door, 1, 1)
        with socket.socket(fileno=descriptors[0]) as adopted:
            assert adopted.getsockname() == ("127.0.0.1", port)
            assert adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    finally:
        os.kill(pid, signal.SIGTERM)


def test_f05_a_log_that_nobody_reads_any_more_stops_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    table = RoutingTable(1, (route("words", revision(1, tiny_models.lookup(tmp_path / "w"))),))
    (run / "table.json").write_bytes(msgspec.json.encode(table))
    (listener,) = sockets.listen_tcp("127.0.0.1", 0)
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "seaway.wiring.worker", "--run", str(run), "--slot", "0"]
    process = subprocess.Popen(
        [*command, "--fd", str(listener.fileno())], pass_fds=[listener.fileno()], stderr=writer
    )
    os.close(writer)
    os.close(reader)
    try:
        for _ in range(3):
            connection = http.client.HTTPConnection(*listener.getsockname(), timeout=60)
            connection.request("POST", "/predict/words", b'[[99,"n"]]', JSON)
            answer = Answer(connection.getresponse())
            connection.close()
            assert (answer.status, answer.json["code"]) == (500, "execution_failed")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        listener.close()


def test_metrics_are_those_of_all_workers_each_under_its_label(tmp_path: Path, started) -> None:
    table = table_of(1, revision(1, tiny_models.linear(tmp_path / "m", 1.0)))
    workers = [started(table, slot=slot) for slot in (0, 1)]
    for worker in workers:
        for _ in range(3):
            assert worker.call("POST", "/predict/prices", [[1, 2, 3]]).status == 200
        assert worker.call("POST", "/predict/prices", [[1, 2]]).status == 400
    answer = workers[0].call("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.body.decode().splitlines()
    labels = 'door="predict",endpoint="prices",revision="1"'
    for slot in (0, 1):
        assert f'seaway_requests_total{{{labels},code="200",worker="{slot}"}} 3' in lines
        assert f'seaway_requests_total{{{labels},code="wrong_shape",worker="{slot}"}} 1' in lines
        assert f'seaway_request_duration_seconds_count{{{labels},code="200",worker="{slot}"}} 3' in lines
    assert "seaway_workers 2" in lines
    own = workers[1].ask(Metrics()).metrics
    assert own is not None
    assert f'seaway_requests_total{{{labels},code="200",worker="1"}} 3' in own.splitlines()
    assert workers[1].stop() == 0
    started(table, slot=1)  # begins at zero, under its own label
    lines = workers[0].call("GET", "/metrics").body.decode().splitlines()
    assert "seaway_workers 2" in lines
    assert [
        line for line in lines if line.startswith("seaway_requests_total") and f'{labels},code="200"' in line
    ] == [f'seaway_requests_total{{{labels},code="200",worker="0"}} 3']


def test_a_fault_while_loading_is_reported_and_the_others_serve(tmp_path: Path, started) -> None:
    """A sample that is not there: an OSError from deep inside, at start and in a prepare."""
    good, odd = tiny_models.linear(tmp_path / "good", 1.0), tiny_models.linear(tmp_path / "odd", 2.0)
    lacking = msgspec.structs.replace(odd.manifest, sample="sample.jsonl")
    (tmp_path / "odd" / oci.MANIFEST_FILE).write_bytes(oci.canonical(lacking))
    odd = sources.open_directory(tmp_path / "odd")
    table = RoutingTable(1, (route("prices", revision(1, good)), route("odd", revision(1, odd))))
    worker = started(table)
    assert worker.call("POST", "/predict/prices", [[1, 2, 3]]).json == {"predictions": [7.0]}
    assert worker.call("POST", "/predict/odd", [[1, 2, 3]]).json["code"] == "not_ready"
    loaded = {item.endpoint: item for item in worker.observe().loaded}
    assert (loaded["odd"].ready, loaded["odd"].error_code) == (False, "internal")
    failure = worker.ask(Prepare("prices", revision(2, odd), LIMITS)).failure
    assert failure is not None
    for text in (failure.message, loaded["odd"].error or ""):
        assert text == "the revision cannot be loaded: FileNotFoundError (No such file or directory)"
    assert "sample.jsonl" in worker.log.read_text()  # the operator finds the rest in the log
    assert [(i.number, i.error_code) for i in worker.observe().loaded if i.endpoint == "prices"] == [
        (1, None),
        (2, "internal"),
    ]


def test_a_damaged_table_is_said_and_the_worker_waits_for_control(tmp_path: Path, started) -> None:
    bundle = tiny_models.linear(tmp_path / "m1", 1.0)
    worker = started(b'{"generation": "one"}')
    assert worker.call("GET", "/v2/health/live").status == 200
    assert worker.call("POST", "/predict/prices", [[1, 2, 3]]).json["code"] == "endpoint_not_found"
    table = table_of(1, revision(1, bundle))
    for request in (Prepare("prices", table.routes[0].revisions[0], Limits()), Commit(table)):
        assert worker.ask(request).failure is None
    assert worker.call("POST", "/predict/prices", [[1, 2, 3]]).json == {"predictions": [7.0]}
