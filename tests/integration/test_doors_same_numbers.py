"""The same rows give the same bits through every door, and stay within the bundle's tolerance across batch sizes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from serve_process import WorkerProcess, revision, route

from seaway.core.bundles import Tolerance
from seaway.core.traffic import Limits, RoutingTable
from seaway.testing import tiny_models

COLUMNS = 30
ROWS = np.random.default_rng(11).normal(size=(64, COLUMNS)).astype(np.float32)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    home = tmp_path_factory.mktemp("doors")
    bundle = tiny_models.mlp(home / "m", COLUMNS)
    # Requests share a batch until it is full, so that all doors meet in one.
    together = Limits(deadline_s=60.0, queue_s=60.0, max_rows=12, wait_s=5.0)
    table = RoutingTable(
        1, (route("alone", revision(1, bundle)), route("together", revision(1, bundle), limits=together))
    )
    process = WorkerProcess(home / "run", table, grpc=True)
    yield process
    assert process.stop() == 0


def by_predict(server: WorkerProcess, endpoint: str, rows: np.ndarray) -> np.ndarray:
    answer = server.call("POST", f"/predict/{endpoint}", {"instances": rows.tolist()})
    return np.array(answer.json["predictions"], np.float32)


def by_json(server: WorkerProcess, endpoint: str, rows: np.ndarray) -> np.ndarray:
    tensor = {"name": "x", "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}
    output = server.call("POST", f"/v2/models/{endpoint}/infer", {"inputs": [tensor]}).json["outputs"][0]
    return np.array(output["data"], np.float32).reshape(output["shape"])


def by_binary(server: WorkerProcess, endpoint: str, rows: np.ndarray) -> np.ndarray:
    from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

    tensor = InferInput("x", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows)
    client = InferenceServerClient(f"127.0.0.1:{server.port}")
    try:
        return client.infer(endpoint, [tensor], outputs=[InferRequestedOutput("y")]).as_numpy("y")
    finally:
        client.close()


def by_grpc(server: WorkerProcess, endpoint: str, rows: np.ndarray) -> np.ndarray:
    from tritonclient.grpc import InferenceServerClient, InferInput

    tensor = InferInput("x", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows)
    with InferenceServerClient(server.grpc_address) as client:
        return client.infer(endpoint, [tensor]).as_numpy("y")


DOORS = (by_predict, by_json, by_binary, by_grpc)


def same_bits(answers: list[np.ndarray]) -> bool:
    return all(answer.tobytes() == answers[0].tobytes() for answer in answers)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_every_door_gives_the_same_bits(server: WorkerProcess, size: int) -> None:
    assert same_bits([door(server, "alone", ROWS[:size]) for door in DOORS])


def test_within_one_executed_batch_too(server: WorkerProcess) -> None:
    """On a busy machine the doors may miss each other's batch: then they are asked again."""
    assert any(_together(server) for _ in range(20)), (
        "the doors never met in one batch, so this proves nothing"
    )


def _together(server: WorkerProcess) -> bool:
    """Ask at all doors at the same time; whether all met in one batch. The answers must be the same either way."""
    before = _batches(server)
    answers: dict[str, np.ndarray] = {}
    gate = threading.Barrier(len(DOORS))

    def ask(door) -> None:
        gate.wait()
        answers[door.__name__] = door(server, "together", ROWS[:3])

    threads = [threading.Thread(target=ask, args=(door,)) for door in DOORS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == len(DOORS)
    assert same_bits(list(answers.values()))
    batches, rows = (after - b for after, b in zip(_batches(server), before, strict=True))
    assert rows == 12
    return batches == 1


def test_batch_sizes_stay_within_the_tolerance(server: WorkerProcess) -> None:
    alone = np.concatenate([by_binary(server, "alone", ROWS[at : at + 1]) for at in range(len(ROWS))])
    tolerance = Tolerance()
    for size in (2, 16, 64):
        together = np.concatenate(
            [by_binary(server, "alone", ROWS[at : at + size]) for at in range(0, len(ROWS), size)]
        )
        np.testing.assert_allclose(together, alone, rtol=tolerance.relative, atol=tolerance.absolute)


def _batches(server: WorkerProcess) -> tuple[float, float]:
    """Executed batches of the endpoint `together`, and their rows."""
    text = server.call("GET", "/metrics").body.decode()
    found = {"count": 0.0, "sum": 0.0}
    for line in text.splitlines():
        for kind in found:
            if line.startswith(f"seaway_batch_rows_{kind}{{") and 'endpoint="together"' in line:
                found[kind] += float(line.rpartition(" ")[2])
    return found["count"], found["sum"]


def test_control_is_told_lane_batches_and_start_up(server: WorkerProcess) -> None:
    """The status that control reads says the same as the metrics."""
    by_json(server, "alone", ROWS[:2])
    loaded = {one.endpoint: one for one in server.observe().loaded}["alone"]
    assert loaded.execution is not None
    assert loaded.execution.rows >= loaded.execution.batches >= 1
    assert loaded.execution.lane in ("inline", "thread")
    assert loaded.load_s > 0
    assert json.loads(server.call("GET", "/").body)["name"] == "seaway"
