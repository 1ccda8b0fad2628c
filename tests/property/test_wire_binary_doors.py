"""Binary and gRPC round trips give equal tensors; any bytes into their decoders are a UserError or tensors, no more."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from seaway.core.errors import UserError
from seaway.core.tensors import Array, DType, Signature, TensorSpec
from seaway.wire import oip_binary, oip_grpc, oip_json, oip_pb2

MESSAGES: Any = oip_pb2
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
FUZZED = Signature(
    (
        TensorSpec("x", DType.FP32, (-1, 2)),
        TensorSpec("s", DType.BYTES, (-1,)),
        TensorSpec("i", DType.INT8, (-1,)),
    ),
    (TensorSpec("x", DType.FP32, (-1, 2)),),
)


@st.composite
def tensors(draw: st.DrawFn) -> tuple[TensorSpec, Array]:
    dtype = draw(st.sampled_from(list(DType)))
    shape = draw(arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
    if dtype is DType.BYTES:
        count = math.prod(shape)
        flat = np.empty(count, dtype=object)
        flat[:] = draw(st.lists(TEXT, min_size=count, max_size=count))
        return TensorSpec("x", dtype, shape), flat.reshape(shape)
    return TensorSpec("x", dtype, shape), draw(arrays.arrays(dtype.numpy, shape))


def equal(found: Array, expected: Array) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if expected.dtype == object:
        assert found.tolist() == expected.tolist()
    else:
        assert found.tobytes() == expected.tobytes()  # NaN and its bits too


@given(tensors(), st.integers(0, 3))
def test_binary_requests_and_answers(pair: tuple[TensorSpec, Array], padding: int) -> None:
    spec, array = pair
    signature = Signature((spec,), (spec,))
    raw = oip_binary.write(array, spec.dtype)
    item = {"name": "x", "datatype": spec.dtype.value, "shape": list(array.shape)}
    item["parameters"] = {"binary_data_size": len(raw)}
    head = (
        json.dumps({"inputs": [item], "parameters": {"binary_data_output": True}}).encode() + b" " * padding
    )
    request = oip_binary.decode_request(str(len(head)).encode(), head + raw, signature)
    equal(request.tensors["x"], array)
    whole, length = oip_binary.encode_response(request, {"x": array}, signature, "m", 1)
    assert whole[length:] == raw
    (output,) = json.loads(whole[:length])["outputs"]
    assert (output["shape"], output["parameters"]) == (list(array.shape), item["parameters"])


@given(tensors(), st.booleans())
def test_grpc_requests_and_answers(pair: tuple[TensorSpec, Array], raw: bool) -> None:
    spec, array = pair
    raw = raw or spec.dtype is DType.FP16
    signature = Signature((spec,), (spec,))
    message = MESSAGES.ModelInferRequest(model_name="m", id="7")
    tensor = message.inputs.add(name="x", datatype=spec.dtype.value, shape=array.shape)
    if raw:
        message.raw_input_contents.append(oip_binary.write(array, spec.dtype))
    else:
        oip_grpc._fill(tensor.contents, array, spec.dtype)
    request = oip_grpc.Request(message.SerializeToString())
    found = request.tensors(signature)["x"]
    if raw or not spec.dtype.is_float:
        equal(found, array)
    else:
        np.testing.assert_array_equal(found, array)  # a Python float keeps no NaN's bits
    # The answer to what was asked is read as a request again: the messages of tensors are alike.
    answer = MESSAGES.ModelInferResponse.FromString(request.answer({"x": found}, signature, "m", 4))
    assert (answer.model_name, answer.model_version, answer.id) == ("m", "4", "7")
    again = MESSAGES.ModelInferRequest(model_name="m")
    again.inputs.add().ParseFromString(answer.outputs[0].SerializeToString())
    again.raw_input_contents.extend(answer.raw_output_contents)
    np.testing.assert_array_equal(oip_grpc.Request(again.SerializeToString()).tensors(signature)["x"], found)


@given(tensors())
def test_every_door_reads_the_same_numbers(pair: tuple[TensorSpec, Array]) -> None:
    spec, array = pair
    if spec.dtype.is_float:
        array = np.nan_to_num(array, nan=0.5, posinf=1.0, neginf=-1.0)
    signature = Signature((spec,), ())
    text = oip_json.decode_request(oip_json.encode_request({"x": array}), signature).tensors["x"]
    raw = oip_binary.read(memoryview(oip_binary.write(array, spec.dtype)), spec, spec.dtype, array.shape)
    equal(text, raw)


MIXED_HEAD = json.dumps(
    {
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
            {"name": "s", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 10}},
            {"name": "i", "datatype": "INT8", "shape": [1], "data": [3]},
        ]
    }
).encode()
MIXED = MIXED_HEAD + bytes(8) + b"\x02\0\0\0ab\0\0\0\0"


def grpc_sample() -> bytes:
    message = MESSAGES.ModelInferRequest(model_name="m", id="7")
    message.inputs.add(name="x", datatype="FP32", shape=[1, 2]).contents.fp32_contents.extend([1, 2])
    message.inputs.add(name="s", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"ab")
    message.inputs.add(name="i", datatype="INT8", shape=[2]).contents.int_contents.extend([-3, 4])
    message.outputs.add(name="x")
    encoded: bytes = message.SerializeToString()
    return encoded


@st.composite
def mutated(draw: st.DrawFn, original: bytes) -> bytes:
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.integers(0, 2))
        if kind == 0 and at < len(data):
            data[at] = draw(st.integers(0, 255))
        elif kind == 1:
            data[at:at] = draw(st.binary(max_size=6))
        else:
            del data[at : at + draw(st.integers(1, 8))]
    return bytes(data)


@given(st.one_of(mutated(MIXED), st.binary(max_size=64)), st.integers(-2, 2))
def test_r06_any_bytes_into_the_binary_decoder(body: bytes, off: int) -> None:
    try:
        found = oip_binary.decode_request(str(len(MIXED_HEAD) + off).encode(), body, FUZZED)
    except UserError:
        return
    assert sum(array.nbytes for array in found.tensors.values()) <= 8 * len(body) + 64


@given(st.one_of(mutated(grpc_sample()), st.binary(max_size=64)))
def test_g03_any_bytes_into_the_grpc_decoder(data: bytes) -> None:
    try:
        found = oip_grpc.Request(data).tensors(FUZZED)
    except UserError:
        return
    assert sum(array.nbytes for array in found.values()) <= 8 * len(data) + 64
