"""How a model that answers step by step is run: which state is fed back, how a long input is cut, when it ends.

Written by `bundle.steps` into a Manifest, obeyed by the runtime of the format `onnx-steps`.
"""

from __future__ import annotations

import math
from typing import Annotated, TypeAlias

import msgspec
import numpy as np

from seaway.core.errors import UserError
from seaway.core.tensors import Array, DType, Signature, TensorSpec, describe

MAX_STEPS = 1_000_000
Plain: TypeAlias = bool | int | float
Constant: TypeAlias = Plain | tuple[Plain, ...]
"""A value of every element of an input, or its values in order."""


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one long input is cut, a piece for each step.

    A step sees `length` new elements along `axis`, after the `context` elements before them (zeros at the beginning).
    The last piece is filled up with zeros.
    """

    input: str
    length: Annotated[int, msgspec.Meta(ge=1)]
    context: Annotated[int, msgspec.Meta(ge=0)] = 0
    axis: Annotated[int, msgspec.Meta(ge=1)] = 1


class StepRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a user says of a model that runs step by step.

    `emit`: the outputs that are sent after each step. `feedback`: output → the input that it is in the next step.
    `zeros`: those of these inputs that begin as zeros; the client sends the first value of the others.
    `fixed`: inputs that have one value in every step, and that no client sends. `stop`: an output that ends the answer
    after this step where it is true. `max_steps`: the most steps of one answer; `limit_input` is what the optional
    input is called by which a client asks for fewer.
    """

    emit: tuple[str, ...]
    max_steps: Annotated[int, msgspec.Meta(ge=1, le=MAX_STEPS)]
    feedback: dict[str, str] = {}
    zeros: tuple[str, ...] = ()
    fixed: dict[str, Constant] = {}
    window: Window | None = None
    stop: str | None = None
    limit_input: str | None = None


