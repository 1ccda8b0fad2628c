"""A JSON that came before is not read again: the same tensors, and the same refusals."""

from __future__ import annotations

import gc
import json
import weakref

import numpy as np
import pytest

from seaway.core.errors import UserError
from seaway.core.tensors import DType, Signature, TensorSpec
from seaway.wire import oip_binary, plans

SIGNATURE = Signature(
    (TensorSpec("a", DType.FP32, (-1, 2)), TensorSpec("b", DType.INT64, (-1,))),
    (TensorSpec("y", DType.FP32, (-1,)),),
)


def body(a: np.ndarray, b: np.ndarray, request_id: str = "r") -> tuple[bytes, bytes]:
    inputs = [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": kind,
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array, kind in (("a", a, "FP32"), ("b", b, "INT64"))
    ]
    head = json.dumps({"id": request_id, "inputs": inputs}).encode()
    return str(len(head)).encode(), head + a.tobytes() + b.tobytes()


def test_the_second_reading_gives_what_the_first_would() -> None:
    chance = np.random.default_rng(1)
    for padding in ("", "1", "12", "123"):  # the data begins at every alignment
        for _ in range(3):
            a = chance.normal(size=(3, 2)).astype(np.float32)
            b = chance.integers(0, 9, size=3)
            header, sent = body(a, b, padding)
            found = oip_binary.decode_request(header, sent, SIGNATURE)
            np.testing.assert_array_equal(found.tensors["a"], a)
            np.testing.assert_array_equal(found.tensors["b"], b)
            assert all(array.flags.aligned for array in found.tensors.values())
            assert (found.id, found.checked) == (padding, False)
    assert len(plans.of(SIGNATURE).recipes) >= 4


@pytest.mark.parametrize("cut", [1, 8])
def test_a_known_json_with_other_data_is_refused_as_before(cut: int) -> None:
    header, sent = body(np.zeros((1, 2), np.float32), np.zeros(1, np.int64))
    oip_binary.decode_request(header, sent, SIGNATURE)
    for wrong in (sent[:-cut], sent + b"\0" * cut):
        with pytest.raises(UserError) as refused:
            oip_binary.decode_request(header, wrong, SIGNATURE)
        assert refused.value.code == "invalid_request"


def test_a_flood_of_ids_is_not_kept_for_ever() -> None:
    for number in range(1000):
        header, sent = body(np.zeros((1, 2), np.float32), np.zeros(1, np.int64), str(number))
        oip_binary.decode_request(header, sent, SIGNATURE)
    assert len(plans.of(SIGNATURE).recipes) <= 256


def test_what_is_kept_of_a_request_holds_none_of_its_numbers() -> None:
    header, sent = body(np.ones((3, 2), np.float32), np.zeros(3, np.int64), "large")
    found = oip_binary.decode_request(header, sent, SIGNATURE)
    assert sent[: int(header)] in plans.of(SIGNATURE).recipes
    tensor = weakref.ref(found.tensors["a"])  # a view of the body, which lives as long as it
    del found
    gc.collect()
    assert tensor() is None
