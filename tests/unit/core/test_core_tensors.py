"""Tensors against their Signature: what is refused, and what is made up."""

from __future__ import annotations

import numpy as np
import pytest

from seaway.core import tensors
from seaway.core.errors import PermanentError, UserError
from seaway.core.tensors import DType, Signature, TensorSpec

SIGNATURE = Signature(
    (
        TensorSpec("x", DType.FP32, (-1, 2)),
        TensorSpec("s", DType.BYTES, (-1,)),
        TensorSpec("n", DType.FP16, (-1,), nullable=True),
    ),
    (TensorSpec("y", DType.INT64, (-1,)),),
)


def inputs(rows: int = 2, **changes: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "x": np.ones((rows, 2), np.float32),
        "s": np.array(["a"] * rows, dtype=object),
        "n": np.ones(rows, np.float16),
        **changes,
    }


def test_fitting_tensors_give_their_number_of_rows() -> None:
    assert tensors.check_inputs(SIGNATURE, inputs(3)) == 3
    fixed = Signature((TensorSpec("x", DType.FP32, (2,)),), ())
    assert not fixed.batched
    assert tensors.check_inputs(fixed, {"x": np.ones(2, np.float32)}) == 1


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (inputs(z=np.ones(1)), "unknown_input", ["'z'", "x, s, n"]),
        ({"x": inputs()["x"]}, "missing_input", ["'s'", "BYTES[N]"]),
        (inputs(x=np.ones((2, 2))), "wrong_dtype", ["'x'", "float64", "FP32[N,2]"]),
        (inputs(x=np.ones((2, 3), np.float32)), "wrong_shape", ["'x'", "[2, 3]", "FP32[N,2]"]),
        (inputs(x=np.ones(2, np.float32)), "wrong_shape", ["[2]"]),
        (inputs(s=np.array(["a"], dtype=object)), "wrong_shape", ["'s'", "1 rows", "have 2"]),
    ],
)
def test_what_does_not_fit_is_named(given: dict[str, np.ndarray], code: str, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        tensors.check_inputs(SIGNATURE, given)
    assert caught.value.code == code
    for word in words:
        assert word in f"{caught.value.message} {caught.value.hint}"


def test_nan_is_refused_where_nothing_may_be_missing() -> None:
    gone = np.array([[1, 2], [3, np.nan]], np.float32)
    with pytest.raises(UserError, match=r"'x' is NaN at \[1, 1\]"):
        tensors.check_missing(SIGNATURE, inputs(x=gone))
    tensors.check_missing(SIGNATURE, inputs(n=np.array([np.nan, 1], np.float16)))


def test_placeholders_fit_every_signature() -> None:
    every = Signature(
        tuple(TensorSpec(dtype.value, dtype, (-1, 2, -1)) for dtype in DType),
        (),
    )
    made = tensors.placeholder_inputs(every)
    assert tensors.check_inputs(every, made) == 1
    assert made["BYTES"].ravel().tolist() == ["", ""]


@pytest.mark.parametrize("y", [None, np.ones(1), np.ones((1, 1), np.int64)])
def test_an_answer_that_breaks_the_signature_is_the_models_fault(y: np.ndarray | None) -> None:
    with pytest.raises(PermanentError, match=r"INT64\[N\]"):
        tensors.check_outputs(SIGNATURE, {} if y is None else {"y": y})
    tensors.check_outputs(SIGNATURE, {"y": np.ones(1, np.int64)})
