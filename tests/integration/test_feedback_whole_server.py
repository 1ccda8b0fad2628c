"""Feedback on a whole server: `seaway up` with two workers, clients of both kinds, and live quality equal to what the
same outcomes give by hand. The control process is killed in between."""

from __future__ import annotations

import json
import math
import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc_serving
import numpy as np
import pytest

import seaway
from ports import free_port
from seaway.core.errors import TemporaryError, UserError
from seaway.core.feedback import FeedbackAnswer
from server import Seaway, linear_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FACTOR = 2.0
ROWS = {f"p-{number}": (float(number), 1.0) for number in range(40)}
BATCH = ((50.0, 1.0), (51.0, 1.0), (52.0, 1.0))
LINES = "application/x-ndjson"
DEPLOYED = """\
version: 1
endpoint: prices
serve: {bundle: 'prices:v1'}
limits: {deadline: 60s, queue: 60s}
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Seaway, str]]:
    """The server, and the address of its gRPC door."""
    server, grpc_address = Seaway(tmp_path), f"127.0.0.1:{free_port()}"
    model = linear_model(tmp_path / "model.onnx", FACTOR)
    server.run("package", str(model), "--name", "prices", "--no-lock")
    http = f"127.0.0.1:{server.port}"
    server.process = server.start("up", "--http", http, "--grpc", grpc_address, "--workers", "2")
    try:
        server.wait_until(server.alive, 120, "the server did not start")
        (tmp_path / "prices.yaml").write_text(DEPLOYED)
        server.run("deploy", "-f", str(tmp_path / "prices.yaml"))
        yield server, grpc_address
    finally:
        server.stop()


def truth(row: tuple[float, float]) -> float:
    """Off the model's answer by -1 to 1."""
    return FACTOR * sum(row) + (row[0] % 5 - 2) / 2


def told(numbers: range) -> list[dict[str, object]]:
    """The feedback of these predictions: every other one has a KPI too."""
    rows: list[dict[str, object]] = []
    for number in numbers:
        row: dict[str, object] = {
            "request_id": f"p-{number}",
            "outcome": np.float64(truth(ROWS[f"p-{number}"])),
        }
        rows.append(row | ({"kpi": {"revenue": number / 4}} if number % 2 else {}))
    return rows


def predict(client: seaway.Client, grpc_address: str) -> None:
    """Half of them over REST, half over gRPC, and one request of several rows."""
    other = grpc_serving.Client(grpc_address)
    with other.channel:
        for number, (request_id, row) in enumerate(ROWS.items()):
            time.sleep(0.02)  # a busy machine draws a part of what comes faster
            if number % 2:
                assert client.answer("prices", [row], request_id=request_id).predictions == [
                    FACTOR * sum(row)
                ]
                continue
            request = grpc_serving.OIP.ModelInferRequest(model_name="prices")
            tensor = request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
            tensor.contents.fp32_contents.extend(row)
            answer, _ = other.infer(request, metadata=(("x-request-id", request_id),))
            assert list(answer.outputs[0].contents.fp32_contents) == [FACTOR * sum(row)]
    client.answer("prices", BATCH, request_id="batch")


def kill_control(server: Seaway) -> None:
    """By SIGKILL; returns once another one was started, which may not answer yet."""

    def pid() -> int | None:
        found: int | None = json.loads((server.home / "run" / "supervisor.json").read_text())["control"]
        return found

    killed = pid()
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    server.wait_until(lambda: pid() not in (None, killed), 120, "no other control process was started")


def post_lines(server: Seaway, rows: list[dict[str, object]]) -> FeedbackAnswer:
    """As curl does it, without the client."""
    body = b"\n".join(json.dumps(row).encode() for row in rows)
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/feedback", body, {"content-type": LINES}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return FeedbackAnswer(**json.loads(answer.read()))


def test_quality_is_what_the_outcomes_give_by_hand(served: tuple[Seaway, str]) -> None:
    server, grpc_address = served
    with seaway.Client(f"http://127.0.0.1:{server.port}", timeout_s=60) as client:
        early = client.feedback(told(range(10)))
        assert early == FeedbackAnswer(rows=10, accepted=15, pending=15)
        predict(client, grpc_address)
        after = post_lines(server, told(range(10, 25)))
        assert (after.rows, after.accepted) == (15, 22)
        again = client.feedback(told(range(25)))
        assert (again.accepted, again.duplicates, again.conflicting) == (0, 37, 0)
        false = client.feedback([{"request_id": f"p-{number}", "outcome": -1e6} for number in range(5)])
        assert (false.accepted, false.duplicates, false.conflicting) == (0, 0, 5)

        with pytest.raises(UserError, match=r"row 2.*outcome"):
            client.feedback([{"request_id": "p-36", "outcome": 1}, {"request_id": "p-37", "outcome": [1]}])
        with pytest.raises(UserError, match="row 0, 'kpi' is infinite"):
            client.feedback([{"request_id": "p-36", "kpi": {"revenue": math.inf}}])

        kill_control(server)

        def sent() -> bool:
            try:
                answer = client.feedback(told(range(25, 30)))
            except TemporaryError:
                return False
            assert answer.accepted + answer.duplicates == 8
            return True

        server.wait_until(sent, 120, "feedback was not taken again")
        client.feedback([{"request_id": "batch", "row": row, "outcome": truth(BATCH[row])} for row in (2, 1)])
        client.feedback(told(range(30, 35)))

    def joined() -> bool:
        state = server.json("quality", "prices")["state"]
        return bool(state["pending"] == 0)

    server.wait_until(joined, 120, "some feedback still waits for its prediction")
    labelled = [ROWS[f"p-{number}"] for number in range(35)] + [BATCH[1], BATCH[2]]
    errors = [FACTOR * sum(row) - truth(row) for row in labelled]

    def counted() -> bool:
        (group,) = server.json("quality", "prices")["groups"]
        return bool(group["answered"] == len(ROWS) + len(BATCH))

    server.wait_until(counted, 120, "the rows answered are not on disk")
    found = server.json("quality", "prices")
    assert found["state"] == {"pending": 0, "unmatched": 0, "unusable": 0, "conflicting": 5}
    (group,) = found["groups"]
    assert (group["revision"], group["labelled"], group["answered"]) == (1, 37, len(ROWS) + len(BATCH))
    assert group["answered_labelled"] == 37
    figures = group["numbers"]
    assert figures["n"] == 37
    assert figures["mae"] == pytest.approx(sum(map(abs, errors)) / 37, rel=1e-12)
    assert figures["bias"] == pytest.approx(sum(errors) / 37, rel=1e-12)
    assert figures["rmse"] == pytest.approx(math.sqrt(sum(e * e for e in errors) / 37), rel=1e-12)
    assert (figures["p50"], figures["worst"]) == (sorted(map(abs, errors))[18], 1.0)
    (revenue,) = group["kpis"]
    assert (revenue["n"], revenue["sum"]) == (17, sum(number / 4 for number in range(1, 35, 2)))
