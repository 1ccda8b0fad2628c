"""Binary tensor data: every length that does not fit is refused and named, and the bytes are read as they are."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from seaway.core.errors import UserError
from seaway.core.tensors import DType, Signature, TensorSpec
from seaway.wire import oip_binary, oip_json

MIXED = Signature(
    (
        TensorSpec("x", DType.FP32, (-1, 3)),
        TensorSpec("n", DType.INT64, (-1,)),
        TensorSpec("s", DType.BYTES, (-1,)),
        TensorSpec("b", DType.BOOL, (-1,)),
    ),
    (TensorSpec("y", DType.FP16, (-1, 2)), TensorSpec("w", DType.BYTES, (-1,))),
)
X = np.arange(6, dtype="<f4").reshape(2, 3)
N = np.array([1, -2], "<i8")
WORDS = b"".join(struct.pack("<I", len(word)) + word for word in ("ä".encode(), b""))


def tensor(name: str, datatype: str, shape: list[int], **rest: object) -> dict[str, object]:
    return {"name": name, "datatype": datatype, "shape": shape, **rest}


def sized(name: str, datatype: str, shape: list[int], size: object) -> dict[str, object]:
    return tensor(name, datatype, shape, parameters={"binary_data_size": size})


INPUTS = [
    sized("x", "FP32", [2, 3], 24),
    tensor("n", "INT64", [2], data=[1, -2]),
    sized("s", "BYTES", [2], len(WORDS)),
    sized("b", "BOOL", [2], 2),
]
TAIL = X.tobytes() + WORDS + b"\x01\x00"


def body(inputs: list[dict[str, object]], tail: bytes = TAIL, **rest: object) -> tuple[bytes, bytes]:
    head = json.dumps({"inputs": inputs, **rest}).encode()
    return str(len(head)).encode(), head + tail


def test_binary_and_json_inputs_in_one_request() -> None:
    for padding in ("", " ", "  ", "   "):  # every alignment of what follows
        found = oip_binary.decode_request(*body(INPUTS, id=padding), MIXED)
        assert found.tensors["x"].tolist() == X.tolist()
        assert found.tensors["x"].flags.aligned
        assert found.tensors["n"].tolist() == [1, -2]
        assert found.tensors["s"].tolist() == ["ä", ""]
        assert found.tensors["b"].tolist() == [True, False]
        assert not found.checked
        for spec in MIXED.inputs:
            assert found.tensors[spec.name].dtype == spec.dtype.numpy


def test_aligned_numbers_are_not_copied() -> None:
    signature = Signature((TensorSpec("x", DType.FP32, (-1, 3)),), ())
    for padding in range(4):
        length, whole = body([sized("x", "FP32", [2, 3], 24)], X.tobytes(), id="-" * padding)
        found = oip_binary.decode_request(length, whole, signature).tensors["x"]
        start = np.frombuffer(whole, np.uint8).ctypes.data
        if (start + int(length)) % 4 == 0:
            assert found.ctypes.data == start + int(length)
            assert not found.flags.writeable
            return
    pytest.fail("no padding aligned the data")


def test_a_narrower_datatype_is_widened() -> None:
    signature = Signature((TensorSpec("x", DType.FP64, (-1,)),), ())
    raw = np.array([0.5, -1.0], "<f2").tobytes()
    found = oip_binary.decode_request(*body([sized("x", "FP16", [2], 4)], raw), signature)
    assert found.tensors["x"].dtype == np.float64
    assert found.tensors["x"].tolist() == [0.5, -1.0]


@pytest.mark.parametrize(
    ("length", "word"),
    [
        (b"", "''"),
        (b"-1", "'-1'"),
        (b"1e3", "'1e3'"),
        (b"+5", "'+5'"),
        (b" 5", "' 5'"),
        (b"99999999999999999999", "'99999"),
        ("²".encode("latin-1"), "'²'"),
        (b"999999", "999999 bytes"),
    ],
)
def test_r06_the_header_length_is_no_length(length: bytes, word: str) -> None:
    with pytest.raises(UserError) as caught:
        oip_binary.decode_request(length, body(INPUTS)[1], MIXED)
    assert caught.value.code == "invalid_request"
    assert word in caught.value.message
    assert "inference-header-content-length" in caught.value.message


@pytest.mark.parametrize("length", [b"0", b"10"])
def test_r06_the_header_length_cuts_the_json(length: bytes) -> None:
    with pytest.raises(UserError) as caught:
        oip_binary.decode_request(length, body(INPUTS)[1], MIXED)
    assert caught.value.code == "invalid_json"


X_ONLY = Signature((TensorSpec("x", DType.FP32, (-1, 3)),), ())
S_ONLY = Signature((TensorSpec("s", DType.BYTES, (-1,)),), ())
B_ONLY = Signature((TensorSpec("b", DType.BOOL, (-1,)),), ())


@pytest.mark.parametrize(
    ("item", "tail", "signature", "code", "word"),
    [
        (sized("x", "FP32", [1, 3], -12), b"0" * 12, X_ONLY, "invalid_request", "binary_data_size"),
        (sized("x", "FP32", [1, 3], 12.0), b"0" * 12, X_ONLY, "invalid_request", "binary_data_size"),
        (sized("x", "FP32", [1, 3], True), b"0" * 12, X_ONLY, "invalid_request", "binary_data_size"),
        (sized("x", "FP32", [1, 3], None), b"0" * 12, X_ONLY, "invalid_request", "binary_data_size"),
        (sized("x", "FP32", [1, 3], 13), b"0" * 12, X_ONLY, "invalid_request", "12 bytes are left"),
        (sized("x", "FP32", [1, 3], 2**70), b"0" * 12, X_ONLY, "invalid_request", "12 bytes are left"),
        (sized("x", "FP32", [1, 3], 12), b"0" * 13, X_ONLY, "invalid_request", "13 bytes"),
        (sized("x", "FP32", [1, 3], 8), b"0" * 8, X_ONLY, "wrong_shape", "takes 12"),
        (sized("x", "FP32", [2**40, 3], 12), b"0" * 12, X_ONLY, "wrong_shape", "takes"),
        (sized("x", "FP32", [1, 4], 16), b"0" * 16, X_ONLY, "wrong_shape", "[1, 4]"),
        (sized("x", "FP32", [-1, 3], 12), b"0" * 12, X_ONLY, "wrong_shape", "-1"),
        (sized("x", "FP64", [1, 3], 24), b"0" * 24, X_ONLY, "wrong_dtype", "FP64"),
        (sized("z", "FP32", [1, 3], 12), b"0" * 12, X_ONLY, "unknown_input", "'z'"),
        (
            sized("x", "FP32", [1, 3], 12) | {"data": [1, 2, 3]},
            b"0" * 12,
            X_ONLY,
            "invalid_request",
            "both",
        ),
        (sized("s", "BYTES", [1], 6), b"\x03\0\0\0ab", S_ONLY, "invalid_request", "said to have 3"),
        (sized("s", "BYTES", [1], 6), b"\xff\xff\xff\xffab", S_ONLY, "invalid_request", "4294967295"),
        (sized("s", "BYTES", [2], 6), b"\x02\0\0\0ab", S_ONLY, "wrong_shape", "2 BYTES"),
        (sized("s", "BYTES", [2], 8), b"\x04\0\0\0abcd", S_ONLY, "wrong_shape", "ends before element 1"),
        (sized("s", "BYTES", [1], 7), b"\x02\0\0\0abc", S_ONLY, "wrong_shape", "after its last"),
        (sized("s", "BYTES", [2**40], 4), b"\0\0\0\0", S_ONLY, "wrong_shape", "too few"),
        (sized("s", "BYTES", [1], 5), b"\x01\0\0\0\xff", S_ONLY, "invalid_value", "UTF-8"),
        (sized("b", "BOOL", [2], 2), b"\x01\x02", B_ONLY, "invalid_value", "BOOL"),
    ],
)
def test_r06_what_does_not_fit_is_named(
    item: dict[str, object], tail: bytes, signature: Signature, code: str, word: str
) -> None:
    with pytest.raises(UserError) as caught:
        oip_binary.decode_request(*body([item], tail), signature)
    assert caught.value.code == code
    assert word in caught.value.message + (caught.value.hint or "")


def test_binary_inputs_need_the_header() -> None:
    with pytest.raises(UserError, match="inference-header-content-length"):
        oip_json.decode_request(body(INPUTS)[1][: -len(TAIL)], MIXED)


OUTPUTS = {"y": np.array([[0.5, np.nan]], np.float16), "w": np.array(["ö"], object)}


@pytest.mark.parametrize(
    ("rest", "binary"),
    [
        ({}, []),
        ({"parameters": {"binary_data_output": True}}, ["y", "w"]),
        ({"outputs": [{"name": "y", "parameters": {"binary_data": True}}, {"name": "w"}]}, ["y"]),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "w"}, {"name": "y", "parameters": {"binary_data": False}}],
            },
            ["w"],
        ),
    ],
)
def test_outputs_come_as_the_request_says(rest: dict[str, object], binary: list[str]) -> None:
    inputs = [
        tensor("x", "FP32", [1, 3], data=[1, 2, 3]),
        tensor("n", "INT64", [1], data=[1]),
        tensor("s", "BYTES", [1], data=["a"]),
        tensor("b", "BOOL", [1], data=[True]),
    ]
    request = oip_json.decode_request(json.dumps({"inputs": inputs, "id": "i", **rest}).encode(), MIXED)
    assert request.binary == set(binary)
    whole, length = oip_binary.encode_response(request, OUTPUTS, MIXED, "words", 7)
    answer = json.loads(whole[:length])
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("words", "7", "i")
    tail = whole[length:]
    for output in answer["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        assert (size is not None) == (output["name"] in binary)
        if size is None:
            assert output["data"] == {"y": [0.5, None], "w": ["ö"]}[output["name"]]
            continue
        expected = {"y": OUTPUTS["y"].tobytes(), "w": b"\x02\0\0\0" + "ö".encode()}[output["name"]]
        assert (tail[:size], size) == (expected, len(expected))
        tail = tail[size:]
    assert tail == b""


@pytest.mark.parametrize("value", [1, "true", None, []])
def test_a_wish_for_binary_is_true_or_false(value: object) -> None:
    request = {"inputs": [tensor("x", "FP32", [1, 3], data=[1, 2, 3])]}
    asked = request | {"parameters": {"binary_data_output": value}}
    with pytest.raises(UserError, match="binary_data_output"):
        oip_json.decode_request(json.dumps(asked).encode(), X_ONLY)
