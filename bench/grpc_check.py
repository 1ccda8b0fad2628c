"""Asks a gRPC server different questions while h2load loads it, and compares every answer with `session.run`'s.

`python -m bench.grpc_check PORT MODEL SECONDS`; prints how many answers it checked and how many were wrong.
"""

from __future__ import annotations

import json
import sys
import time

import grpc

from bench import bodies, models, places, protobuf
from bench.bodies import Form

_PAUSE_S = 0.02


def check(port: int, model: str, seconds: float) -> dict[str, object]:
    """Ask one after another until the time is over. Without an answer at all, `example` says what came instead."""
    _, expected = models.data(model)
    messages = bodies.prepared(model, Form.OIP_GRPC).bodies()
    checked = wrong = failed = 0
    example: str | None = None
    with grpc.insecure_channel(f"{places.HOST}:{port}") as channel:
        call = channel.unary_unary(protobuf.METHOD)
        end = time.perf_counter() + seconds
        while checked == 0 or time.perf_counter() < end:
            index = (checked * 7) % len(messages)
            try:
                answer: bytes = call(messages[index], timeout=5)
            except grpc.RpcError as error:
                failed += 1
                example = f"{error.code().name}: {error.details()}"[:300]
                if checked == 0 or failed > 100:
                    break
                continue
            checked += 1
            if not bodies.right(Form.OIP_GRPC, {}, answer, expected[index]):
                wrong += 1
                example = f"wrong answer to request {index}: {answer[:200]!r}"
            time.sleep(_PAUSE_S)
    return {"checked": checked, "wrong": wrong, "failed": failed, "example": example}


if __name__ == "__main__":
    print(json.dumps(check(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))))
