"""What the bench sends, and how it tells a right answer from a wrong one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench import bodies, models, protobuf
from bench.bodies import Form

EXPECTED = np.array([0.25, 0.75], np.float32)


def oip_json(values: list[float]) -> bytes:
    outputs = [
        {"name": "label", "shape": [1], "datatype": "INT64", "data": [1]},
        {"name": "probabilities", "shape": [1, 2], "datatype": "FP32", "data": values},
    ]
    return json.dumps({"outputs": outputs}).encode()


def oip_binary(values: list[float]) -> tuple[dict[str, str], bytes]:
    label, floats = np.array([1], "<i8").tobytes(), np.array(values, "<f4").tobytes()
    outputs = [
        {"name": "label", "shape": [1], "parameters": {"binary_data_size": len(label)}},
        {"name": "probabilities", "shape": [1, 2], "parameters": {"binary_data_size": len(floats)}},
    ]
    head = json.dumps({"outputs": outputs}).encode()
    return {bodies.HEADER_LENGTH: str(len(head))}, head + label + floats


def grpc(values: list[float], raw: bool) -> bytes:
    def tensor(name: str, datatype: str, contents: bytes) -> bytes:
        made = protobuf._field(1, name.encode()) + protobuf._field(2, datatype.encode())
        made += protobuf._field(3, bytes([1, len(values)]))
        return protobuf._field(5, made + (protobuf._field(5, contents) if contents else b""))

    floats = np.array(values, "<f4").tobytes()
    if raw:
        one, two = tensor("label", "INT64", b""), tensor("probabilities", "FP32", b"")
        return one + two + protobuf._field(6, np.array([1], "<i8").tobytes()) + protobuf._field(6, floats)
    return tensor("probabilities", "FP32", protobuf._field(6, floats))


ANSWERS = {
    "json": lambda v: (Form.OIP_JSON, {}, oip_json(v)),
    "binary": lambda v: (Form.OIP_BINARY, *oip_binary(v)),
    "binary asked, json came": lambda v: (Form.OIP_BINARY, {}, oip_json(v)),
    "grpc raw": lambda v: (Form.OIP_GRPC, {}, grpc(v, raw=True)),
    "grpc typed": lambda v: (Form.OIP_GRPC, {}, grpc(v, raw=False)),
    "predictions": lambda v: (Form.INPUTS, {}, json.dumps({"predictions": [v]}).encode()),
    "mlflow": lambda v: (Form.INPUTS, {}, json.dumps({"predictions": {"label": [1], "probabilities": [v]}}).encode()),
    "bentoml": lambda v: (Form.NAMED, {}, json.dumps([v]).encode()),
    "torchserve": lambda v: (Form.DATA, {}, json.dumps(v).encode()),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_a_right_answer_is_accepted_within_the_tolerance(name: str) -> None:
    assert bodies.right(*ANSWERS[name]([0.25, 0.75]), EXPECTED)
    assert bodies.right(*ANSWERS[name]([0.25004, 0.74996]), EXPECTED)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_wrong_answer_is_found(name: str) -> None:
    assert not bodies.right(*ANSWERS[name]([0.26, 0.74]), EXPECTED)
    assert not bodies.right(*ANSWERS[name]([0.75, 0.25]), EXPECTED)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"outputs": []}', b'{"error": "busy"}', oip_json([0.25]), b"null"]
)
@pytest.mark.parametrize("form", [Form.OIP_JSON, Form.OIP_BINARY, Form.INPUTS, Form.DATA])
def test_what_is_no_answer_is_wrong_and_breaks_nothing(form: Form, body: bytes) -> None:
    assert not bodies.right(form, {}, body, EXPECTED)


def test_two_rows_for_one_are_wrong() -> None:
    assert not bodies.right(Form.NAMED, {}, b"[[0.25, 0.75], [0.25, 0.75]]", EXPECTED)


def test_every_form_carries_the_same_numbers() -> None:
    rows = np.arange(30, dtype=np.float64).reshape(1, 30) / 4
    flat = rows.ravel().tolist()
    _, body = bodies.encode("small", Form.OIP_JSON, rows)
    assert json.loads(body)["inputs"][0]["data"] == flat
    headers, body = bodies.encode("small", Form.OIP_BINARY, rows)
    tail = body[int(headers["Inference-Header-Content-Length"]) :]
    assert np.frombuffer(tail, "<f4").tolist() == flat
    assert json.loads(bodies.encode("small", Form.INPUTS, rows)[1]) == {"inputs": [flat]}
    assert json.loads(bodies.encode("small", Form.NAMED, rows)[1]) == {"x": [flat]}
    assert json.loads(bodies.encode("small", Form.DATA, rows)[1]) == {"data": flat}
    _, message = bodies.encode("small", Form.OIP_GRPC, rows)
    raw = next(value for number, value in protobuf.fields(message) if number == 7)
    assert isinstance(raw, bytes) and np.frombuffer(raw, "<f4").tolist() == flat


def test_no_two_requests_are_the_same() -> None:
    made = models.make_inputs(models.MODELS["heavy"])
    assert made.shape == (2048, 30)
    assert len(np.unique(made, axis=0)) == len(made)
    assert (made == models.make_inputs(models.MODELS["heavy"])).all(), "every machine sends the same"