class Steps(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rules, and the Signature of the model file itself: what one step takes and gives."""

    rules: StepRules
    graph: Signature


def client_inputs(steps: Steps) -> tuple[TensorSpec, ...]:
    """The model file's inputs that a client sends."""
    hidden = {*steps.rules.zeros, *steps.rules.fixed}
    return tuple(spec for spec in steps.graph.inputs if spec.name not in hidden)


def whole_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one output over all steps, from its shape in one step: steps are axis 1.

    One value for each row, `(N,)` or `(N, 1)`, becomes `(N, steps)`; `(N, …)` becomes `(N, steps, …)`.
    """
    return (shape[0], -1) if one_value(shape) else (shape[0], -1, *shape[1:])


def one_value(shape: tuple[int, ...]) -> bool:
    """Whether an output of this shape in one step is one value for each row."""
    return shape[1:] in ((), (1,))


def constant(spec: TensorSpec, value: Constant) -> Array:
    """The tensor of a fixed input. Raises `UserError("invalid_steps")` where the value does not fit."""
    fits = f"expected a value of {describe(spec)}"
    if -1 in spec.shape:
        raise UserError("invalid_steps", f"fixed input {spec.name!r} has a free axis", fits)
    given = np.array(value)
    kinds = "b" if spec.dtype is DType.BOOL else "iu" if spec.dtype.is_integer else "iuf"
    with np.errstate(all="ignore"):
        exact = given.astype(spec.dtype.numpy) if given.dtype.kind in kinds else None
    same = exact is not None and (
        np.isfinite(exact).all() if spec.dtype.is_float else np.array_equal(exact, given)
    )
    if exact is None or not same or (given.ndim and given.size != math.prod(spec.shape)):
        raise UserError("invalid_steps", f"fixed input {spec.name!r} cannot be {value!r}", fits)
    return exact.reshape(spec.shape) if given.ndim else np.full(spec.shape, exact)


def check_steps(steps: Steps) -> None:
    """Refuse rules that the model file cannot follow: `UserError("invalid_steps")` which names the rule."""
    rules, graph = steps.rules, steps.graph
    _check_outputs(rules, graph)
    _check_feedback(rules, graph)
    for name, value in rules.fixed.items():
        constant(_input(graph, name, "fixed"), value)
        if name in rules.feedback.values():
            raise _refused(f"input {name!r} is both fixed and fed back")
    if rules.window is not None:
        _check_window(rules, rules.window, graph)
    if rules.window is None and not rules.feedback:
        raise _refused(
            "every step would be the same: nothing is fed back, and no input is cut",
            "give feedback or window",
        )
    clients = client_inputs(steps)
    if not clients:
        raise _refused("there is no input left that a client sends")
    if rules.limit_input is not None and graph.input(rules.limit_input) is not None:
        raise _refused(
            f"limit_input {rules.limit_input!r} is an input of the model",
            "choose a name that the model does not use",
        )
    rows = any(spec.shape[:1] == (-1,) for spec in clients)
    for name in rules.zeros:
        free = _input(graph, name, "zeros").shape.count(-1)
        if free > 1 or (free and not rows):
            raise _refused(
                f"the zeros of {describe(_input(graph, name, 'zeros'))} {name!r} have no known shape",
                "only the axis of rows may be free: fix the others in the model, or let clients send this input",
            )


def _check_outputs(rules: StepRules, graph: Signature) -> None:
    if not rules.emit or len(set(rules.emit)) != len(rules.emit):
        raise _refused("emit names no output, or one twice", f"the outputs are {_names(graph.outputs)}")
    for name in rules.emit:
        if not _output(graph, name, "emit").shape:
            raise _refused(
                f"output {name!r} is a scalar, so its steps cannot be put together", "give it an axis of rows"
            )
    if rules.stop is not None:
        spec = _output(graph, rules.stop, "stop")
        if spec.dtype is not DType.BOOL and not spec.dtype.is_integer:
            raise _refused(f"stop is {describe(spec)}", "an output of BOOL or of integers can end an answer")


def _check_feedback(rules: StepRules, graph: Signature) -> None:
    taken = list(rules.feedback.values())
    if len(set(taken)) != len(taken):
        raise _refused("two outputs are fed back into one input")
    for given, taker in rules.feedback.items():
        output, target = _output(graph, given, "feedback"), _input(graph, taker, "feedback")
        fits = len(output.shape) == len(target.shape) and all(
            a == b or -1 in (a, b) for a, b in zip(output.shape, target.shape, strict=True)
        )
        if output.dtype is not target.dtype or not fits:
            raise _refused(
                f"output {given!r} is {describe(output)}, and input {taker!r}, which it feeds, is {describe(target)}"
            )
    for name in rules.zeros:
        if name not in taken or _input(graph, name, "zeros").dtype is DType.BYTES:
            raise _refused(
                f"zeros names {name!r}, which is not fed back, or holds texts",
                "for a value that stays the same, use fixed",
            )


def _check_window(rules: StepRules, window: Window, graph: Signature) -> None:
    spec = _input(graph, window.input, "window")
    if window.input in rules.fixed or window.input in rules.feedback.values() or spec.dtype is DType.BYTES:
        raise _refused(f"input {window.input!r} cannot be cut: it is fixed, fed back, or holds texts")
    if window.axis >= len(spec.shape):
        raise _refused(
            f"input {window.input!r} is {describe(spec)}: it has no axis {window.axis}", "axis 0 is the rows"
        )
    wide = window.length + window.context
    if spec.shape[window.axis] not in (-1, wide):
        raise _refused(
            f"a window of {window.context} + {window.length} = {wide} does not fit {window.input!r}, {describe(spec)}"
        )


def _input(graph: Signature, name: str, rule: str) -> TensorSpec:
    spec = graph.input(name)
    if spec is None:
        raise _refused(f"{rule} names the input {name!r}", f"the model's inputs are {_names(graph.inputs)}")
    return spec


def _output(graph: Signature, name: str, rule: str) -> TensorSpec:
    spec = graph.output(name)
    if spec is None:
        raise _refused(
            f"{rule} names the output {name!r}", f"the model's outputs are {_names(graph.outputs)}"
        )
    return spec


def _names(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(spec.name for spec in specs)


def _refused(message: str, hint: str | None = None) -> UserError:
    return UserError("invalid_steps", message, hint)
