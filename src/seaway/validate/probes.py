"""Checks that look at the model itself: does it load, keep its Signature, how quick and how large is it."""

from __future__ import annotations

from typing import Final

import numpy as np

from seaway.bundle import asking
from seaway.core import tensors
from seaway.core.bundles import Tolerance
from seaway.core.checks import CheckResult, Measurement, Verdict
from seaway.core.tensors import Array, Meaning, Tensors, TensorSpec, placeholder_inputs
from seaway.core.traffic import Limits
from seaway.validate.subject import PROBE_ROWS, Subject

_ALONE: Final = 8
_CALLS: Final = 300
_SECONDS: Final = 1.0
_WARM: Final = 5
_DEADLINE_S: Final = Limits().deadline_s


def loads(subject: Subject) -> CheckResult:
    """The runtime loads the version, and it answers its sample. Without a sample, zeros are asked."""
    if subject.probe_inputs() is None:
        subject.load()
        return CheckResult(
            "loads", Verdict.PASSED, "loads, and answers an input of zeros (it came without a sample)"
        )
    subject.load()
    return CheckResult(
        "loads",
        Verdict.PASSED,
        "loads and answers its sample",
        (Measurement("load_s", subject.load_s, n=1, unit="s"),),
    )


def signature(subject: Subject) -> CheckResult:
    """Outputs have the declared names, types and shapes, are finite, and do not depend on a row's neighbours."""
    inputs = _inputs(subject)
    outputs = subject.predict(inputs)
    rows = len(next(iter(inputs.values()))) if subject.signature.batched else None
    problem = _misfit(subject.signature.outputs, outputs, rows)
    if problem is None and subject.signature.batched and rows is not None and rows > 1:
        problem = _neighbours(subject, inputs, outputs, rows)
    if problem is not None:
        return CheckResult("signature", Verdict.FAILED, problem)
    return CheckResult(
        "signature",
        Verdict.PASSED,
        f"names, types and shapes hold; rows asked: {rows or asking.rows_at_once(subject.signature)}",
    )


def latency(subject: Subject) -> CheckResult:
    """How long one row takes, and how many rows a second go through in batches of 64, on this machine now.

    A probe of about two seconds, never a failure by itself: a requirement decides what is too slow, and a version
    does not know the deadlines of the endpoints that will serve it.
    """
    inputs = _inputs(subject)
    single = _rows(inputs, 1) if subject.signature.batched else inputs
    took = _time(subject, single)
    p50, p99 = (float(q) for q in np.quantile(took, [0.5, 0.99]))
    measured = [
        Measurement("latency_p50_ms", p50 * 1e3, n=len(took), unit="ms"),
        Measurement("latency_p99_ms", p99 * 1e3, n=len(took), unit="ms"),
    ]
    if subject.signature.batched:
        batches = _time(subject, _rows(inputs, PROBE_ROWS))
        middle = float(np.median(batches))
        if middle > 0:
            measured.append(Measurement("rows_per_s", PROBE_ROWS / middle, n=len(batches)))
    reason = f"one row alone {len(took)} times, in this process"
    if p50 > _DEADLINE_S:
        reason += (
            f"; that is more than the {_DEADLINE_S:g} s that a request has unless its endpoint says otherwise: "
            "set limits.deadline in the endpoint's file, or every request gets 504"
        )
    return CheckResult("latency", Verdict.PASSED, reason, tuple(measured))


def memory(subject: Subject) -> CheckResult:
    """By how much this process grew when the version was loaded and answered first: a lower bound of its need."""
    subject.load()
    if subject.memory is None:
        return CheckResult(
            "memory", Verdict.INCONCLUSIVE, "the model did not answer, so its growth was not seen"
        )
    size = Measurement("size_mb", subject.bundle.size_bytes / 2**20, n=1, unit="MB")
    return CheckResult(
        "memory", Verdict.PASSED, "growth of this process at load and first answer", (subject.memory, size)
    )


