"""Models that answer step by step behind a real worker: replies one by one, clients that leave, errors, drain."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import step_models
from serve_process import WorkerProcess, revision, route, until

import datasets
import seaway
from seaway.core.errors import PermanentError, TemporaryError, UserError
from seaway.core.steps import StepRules, Window
from seaway.core.traffic import Limits, RoutingTable
from server import SEAWAY, Seaway

pytestmark = pytest.mark.slow
WIDE_STEPS = 300
HURRY_S = 6.0
WORK = 20_000.0
"""Rounds of the slow model's loop: some ten milliseconds a step, so a minute or more for all of its steps."""
LEFT_S = 15.0
"""After which no step is made any more for a client that left: a step's time, and what a loaded machine adds."""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> RoutingTable:
    directory = tmp_path_factory.mktemp("bundles")
    slow = step_models.packaged(directory, step_models.slow_model(directory / "slow.onnx"), step_models.SLOW)
    apart = step_models.packaged(  # another digest, so that it shares nothing with `slow`
        directory, directory / "slow.onnx", msgspec.structs.replace(step_models.SLOW, max_steps=4_000)
    )
    vad = step_models.packaged(directory, datasets.fetch("silero-vad"), step_models.VAD)
    forecast = step_models.packaged(
        directory, step_models.forecaster(directory / "forecast.onnx")[0], step_models.FORECAST
    )
    breaking = step_models.packaged(
        directory, step_models.breaking_model(directory / "breaking.onnx"), step_models.BREAKING
    )
    wide = step_models.packaged(
        directory,
        step_models.window_model(directory / "wide.onnx"),
        StepRules(("seen",), WIDE_STEPS, {"total": "state"}, ("state",), window=Window("x", 1, 20_000)),
    )
    return RoutingTable(
        1,
        (
            route("slow", revision(1, slow)),
            route("hurried", revision(1, slow), limits=Limits(deadline_s=HURRY_S)),
            route("vad", revision(1, vad)),
            route("forecast", revision(1, forecast)),
            route("apart", msgspec.structs.replace(revision(1, apart), isolated=True)),
            route("breaking", revision(1, breaking)),
            route("wide", revision(1, wide)),
        ),
    )


