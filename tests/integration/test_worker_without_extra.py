"""A worker that cannot start says so in one plain line: the supervisor tries again, and each try is logged."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

_WITHOUT = "import sys; sys.modules[{module!r}] = None; from seaway.wiring import worker; worker.main()"


@pytest.mark.parametrize(
    ("module", "options", "extra"),
    [
        ("grpc", ["--grpc", "127.0.0.1:0"], "grpc"),
        ("opentelemetry.sdk.trace", ["--recording", '{"otlp":"http://127.0.0.1:1"}'], "otel"),
    ],
)
def test_a_worker_without_an_extra_ends_with_one_line(
    module: str, options: list[str], extra: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        words = ["--run", str(tmp_path), "--slot", "3", "--fd", str(listener.fileno()), *options]
        ended = subprocess.run(
            [sys.executable, "-c", _WITHOUT.format(module=module), *words],
            pass_fds=[listener.fileno()],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("seaway: worker 3 cannot start: missing_extra: ")
    assert f"pip install 'seaway[{extra}]'" in line
