"""Resident memory and descriptors of a worker stay flat over many requests; a model that leaks on purpose is caught.

The same check judges both: a straight line through the samples after a warm-up. The leaking model keeps 1 kB of each
request.
"""

from __future__ import annotations

import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from seaway.engine import usage
from seaway.engine.usage import Usage
from seaway.testing import load

sys.path.append(str(Path(__file__).resolve().parents[1] / "integration"))

import faulty_bundles
from faulty_server import FaultyServer

REQUESTS = 1_000_000
SAMPLES = 50
WARM_UP = 0.3
FILLING = 100_000
"""Requests before the first sample: what is recorded of them fills its buffers, which are bounded."""
PIPELINED = 20
CONNECTIONS = 8
BYTES_PER_REQUEST = 200.0
"""What a growth per request may be at most, in bytes: a fifth of the leak that has to be found."""
FINE, LEAK = 0.25, 11.0


def measure(scale: float) -> dict[str, Any]:
    """Raises `AssertionError` where a worker grows, or where the leaking control is not noticed."""
    count = max(60_000, round(REQUESTS * scale))
    figures: dict[str, Any] = {"requests_each": count}
    with tempfile.TemporaryDirectory(prefix="seaway-soak-") as work:
        bundles = {name: faulty_bundles.write(Path(work) / name, name) for name in ("sound", "leaking")}
        server = FaultyServer(Path(work) / "run", bundles, deadline_s=60.0)
        for name, value in (("sound", FINE), ("leaking", LEAK)):
            try:
                server.up("--worker-memory", "16000000000")
                (pid,) = server.pids()
                samples = _soak(server, name, value, pid or 0, count)
                assert server.pids() == [pid]
            finally:
                server.down()
            figures[name] = _fit(samples, count)
    assert _flat(figures["sound"]), f"the worker grows: {figures['sound']}"
    assert not _flat(figures["leaking"]), f"the leak was not noticed: {figures['leaking']}"
    return figures


def _soak(server: FaultyServer, endpoint: str, value: float, pid: int, count: int) -> list[Usage]:
    """What the worker takes after each SAMPLES-th part of the requests; every 16th connection is a new one."""
    host = f"127.0.0.1:{server.port}"
    body = msgspec.json.encode({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [value]}]})
    block = load.post(f"/v2/models/{endpoint}/infer", host, body) * PIPELINED
    rounds = count // (SAMPLES * PIPELINED * CONNECTIONS)
    samples: list[Usage] = []
    per_round = PIPELINED * CONNECTIONS
    for number in range(-1, SAMPLES):
        connections = [socket.create_connection(("127.0.0.1", server.port), 300) for _ in range(CONNECTIONS)]
        files = [connection.makefile("rb") for connection in connections]
        for _ in range(FILLING // per_round if number < 0 else rounds):
            for connection in connections:
                connection.sendall(block)
            for file in files:
                for _ in range(PIPELINED):
                    _take(file)
        for file, connection in zip(files, connections, strict=True):
            file.close()
            connection.close()
        found = usage.usage(pid)
        assert found is not None, "the worker ended"
        if number >= 0:
            samples.append(found)
    return samples


def _take(file: Any) -> None:
    """Read one answer and check its status."""
    status = file.readline()
    assert status.startswith(b"HTTP/1.1 200 "), status
    length = 0
    while (line := file.readline().rstrip()) != b"":
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    assert len(file.read(length)) == length


def _fit(samples: list[Usage], count: int) -> dict[str, Any]:
    """Growth by a straight line (least squares) through the samples after the warm-up."""
    kept = samples[round(WARM_UP * SAMPLES) :]
    at = np.arange(len(kept)) * (count / SAMPLES)
    slope = float(np.polyfit(at, [s.memory_bytes for s in kept], 1)[0])
    return {
        "memory_mib": [round(s.memory_bytes / 2**20, 1) for s in (samples[0], kept[0], kept[-1])],
        "growth_bytes_per_request": round(slope, 2),
        "descriptors": [min(s.descriptors for s in kept), max(s.descriptors for s in kept)],
        "threads": [min(s.threads for s in kept), max(s.threads for s in kept)],
    }


def _flat(fit: dict[str, Any]) -> bool:
    """Whether neither memory nor descriptors nor threads grow; connections that close are gone a moment later."""
    few, many = fit["descriptors"]
    return (
        fit["growth_bytes_per_request"] < BYTES_PER_REQUEST
        and many - few <= 2 * CONNECTIONS
        and fit["threads"][1] - fit["threads"][0] <= 2
    )
