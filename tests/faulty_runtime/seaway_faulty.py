"""A third party's runtime whose models fail in every way that a process can: put this directory on PYTHONPATH.

The first number of a request says what happens; any number below 1 is answered by its double.
"""

from __future__ import annotations

import ctypes
import enum
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np


class Act(enum.IntEnum):
    """What the first number of a request asks for."""

    SEGFAULT = 1
    HANG = 2  # in C, holding the GIL
    LEAK_MEMORY = 3
    LEAK_DESCRIPTOR = 4
    LEAK_THREAD = 5
    FLOOD = 6
    EXIT = 7
    ABORT = 8
    SLEEP = 9  # in Python: other threads go on
    RAISE = 10
    LEAK_LITTLE = 11
    TOIL = 12  # computes for so long that it is taken off the event loop's thread


class FaultyRuntime:
    """`core.ports.Runtime`; a bundle whose entry says `streams` gets a model that streams as well."""

    formats = ("faulty",)

    def load(self, bundle):
        words = (Path(bundle.directory) / bundle.manifest.entry).read_text()
        if "crash-at-load" in words:
            ctypes.string_at(0)
        return (StreamingFaultyModel if "streams" in words else FaultyModel)(bundle.manifest.signature)


class FaultyModel:
    """x float32 [N] → y float32 [N]."""

    def __init__(self, signature) -> None:
        self.signature = signature
        self.kept: list[object] = []

    def predict(self, inputs, timeout_s=None):
        x = np.asarray(inputs["x"])
        for value in x:
            if value >= 1:
                self._act(Act(int(value)))
        return {"y": x * np.float32(2)}

    def _act(self, act: Act) -> None:
        match act:
            case Act.SEGFAULT:
                ctypes.string_at(0)
            case Act.HANG:
                ctypes.PyDLL(None).pause()
            case Act.LEAK_MEMORY:
                self.kept.append(bytearray(b"x" * 1_000_000))
            case Act.LEAK_LITTLE:
                self.kept.append(bytearray(b"x" * 1000))
            case Act.LEAK_DESCRIPTOR:
                self.kept.extend(os.dup(0) for _ in range(10))
            case Act.LEAK_THREAD:
                for _ in range(100):
                    threading.Thread(target=threading.Event().wait, daemon=True).start()
            case Act.FLOOD:
                for _ in range(20_000):
                    print("the model has a lot to say")
                sys.stdout.flush()
            case Act.EXIT:
                os._exit(0)
            case Act.ABORT:
                os.abort()
            case Act.SLEEP:
                time.sleep(30)
            case Act.TOIL:
                end_s = time.thread_time() + 0.05
                while time.thread_time() < end_s:
                    pass
            case Act.RAISE:
                raise LookupError("the model's own fault")

    def close(self) -> None:
        self.kept.clear()


class StreamingFaultyModel(FaultyModel):
    """Answers the first number of the request, then that plus 0.25, and so on: three replies."""

    def stream(self, inputs, timeout_s=None) -> Iterator[dict]:
        for step in range(3):
            yield self.predict({"x": np.asarray(inputs["x"]) + np.float32(step / 4)})
