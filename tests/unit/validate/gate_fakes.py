"""Models written out by hand, in bundles on disk, for the tests of the gate and the plan."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from seaway.bundle import datafiles
from seaway.core.bundles import Digest, Golden, Manifest, OpenedBundle, Source, Task
from seaway.core.errors import PermanentError, TemporaryError, UserError
from seaway.core.tables import Table
from seaway.core.tensors import Array, DType, Meaning, Signature, Tensors, TensorSpec

Answer = Callable[[Array, Array], Array]
"""From the columns x and kind, both (n,), the chance of "up" or the value, (n,)."""


class TickingClock:
    """Time that moves by a fixed step at each look."""

    def __init__(self, step_s: float = 0.001) -> None:
        self._now = 0.0
        self._step = step_s

    def now_s(self) -> float:
        return 1_700_000_000.0

    def monotonic_s(self) -> float:
        self._now += self._step
        return self._now


class WrittenModel:
    """Answers by a function; a classifier gives a label and chances, a regressor a value."""

    def __init__(self, signature: Signature, answer: Answer, task: Task) -> None:
        self.signature = signature
        self._answer = answer
        self._task = task
        self.closed = False

    def predict(self, inputs: Tensors, timeout_s: float | None = None) -> Tensors:
        found = self._answer(inputs["x"], inputs["kind"])
        if self._task is Task.REGRESSION:
            return {"value": found.astype(np.float32)}
        chances = np.stack([1 - found, found], axis=1).astype(np.float32)
        labels = np.where(found > 0.5, "up", "down").astype(object)
        return {"label": labels, "chances": chances}

    def close(self) -> None:
        self.closed = True


class WrittenRuntime:
    """Loads the model that was written for a bundle's digest."""

    formats = ("onnx",)

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.loaded: list[WrittenModel] = []

    def load(self, bundle: OpenedBundle) -> WrittenModel:
        answer = self.answers.get(bundle.digest)
        if answer is None:
            raise UserError("invalid_model", "the graph has no nodes")
        model = WrittenModel(bundle.manifest.signature, answer, bundle.manifest.task)
        self.loaded.append(model)
        return model


def signature(task: Task, extra: tuple[TensorSpec, ...] = ()) -> Signature:
    outputs: tuple[TensorSpec, ...]
    if task is Task.REGRESSION:
        outputs = (TensorSpec("value", DType.FP32, (-1,), Meaning.VALUE),)
    else:
        outputs = (
            TensorSpec("label", DType.BYTES, (-1,), Meaning.LABEL),
            TensorSpec("chances", DType.FP32, (-1, 2), Meaning.PROBABILITY),
        )
    inputs = (TensorSpec("x", DType.FP64, (-1,)), TensorSpec("kind", DType.BYTES, (-1,)), *extra)
    return Signature(inputs, outputs)


class Workshop:
    """Makes bundles with golden rows in a directory, each with the model that a test writes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.runtime = WrittenRuntime()
        self._made = 0

    def bundle(
        self,
        answer: Answer | None,
        golden: Table | None,
        *,
        task: Task = Task.CLASSIFICATION,
        requirements: tuple[str, ...] = (),
        extra: tuple[TensorSpec, ...] = (),
        sample: Table | None = None,
    ) -> OpenedBundle:
        self._made += 1
        home = self.directory / f"v{self._made}"
        home.mkdir()
        digest = Digest(f"sha256:{self._made:064x}")
        if golden is not None:
            (home / "golden.jsonl").write_bytes(datafiles.write_jsonl(golden))
        if sample is not None:
            (home / "sample.jsonl").write_bytes(datafiles.write_jsonl(sample))
        if answer is not None:
            self.runtime.answers[digest] = answer
        manifest = Manifest(
            name="m",
            task=task,
            entry="model.onnx",
            signature=signature(task, extra),
            source=Source("onnx"),
            files=(),
            classes=("down", "up") if task is Task.CLASSIFICATION else (),
            requirements=requirements,
            golden=None if golden is None else Golden("golden.jsonl", "y", golden.rows),
            sample=None if sample is None else "sample.jsonl",
        )
        return OpenedBundle(digest, manifest, str(home), f"m:v{self._made}", 1_000_000 * self._made)


def rows(n: int, task: Task = Task.CLASSIFICATION, seed: int = 0) -> Table:
    """Golden rows: x uniform in [0, 1], kind one of four, y decided by x alone with some noise."""
    rng = np.random.default_rng(seed)
    x = rng.random(n)
    kind = np.array([f"k{i}" for i in rng.integers(0, 4, n)], dtype=object)
    y: Array
    if task is Task.REGRESSION:
        y = 3 * x + rng.normal(0, 0.1, n)
    else:
        y = np.where(rng.random(n) < np.clip(4 * x - 1.5, 0.02, 0.98), "up", "down").astype(object)
    return Table({"x": x, "kind": kind, "y": y})


def good(x: Array, kind: Array) -> Array:
    return np.clip(4 * x - 1.5, 0.02, 0.98)


def upside_down(x: Array, kind: Array) -> Array:
    return 1 - good(x, kind)


def hangs(x: Array, kind: Array) -> Array:
    """Never comes back, and cannot be stopped."""
    threading.Event().wait()
    return x


def too_slow(x: Array, kind: Array) -> Array:
    raise TemporaryError("deadline_exceeded", "the model ran over its deadline and was stopped")


def crashes(x: Array, kind: Array) -> Array:
    raise PermanentError("execution_failed", "node Gather: index out of range")


def refuses(x: Array, kind: Array) -> Array:
    raise UserError("invalid_value", "x must be above zero")


def by_name(results: tuple[object, ...]) -> Mapping[str, object]:
    return {result.check: result for result in results}  # type: ignore[attr-defined]