def _inputs(subject: Subject) -> Tensors:
    probe = subject.probe_inputs()
    return placeholder_inputs(subject.signature) if probe is None else probe


def _rows(inputs: Tensors, rows: int) -> dict[str, Array]:
    """The first so many rows, from the start again where there are too few."""
    return {name: np.resize(array, (rows, *array.shape[1:])) for name, array in inputs.items()}


def _time(subject: Subject, inputs: Tensors) -> list[float]:
    """Seconds of each call: up to 300 calls, or what fits into a second. Runs under one deadline, in one thread."""
    model = subject.load()
    clock = subject.clock

    def run() -> list[float]:
        begun = clock.monotonic_s()
        for _ in range(_WARM):
            model.predict(inputs, subject.deadlines.predict_s)
            if clock.monotonic_s() - begun > _SECONDS:
                break  # what takes so long has nothing to warm up
        took: list[float] = []
        begun = clock.monotonic_s()
        while not took or (len(took) < _CALLS and clock.monotonic_s() - begun < _SECONDS):
            start = clock.monotonic_s()
            model.predict(inputs, subject.deadlines.predict_s)
            took.append(clock.monotonic_s() - start)
        return took

    return subject.guarded(run, _SECONDS + (_WARM + 1) * subject.deadlines.predict_s)


def _misfit(specs: tuple[TensorSpec, ...], outputs: Tensors, rows: int | None) -> str | None:
    declared = {spec.name for spec in specs}
    if set(outputs) != declared:
        return f"the outputs are {sorted(outputs)}, declared are {sorted(declared)}"
    for spec in specs:
        array = outputs[spec.name]
        if array.dtype != spec.dtype.numpy:
            return f"output {spec.name!r} has type {array.dtype}, declared is {tensors.describe(spec)}"
        if not spec.accepts(array.shape):
            return f"output {spec.name!r} has shape {list(array.shape)}, declared is {tensors.describe(spec)}"
        if rows is not None and spec.shape[:1] == (-1,) and len(array) != rows:
            return f"output {spec.name!r} has {len(array)} rows for {rows} rows asked"
        if spec.dtype.is_float and not np.isfinite(array.astype(np.float64)).all():
            return f"output {spec.name!r} holds NaN or infinity for rows of the sample"
    return None


def _neighbours(subject: Subject, inputs: Tensors, outputs: Tensors, rows: int) -> str | None:
    backwards = subject.predict({name: array[::-1].copy() for name, array in inputs.items()})
    alone = [
        subject.predict({name: array[row : row + 1] for name, array in inputs.items()})
        for row in range(min(rows, _ALONE))
    ]
    has_chances = any(spec.meaning is Meaning.PROBABILITY for spec in subject.signature.outputs)
    for spec in subject.signature.outputs:
        if spec.shape[:1] != (-1,) or (spec.meaning is Meaning.LABEL and has_chances):
            continue  # a label may flip where two chances are as good as equal; the chances say it better
        whole = outputs[spec.name]
        turned = np.asarray(backwards[spec.name])[::-1]
        if (row := _differs(whole, turned, subject.manifest.tolerance)) is not None:
            return f"output {spec.name!r} of row {row} changes with the order of the rows"
        singly = np.concatenate([np.asarray(one[spec.name]) for one in alone])
        if (row := _differs(whole[: len(singly)], singly, subject.manifest.tolerance)) is not None:
            return f"output {spec.name!r} of row {row} alone is not what it is in a batch of {rows}"
    return None


def _differs(one: Array, other: Array, tolerance: Tolerance) -> int | None:
    """The first row in which two arrays differ beyond the tolerance."""
    if one.shape != other.shape:
        return 0
    if one.dtype.kind == "f":
        a, b = one.astype(np.float64), other.astype(np.float64)
        far = np.abs(a - b) > tolerance.absolute + tolerance.relative * np.abs(b)
    else:
        far = one != other
    rows = far.reshape(len(far), -1).any(axis=1)
    return int(rows.argmax()) if rows.any() else None