@pytest.fixture(scope="module")
def worker(table: RoutingTable, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(tmp_path_factory.mktemp("run"), table)
    until(lambda: worker.observe().ready)
    yield worker
    worker.stop()


def client_of(worker: WorkerProcess) -> seaway.Client:
    return seaway.Client(f"http://127.0.0.1:{worker.port}")


def infer(worker: WorkerProcess, endpoint: str, output: str, **inputs: np.ndarray) -> list[Any]:
    """The output's values by the Open Inference Protocol."""
    kinds = {"float32": "FP32", "int64": "INT64"}
    body = {
        "inputs": [
            {"name": n, "shape": list(a.shape), "datatype": kinds[str(a.dtype)], "data": a.ravel().tolist()}
            for n, a in inputs.items()
        ]
    }
    answer = worker.call("POST", f"/v2/models/{endpoint}/infer", body)
    assert answer.status == 200, answer.body
    return next(o["data"] for o in answer.json["outputs"] if o["name"] == output)


def in_flight(worker: WorkerProcess, endpoint: str) -> int:
    return next(one.in_flight for one in worker.observe().loaded if one.endpoint == endpoint)


def children(worker: WorkerProcess) -> list[int]:
    """The processes that the worker has started and that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it has just ended
        if int(parent) == worker.process.pid and state != "Z":
            found.append(int(path.parent.name))
    return found


def resting(pid: int, seconds: float) -> bool:
    """Whether a process uses next to no processor time for so long."""
    before, began = cpu_s(pid), time.monotonic()
    until(lambda: time.monotonic() - began > seconds)
    return cpu_s(pid) - before < 0.2 * seconds


def cpu_s(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_infer_and_the_stream_give_the_same_numbers(worker: WorkerProcess) -> None:
    client = client_of(worker)
    samples = step_models.audio(3.0)
    heard = [reply["output"] for reply in client.stream("vad", {"input": samples[0]})]
    assert len(heard) == -(-samples.shape[1] // step_models.PIECE)
    assert heard == infer(worker, "vad", "output", input=samples)
    assert client.predict("vad", [{"input": samples[0].tolist()}]) == [heard]
    recent = step_models.last_day()
    five = np.array([5], np.int64)
    told = [r["price"] for r in client.stream("forecast", {"recent": recent[0], "max_steps": 5})]
    assert told == infer(worker, "forecast", "price", recent=recent, max_steps=five)
    assert told == infer(worker, "forecast", "price", recent=recent)[:5]


def test_each_reply_comes_while_the_next_ones_are_made(worker: WorkerProcess) -> None:
    """All of them would take a minute or more; a server that collects them would not answer here."""
    replies = client_of(worker).stream("slow", {"rounds": WORK}, request_id="one-by-one")
    began = time.monotonic()
    assert [next(replies)["count"] for _ in range(5)] == [1, 2, 3, 4, 5]
    assert time.monotonic() - began < 30
    assert in_flight(worker, "slow") == 1
    replies.close()


def test_the_bytes_are_server_sent_events(worker: WorkerProcess) -> None:
    body = json.dumps({"rounds": 1, "max_steps": 2})
    answer = worker.call("POST", "/v2/models/slow/generate_stream", json.loads(body))
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["seaway-revision"] == "1"
    lines = [line for line in answer.body.decode().split("\n") if line.startswith("data:")]
    replies = [json.loads(line[5:]) for line in lines]
    assert replies[:2] == [
        {"model_name": "slow", "model_version": "1", "count": count} for count in (1.0, 2.0)
    ]
    assert answer.body.endswith(b"\n\n")


def test_openapi_describes_the_streams_with_an_example_that_works(worker: WorkerProcess) -> None:
    paths = worker.call("GET", "/openapi.json").json["paths"]
    for endpoint in ("vad", "forecast"):
        path = f"/v2/models/{endpoint}/generate_stream"
        operation = paths[path]["post"]
        assert list(operation["responses"]["200"]["content"]) == ["text/event-stream"]
        answer = worker.call("POST", path, operation["requestBody"]["content"]["application/json"]["example"])
        assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
    row = paths["/v2/models/forecast/generate_stream"]["post"]["requestBody"]["content"]["application/json"]
    assert set(row["schema"]["properties"]) == {"recent", "max_steps"}
    assert row["schema"]["required"] == ["recent"]


def test_a_client_that_leaves_ends_the_steps_within_a_second(worker: WorkerProcess) -> None:
    with contextlib.closing(client_of(worker).stream("slow", {"rounds": WORK})) as replies:
        next(replies)
        until(lambda: not resting(worker.process.pid, 0.5))  # steps take processor time while somebody reads
    until(lambda: in_flight(worker, "slow") == 0, LEFT_S)
    until(lambda: resting(worker.process.pid, 0.5))  # and none when nobody does


def test_a_model_in_a_process_of_its_own_streams_and_stops_too(worker: WorkerProcess) -> None:
    client = client_of(worker)
    row = {"rounds": 1, "max_steps": 50}
    assert list(client.stream("apart", row)) == list(client.stream("slow", row))
    with contextlib.closing(client.stream("apart", {"rounds": WORK})) as replies:
        next(replies)
        (child,) = children(worker)
        until(lambda: not resting(child, 0.5))
    until(lambda: in_flight(worker, "apart") == 0, LEFT_S)
    until(lambda: resting(child, 0.5))


def test_a_client_that_does_not_read_stops_the_steps(worker: WorkerProcess) -> None:
    """Back-pressure: 24 MB of replies are not made for nobody, beyond what the sockets hold."""
    body = json.dumps({"x": [1.0] * WIDE_STEPS}).encode()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", worker.port))
        head = f"POST /v2/models/wide/generate_stream HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
        connection.sendall(head.encode() + b"content-type: application/json\r\n\r\n" + body)
        assert connection.recv(1) == b"H"
        until(lambda: resting(worker.process.pid, 0.3))
        assert in_flight(worker, "wide") == 1
    until(lambda: in_flight(worker, "wide") == 0)


def test_an_error_before_the_first_reply_has_its_own_status(worker: WorkerProcess) -> None:
    client = client_of(worker)
    for row, code in (
        ({"rounds": 1, "max_steps": 0}, "invalid_value"),
        ({"rounds": "many"}, "wrong_dtype"),
        ({"rounds": 1, "colour": 1}, "unknown_input"),
        ({}, "missing_input"),
    ):
        with pytest.raises(UserError) as caught:
            next(client.stream("slow", row))
        assert caught.value.code == code
    with pytest.raises(PermanentError) as failed:
        next(client.stream("breaking", {"place": 99}))
    assert failed.value.code == "execution_failed"
    with pytest.raises(UserError) as unknown:
        next(client.stream("nobody", {"x": 1}))
    assert unknown.value.code == "endpoint_not_found"


def test_an_error_after_some_replies_ends_the_stream(worker: WorkerProcess) -> None:
    replies = client_of(worker).stream("breaking", {"place": 10})
    assert [next(replies)["y"] for _ in range(3)] == [10, 11, 12]
    with pytest.raises(PermanentError) as caught:
        next(replies)
    assert caught.value.code == "execution_failed"
    assert worker.call("POST", "/v2/models/slow/generate_stream", {"rounds": 1, "max_steps": 1}).status == 200


def test_the_deadline_is_for_each_reply(worker: WorkerProcess) -> None:
    client = client_of(worker)
    began = time.monotonic()
    for _ in client.stream("hurried", {"rounds": WORK}):
        if time.monotonic() - began > 2.1 * HURRY_S:  # longer than two deadlines
            break
    else:
        pytest.fail("the stream ended by itself")
    with pytest.raises(TemporaryError) as late:
        next(client.stream("hurried", {"rounds": 1e12}))
    assert late.value.code == "deadline_exceeded"
    body = {"inputs": [{"name": "rounds", "shape": [1], "datatype": "FP32", "data": [WORK]}]}
    assert worker.call("POST", "/v2/models/hurried/infer", body).json["code"] == "deadline_exceeded"


def test_streams_leave_room_for_predictions(worker: WorkerProcess) -> None:
    replies = client_of(worker).stream("slow", {"rounds": WORK})
    next(replies)
    samples = step_models.audio(0.1)
    for _ in range(5):
        assert len(infer(worker, "vad", "output", input=samples)) == 4
    next(replies)
    replies.close()


def test_a_drain_waits_for_the_streams_that_are_open(table: RoutingTable, tmp_path: Path) -> None:
    worker = WorkerProcess(tmp_path / "run", table, drain_s=120.0)
    try:
        replies = client_of(worker).stream("slow", {"rounds": WORK, "max_steps": 40})
        counts = [next(replies)["count"]]
        os.kill(worker.process.pid, signal.SIGTERM)
        until(lambda: worker.observe().draining)
        counts += [reply["count"] for reply in replies]
        assert counts == list(range(1, 41))
        assert worker.process.wait(60) == 0
    finally:
        worker.stop()


def test_a_packaged_model_streams_to_the_command_line(tmp_path: Path) -> None:
    server = Seaway(tmp_path)
    (tmp_path / "vad.toml").write_text(
        'emit = ["output"]\nmax_steps = 2000\nzeros = ["state"]\nfeedback = {stateN = "state"}\n'
        'fixed = {sr = 16000}\nwindow = {input = "input", length = 512, context = 64}\n'
    )
    samples = step_models.audio(1.0)[0].tolist()
    (tmp_path / "audio.json").write_text(json.dumps({"input": samples}))
    model, rules = str(datasets.fetch("silero-vad")), str(tmp_path / "vad.toml")
    server.run("package", model, "--name", "vad", "--steps", rules, "--no-lock")
    assert "input in pieces of 512" in server.run("show", "vad:v1")
    url = f"http://127.0.0.1:{server.port}"
    with (tmp_path / "serve.log").open("wb") as log:
        command = [SEAWAY, "serve", "vad:v1", "--http", f"127.0.0.1:{server.port}"]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=server.environment)
    try:
        server.wait_until(lambda: _ready(server), 120, "seaway serve did not become ready")
        asked = ("predict", "vad", "--data", str(tmp_path / "audio.json"), "--stream", "--url", url)
        lines = [json.loads(line) for line in server.run(*asked).splitlines()]
        assert len(lines) == 32
        assert [line["output"] for line in lines] == seaway.Client(url).predict("vad", [samples])[0]
        assert server.json(*asked) == {"replies": lines}
        assert "is not one JSON row" in _refused(server, "vad", str(tmp_path / "vad.toml"), url)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 0


def _ready(server: Seaway) -> bool:
    try:
        return server.get("/v2/health/ready")[0] == 200
    except OSError:
        return False


def _refused(server: Seaway, endpoint: str, data: str, url: str) -> str:
    """What the command line says on stderr, with exit code 2."""
    words = [SEAWAY, "predict", endpoint, "--data", data, "--stream", "--url", url]
    done = subprocess.run(words, capture_output=True, text=True, env=server.environment, timeout=120)
    assert done.returncode == 2, done
    return done.stderr
