"""The doors over HTTP: which way a request is read, which way it is answered, and that the table of doors is whole."""

from __future__ import annotations

import json

import numpy as np
import pytest

from seaway.core.errors import UserError
from seaway.core.tensors import DType, Signature, TensorSpec
from seaway.serve.doors import DOORS
from seaway.serve.doors.generate import GENERATE
from seaway.serve.doors.oip import OIP
from seaway.serve.doors.predict import PREDICT

PRICES = Signature(
    (TensorSpec("x", DType.FP32, (-1, 3), columns=("a", "b", "c")),), (TensorSpec("y", DType.FP32, (-1, 1)),)
)
OUTPUTS = {"y": np.array([[16.0]], np.float32)}
JSON_BODY = b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}],"id":"i"}'
HEAD = json.dumps(
    {
        "inputs": [
            {"name": "x", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}
        ],
        "parameters": {"binary_data_output": True},
    }
).encode()
BINARY_BODY = HEAD + np.array([1, 2, 3], "<f4").tobytes()
LENGTH = str(len(HEAD)).encode()


def test_every_path_leads_to_one_door() -> None:
    paths = [path for door in DOORS for path in door.paths]
    assert len(set(paths)) == len(paths)
    assert len({door.name for door in DOORS}) == len(DOORS)
    for door in DOORS:
        assert all("{endpoint}" in path and path.startswith("/") for path in door.paths)
        assert door.media_types[0] == b"application/json"
    assert [door.name for door in DOORS if door.streams] == ["generate"]


@pytest.mark.parametrize("headers", [{}, {b"content-type": b"application/json; charset=utf-8"}])
def test_json_is_answered_in_json(headers: dict[bytes, bytes]) -> None:
    decoded = OIP.decode(headers, JSON_BODY, PRICES)
    assert decoded.checked
    assert decoded.tensors["x"].tolist() == [[1, 2, 3]]
    answer = decoded.encode(OUTPUTS, "prices", 3)
    assert (answer.content_type, answer.header_lines) == (b"application/json", b"")
    assert json.loads(answer.body) == {
        "model_name": "prices",
        "model_version": "3",
        "id": "i",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 1], "data": [16.0]}],
    }


@pytest.mark.parametrize("media_type", [b"application/octet-stream", b"application/json", None])
def test_the_header_and_not_the_media_type_makes_a_request_binary(media_type: bytes | None) -> None:
    headers = {b"inference-header-content-length": LENGTH}
    if media_type is not None:
        headers[b"content-type"] = media_type
    decoded = OIP.decode(headers, BINARY_BODY, PRICES)
    assert not decoded.checked
    assert decoded.tensors["x"].tolist() == [[1, 2, 3]]
    answer = decoded.encode(OUTPUTS, "prices", 3)
    assert answer.content_type == b"application/octet-stream"
    name, _, value = answer.header_lines.removesuffix(b"\r\n").partition(b": ")
    assert name == b"Inference-Header-Content-Length"
    assert answer.body[int(value) :] == OUTPUTS["y"].tobytes()
    (output,) = json.loads(answer.body[: int(value)])["outputs"]
    assert output["parameters"] == {"binary_data_size": 4}


@pytest.mark.parametrize("media_type", [b"application/octet-stream", b"Application/Octet-Stream ; x=1"])
def test_r10_octets_without_the_header_are_not_taken(media_type: bytes) -> None:
    with pytest.raises(UserError) as caught:
        OIP.decode({b"content-type": media_type}, b"\x80\x04.", PRICES)
    assert caught.value.code == "unsupported_media_type"
    assert "application/json" in (caught.value.hint or "")


def test_rows_are_answered_by_predictions() -> None:
    for body in (b"[[1,2,3]]", b'{"instances":[{"c":3,"b":2,"a":1}]}'):
        decoded = PREDICT.decode({}, body, PRICES)
        assert decoded.checked
        assert decoded.tensors["x"].tolist() == [[1, 2, 3]]
        assert decoded.encode(OUTPUTS, "prices", 3).body == b'{"predictions":[16.0]}'


def test_a_stream_is_answered_by_events() -> None:
    decoded = GENERATE.decode({}, b'{"a":1,"b":2,"c":3}', PRICES)
    answer = decoded.encode(OUTPUTS, "prices", 3)
    assert answer.content_type == b"text/event-stream"
    assert answer.body == b'data: {"model_name":"prices","model_version":"3","y":16.0}\n\n'
