"""Models that answer step by step: the user's rules read and checked, and the Signature that clients see.

Called by `bundle.build` and by wiring, which reads what `--steps` names. An example is in docs/guide.md.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from seaway.bundle import signatures
from seaway.bundle.verify_onnx import Report
from seaway.core.errors import UserError
from seaway.core.steps import StepRules, Steps, check_steps, client_inputs, whole_shape
from seaway.core.tables import Table
from seaway.core.tensors import DType, Meaning, Signature, TensorSpec

FORMAT: Final = "onnx-steps"
_MAX_BYTES: Final = 1 << 20
_SUM: Final = re.compile(r"[-+*/]")


def read_rules(source: Path | Mapping[str, object]) -> StepRules:
    """Rules from a TOML file, or from a mapping of the same form.

    Raises `UserError` (`file_not_found`, `invalid_steps` with the key).
    """
    found: object = source
    where = "steps"
    if isinstance(source, Path):
        where = str(source)
        try:
            with source.open("rb") as file:
                text = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise UserError("file_not_found", f"{source} cannot be read: {error.strerror}") from error
        if len(text) > _MAX_BYTES:
            raise UserError("invalid_steps", f"{source} has more than {_MAX_BYTES:,} bytes")
        try:
            found = tomllib.loads(text.decode("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UserError("invalid_steps", f"{source} is not TOML: {error}") from error
    try:
        return msgspec.convert(found, StepRules)
    except msgspec.ValidationError as error:
        raise UserError(
            "invalid_steps", f"{where}: {error}", f"the keys are {', '.join(StepRules.__struct_fields__)}"
        ) from error


def client_signature(steps: Steps, sample: Table | None = None) -> Signature:
    """What clients send and get: no state, a long input of any length, and outputs with their steps along axis 1.

    A model that stops by itself takes one row at a time, since rows would end after different steps. The sample names
    columns, as in `signatures.infer_signature`. Raises `UserError`: `invalid_steps` where the rules do not fit the model, `invalid_data` for a sample of such a model.
    """
    check_steps(steps)
    if sample is not None and steps.rules.stop is not None:
        raise UserError(
            "invalid_data",
            "the model stops by itself, so its answers differ in length and have no summary",
            "package it without a sample and a golden set",
        )
    inputs = [_input(steps, spec) for spec in signatures.with_sample(client_inputs(steps), sample)]
    if steps.rules.limit_input is not None:
        inputs.append(TensorSpec(steps.rules.limit_input, DType.INT64, (1,), optional=True))
    return Signature(tuple(inputs), tuple(_output(steps, name) for name in steps.rules.emit))


def check_growth(rules: StepRules, report: Report) -> None:
    """Refuse a state that grows by what the file says itself, as `past` → `past + 1`: `UserError("invalid_steps")`.

    Most files say nothing of how their free axes belong together; there the runtime finds it after the first step.
    """
    gives = {tensor.name: tensor.symbols for tensor in report.outputs}
    takes = {tensor.name: tensor.symbols for tensor in report.inputs}
    for given, taker in rules.feedback.items():
        for after, before in zip(gives.get(given, []), takes.get(taker, []), strict=False):
            if before and after != before and before in re.findall(r"\w+", after) and _SUM.search(after):
                raise UserError(
                    "invalid_steps",
                    f"output {given!r} is {after!r} long where input {taker!r}, which it feeds, is {before!r}: "
                    "the state would grow with every step",
                    "the model must give its state in the shape in which it takes it",
                )


def _input(steps: Steps, spec: TensorSpec) -> TensorSpec:
    shape = list(spec.shape)
    window = steps.rules.window
    columns = (
        spec.columns if steps.rules.limit_input is None else ()
    )  # beside another input, one goes by its name
    if window is not None and window.input == spec.name:
        shape[window.axis] = -1
        columns = ()
    if steps.rules.stop is not None and shape[:1] == [-1]:
        shape[0] = 1
    return msgspec.structs.replace(spec, shape=tuple(shape), columns=columns)


def _output(steps: Steps, name: str) -> TensorSpec:
    spec = steps.graph.output(name)
    assert spec is not None, "check_steps looked for it"
    shape = whole_shape(spec.shape)
    meaning = Meaning.VALUE if spec.dtype.is_float and len(shape) == 2 else Meaning.TENSOR
    return msgspec.structs.replace(spec, shape=shape, meaning=meaning)


def check_golden(rules: StepRules, columns: int) -> None:
    """Refuse a golden set of so many inputs for each truth where an answer has several steps: `UserError("invalid_data")`."""
    steps = rules.max_steps if rules.window is None else -(-columns // rules.window.length)
    if steps > 1:
        raise UserError(
            "invalid_data",
            f"the model answers a row of the golden set in {steps:,} steps, and there is one truth for each row",
            "judge one step: a version with max_steps = 1, or rows of one window",
        )


def describe(rules: StepRules) -> str:
    """The rules in one line, for people."""
    window = rules.window
    parts = [f"{', '.join(rules.emit)} after each step, at most {rules.max_steps:,} steps"]
    if window is not None:
        parts.append(f"{window.input} in pieces of {window.length} after {window.context}")
    parts += [f"{given} → {taker}" for given, taker in rules.feedback.items()]
    parts += [f"{name} = {value}" for name, value in rules.fixed.items()]
    if rules.stop is not None:
        parts.append(f"until {rules.stop}")
    return "; ".join(parts)
