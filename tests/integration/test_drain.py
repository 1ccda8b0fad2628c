"""A stop loses nothing: every connection that was taken gets its answer, and later ones are refused, not dropped."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from server import SEAWAY, Seaway, linear_model

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("workers", [1, 2])
def test_f08_sigterm_under_fresh_connections_loses_no_request(workers: int, tmp_path: Path) -> None:
    server = Seaway(tmp_path)
    model = linear_model(tmp_path / "model.onnx", 2.0)
    command = [SEAWAY, "serve", str(model), "--http", f"127.0.0.1:{server.port}", "--workers", str(workers)]
    with (tmp_path / "up.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=server.environment)
    server.wait_until(lambda: _status(server) == 200, 120, "seaway serve did not become ready")
    answered, lost = [0], []
    enough = threading.Event()

    def call() -> None:
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            try:
                connection.connect()
            except OSError:
                return  # refused: the server is gone, and says so
            try:
                body = json.dumps({"instances": [[1, 2]]})
                connection.request("POST", "/predict/model", body, {"content-type": "application/json"})
                answer = connection.getresponse()
                assert (answer.status, answer.read()) == (200, b'{"predictions":[6.0]}')
            except (OSError, http.client.HTTPException, AssertionError) as error:
                lost.append(repr(error))
            finally:
                connection.close()
            answered[0] += 1
            if answered[0] > 300:
                enough.set()

    callers = [threading.Thread(target=call) for _ in range(8)]
    for caller in callers:
        caller.start()
    assert enough.wait(120)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 0
    for caller in callers:
        caller.join(timeout=120)
    assert not lost, lost[:5]


def _status(server: Seaway) -> int:
    try:
        return server.get("/v2/health/ready")[0]
    except OSError:
        return 0
