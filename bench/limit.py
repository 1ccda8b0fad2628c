"""The `session.run` loop that everything is compared with, as a process: `python limit.py MODEL.onnx DATA.npz SECONDS`.

It runs in Seaway's environment, so with the same onnxruntime, and imports nothing of the bench.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import onnxruntime


def loop(
    session: onnxruntime.InferenceSession, batches: list[np.ndarray], seconds: float
) -> dict[str, float]:
    """Calls per second and the median call, over inputs that are never the same twice in a row."""
    name = session.get_inputs()[0].name
    session.run(None, {name: batches[0]})
    took: list[float] = []
    start = now = time.perf_counter()
    while now - start < seconds:
        before = now
        session.run(None, {name: batches[len(took) % len(batches)]})
        now = time.perf_counter()
        took.append(now - before)
    return {"calls_per_s": len(took) / (now - start), "p50_us": float(np.median(took)) * 1e6}


def main() -> None:
    """Batch 1 and batch 64, on one line of JSON."""
    model, data, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    with np.load(data) as stored:
        inputs = stored["inputs"].astype(np.float32)
    figures = {}
    for size in (1, 64):
        many = np.concatenate([inputs] * (size // len(inputs) + 1))
        batches = [many[i : i + size] for i in range(0, len(many) - size + 1, size)]
        figures[str(size)] = loop(session, batches, seconds)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
