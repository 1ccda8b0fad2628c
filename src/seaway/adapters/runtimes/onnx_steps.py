"""ONNX models that answer step by step: state is fed back, and each step's outputs leave at once.

Runs bundles of format `onnx-steps`, whose manifest says how (`core.steps`). One step is one run of the model file on
`adapters.runtimes.onnxruntime`, with its checks, deadlines and errors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np

from seaway.adapters.runtimes.onnxruntime import OnnxModel, OnnxRuntime
from seaway.core.bundles import OpenedBundle
from seaway.core.errors import PermanentError, TemporaryError, UserError
from seaway.core.steps import StepRules, Steps, Window, check_steps, client_inputs, constant, one_value
from seaway.core.tensors import Array, Signature, Tensors


class OnnxStepsRuntime:
    """`core.ports.Runtime` for models that are run step by step."""

    formats: Sequence[str] = ("onnx-steps",)

    def __init__(self) -> None:
        self._runtime = OnnxRuntime()

    def load(self, bundle: OpenedBundle) -> OnnxStepsModel:
        """Blocking. Raises `UserError` (`invalid_model`, `invalid_steps`), also where the file and its rules disagree."""
        manifest = bundle.manifest
        steps = manifest.steps
        if not isinstance(steps, Steps):
            raise UserError(
                "invalid_steps", "the bundle does not say how its model is run", "package it with --steps"
            )
        check_steps(steps)
        one_step = msgspec.structs.replace(manifest, signature=steps.graph)
        model = self._runtime.load(msgspec.structs.replace(bundle, manifest=one_step))
        return OnnxStepsModel(model, steps, manifest.signature)


class OnnxStepsModel:
    """`core.ports.LoadedModel` and `StreamingModel`. Holds no state between calls, so it is thread-safe."""

    def __init__(self, model: OnnxModel, steps: Steps, signature: Signature) -> None:
        self._model = model
        self._steps = steps
        self._signature = signature
        self._fixed = {
            name: constant(spec, value)
            for name, value in steps.rules.fixed.items()
            if (spec := steps.graph.input(name)) is not None
        }
        self._plain = frozenset(spec.name for spec in steps.graph.outputs if one_value(spec.shape))

    @property
    def signature(self) -> Signature:
        return self._signature

    def predict(self, inputs: Tensors, timeout_s: float | None = None) -> Tensors:
        """The emitted outputs of all steps, put together along axis 1. `timeout_s` is for all steps together."""
        ends_s = None if timeout_s is None else time.monotonic() + timeout_s
        replies = list(self._replies(inputs, lambda: _left_s(ends_s)))
        return {
            name: np.concatenate([reply[name] for reply in replies], axis=1)
            for name in self._steps.rules.emit
        }

    def stream(self, inputs: Tensors, timeout_s: float | None = None) -> Iterator[Tensors]:
        """As the port says; each reply is the part of `predict`'s answer that belongs to one step."""
        return self._replies(inputs, lambda: timeout_s)

    def close(self) -> None:
        self._model.close()

    def _replies(self, inputs: Tensors, timeout_s: Callable[[], float | None]) -> Iterator[Tensors]:
        """Raises `UserError` before the first step where the inputs ask for more, or fewer, steps than can be."""
        rules = self._steps.rules
        count = _limit(rules, inputs)
        feeds = {spec.name: inputs[spec.name] for spec in client_inputs(self._steps)} | self._fixed
        pieces = None
        if rules.window is not None:
            whole = inputs[rules.window.input]
            count = _window_steps(rules.window, whole.shape, count, cut=count < rules.max_steps)
            pieces = _pieces(rules.window, whole, count)
        feeds |= self._zeros(inputs)
        return self._run(feeds, pieces, count, timeout_s)

    def _run(
        self,
        feeds: dict[str, Array],
        pieces: Iterator[Array] | None,
        count: int,
        timeout_s: Callable[[], float | None],
    ) -> Iterator[Tensors]:
        rules = self._steps.rules
        for _ in range(count):
            if rules.window is not None and pieces is not None:
                feeds[rules.window.input] = next(pieces)
            outputs = self._model.predict(feeds, timeout_s())
            yield {name: _as_part(outputs[name], name in self._plain) for name in rules.emit}
            if rules.stop is not None and outputs[rules.stop].all():
                return
            for given, taker in rules.feedback.items():
                if outputs[given].shape != feeds[taker].shape:
                    raise _changed(given, outputs[given], taker, feeds[taker])
                feeds[taker] = outputs[given]

    def _zeros(self, inputs: Tensors) -> dict[str, Array]:
        """The first state; a free axis is that of rows."""
        graph = self._steps.graph
        rows = next(
            (len(inputs[spec.name]) for spec in client_inputs(self._steps) if spec.shape[:1] == (-1,)), 1
        )
        specs = [spec for spec in graph.inputs if spec.name in self._steps.rules.zeros]
        return {
            spec.name: np.zeros([rows if axis == -1 else axis for axis in spec.shape], spec.dtype.numpy)
            for spec in specs
        }


def _changed(given: str, found: Array, taker: str, before: Array) -> PermanentError:
    """A state that changes its shape: it grows with every step until the memory ends, or fails in the next one."""
    return PermanentError(
        "execution_failed",
        f"state {given!r} has shape {list(found.shape)}, but goes back into {taker!r} of {list(before.shape)}",
        "the model must give its state in the shape in which it takes it",
    )


def _left_s(ends_s: float | None) -> float | None:
    if ends_s is None:
        return None
    left_s = ends_s - time.monotonic()
    if left_s <= 0:
        raise TemporaryError("deadline_exceeded", "the model did not take all its steps within the deadline")
    return left_s


def _limit(rules: StepRules, inputs: Tensors) -> int:
    """How many steps the client asks for at most."""
    name = rules.limit_input
    given = None if name is None else inputs.get(name)
    if given is None:
        return rules.max_steps
    limit = int(given.reshape(-1)[0])
    if not 1 <= limit <= rules.max_steps:
        raise UserError(
            "invalid_value", f"input {name!r} is {limit}", f"send a whole number from 1 to {rules.max_steps}"
        )
    return limit


def _window_steps(window: Window, shape: tuple[int, ...], most: int, *, cut: bool) -> int:
    """How many steps a long input takes. With `cut`, the client asked for the first `most` of them."""
    length = shape[window.axis]
    needed = -(-length // window.length)
    if needed == 0 or (needed > most and not cut):
        raise UserError(
            "wrong_shape",
            f"input {window.input!r} has {length} elements along axis {window.axis}",
            f"send 1 to {most * window.length}",
        )
    return min(needed, most)


def _pieces(window: Window, whole: Array, count: int) -> Iterator[Array]:
    """What each step sees, zeros before the beginning and after the end."""
    axis = window.axis
    for step in range(count):
        start, end = step * window.length - window.context, (step + 1) * window.length
        inside = [slice(None)] * axis + [slice(max(0, start), end)]
        piece = whole[tuple(inside)]
        before = max(0, -start)
        after = window.context + window.length - before - piece.shape[axis]
        if before or after:
            piece = np.pad(piece, [(before, after) if i == axis else (0, 0) for i in range(piece.ndim)])
        yield np.ascontiguousarray(piece)


def _as_part(array: Array, plain: bool) -> Array:
    """One step's output with its axis of steps: see `core.steps.whole_shape`. `plain` is one value for each row."""
    return array if plain and array.ndim == 2 else np.expand_dims(array, 1)
