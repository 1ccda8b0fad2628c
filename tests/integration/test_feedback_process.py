"""Feedback against a real control process: through a worker's way to it, over a kill -9, and by the command line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from control_process import ENVIRONMENT, until

from seaway import sockets
from seaway.core.errors import TemporaryError
from seaway.core.feedback import FeedbackAnswer
from seaway.monitor.feedback import reading as outcomes_read
from seaway.serve.feedback import Forwarded
from seaway.wiring.control_exchange import ControlForward

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
JSON = {"content-type": "application/json", "x-request-id": "me-1"}


@contextlib.contextmanager
def control(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A control process that answers."""
    words = [sys.executable, "-m", "seaway.wiring.control", "--home", str(home), "--parent", str(os.getpid())]
    process = subprocess.Popen(words, env=ENVIRONMENT)
    try:
        until(lambda: answers(home))
        yield process
    finally:
        process.kill()
        process.wait()


def answers(home: Path) -> bool:
    try:
        sockets.connect_unix(home / "control.sock", timeout_s=1.0).close()
    except OSError:
        return False
    return True


def send(home: Path, *bodies: bytes) -> list[Forwarded]:
    """All at the same time, as a worker does."""

    async def run() -> list[Forwarded]:
        forward = ControlForward(home / "control.sock")
        return await asyncio.gather(*(forward(body, JSON) for body in bodies))

    return asyncio.run(run())


def row(request_id: str) -> bytes:
    return b'{"request_id": "%b", "outcome": 1}' % request_id.encode()


def test_f05_what_was_acknowledged_outlives_a_kill(tmp_path: Path) -> None:
    bodies = [row(f"r{index}") for index in range(50)]
    with control(tmp_path) as process:
        told = [msgspec.json.decode(one.body, type=FeedbackAnswer) for one in send(tmp_path, *bodies)]
        assert all(one.accepted == 1 for one in told)
        process.kill()
        process.wait()
        with pytest.raises(TemporaryError, match="no answer"):
            send(tmp_path, row("lost"))
    with control(tmp_path):
        again = [msgspec.json.decode(one.body, type=FeedbackAnswer) for one in send(tmp_path, *bodies)]
        assert all((one.accepted, one.duplicates) == (0, 1) for one in again)
    assert outcomes_read.state(tmp_path / "records", "prices").pending == 50


def test_a_refusal_comes_through_with_its_request_id(tmp_path: Path) -> None:
    with control(tmp_path):
        (answer,) = send(tmp_path, b'[{"request_id": "a", "outcome": 1}, {}]')
    body = json.loads(answer.body)
    assert (answer.status, body["code"], body["request_id"]) == (400, "invalid_request", "me-1")
    assert "row 2" in body["error"]


def test_import_goes_through_the_running_control_process(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.csv"
    path.write_text("request_id,outcome\na,1\nb,0\n")
    words = [
        sys.executable,
        "-m",
        "seaway",
        "feedback",
        "import",
        str(path),
        "--home",
        str(tmp_path),
        "--json",
    ]
    with control(tmp_path):
        for accepted in (2, 0):
            done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, check=True)
            assert json.loads(done.stdout)["accepted"] == accepted


def test_a_control_process_that_stops_answers_what_it_took(tmp_path: Path) -> None:
    with control(tmp_path) as process:
        send(tmp_path, row("a"))
        process.terminate()
        assert process.wait(60) == 0
    assert outcomes_read.state(tmp_path / "records", "prices").pending == 1
