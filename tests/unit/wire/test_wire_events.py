"""Server-Sent Events and the replies of `generate_stream`."""

from __future__ import annotations

import json

import numpy as np
import pytest

from seaway.core.errors import UserError
from seaway.core.tensors import DType, Signature, TensorSpec
from seaway.wire import events_sse, generate_json

STORY = Signature(
    (TensorSpec("prompt", DType.BYTES, (-1, 1)), TensorSpec("length", DType.INT64, (-1,))),
    (TensorSpec("word", DType.BYTES, (-1, 1)), TensorSpec("p", DType.FP32, (-1, 2))),
)


def test_one_event() -> None:
    assert events_sse.event(b'{"a":1}') == b'data: {"a":1}\n\n'


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_a_line_break_does_not_end_the_event(end: bytes) -> None:
    assert events_sse.event(b"a" + end + b"event: x" + end) == b"data: a\ndata: event: x\ndata: \n\n"


def test_an_error_is_an_event_of_its_own_kind() -> None:
    found = events_sse.error_event(UserError("wrong_shape", "it\r\nis odd"), "r-1")
    first, data, *rest = found.split(b"\n")
    assert first == b"event: error"
    assert json.loads(data.removeprefix(b"data: ")) == {
        "error": "it\r\nis odd",
        "code": "wrong_shape",
        "request_id": "r-1",
    }
    assert rest == [b"", b""]


@pytest.mark.parametrize(
    "body", [{"prompt": "once", "length": 3}, {"instances": [{"prompt": "once", "length": 3}]}]
)
def test_one_row_is_decoded(body: object) -> None:
    found = generate_json.decode(json.dumps(body).encode(), STORY)
    assert found["prompt"].tolist() == [["once"]]
    assert found["length"].tolist() == [3]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"[]", "invalid_request"),
        (b"3", "invalid_request"),
        (b"{}", "missing_input"),
        (b'{"instances":[]}', "invalid_request"),
        (b'{"instances":[{},{}]}', "invalid_request"),
        (b'{"instances":7}', "invalid_request"),
        (b'{"prompt":"a","length":1,"x":1}', "unknown_input"),
        (b'{"prompt":"a","length":1,"length":2}', "duplicate_input"),
        (b'{"prompt":1,"length":1}', "wrong_dtype"),
    ],
)
def test_what_is_no_row_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(UserError) as caught:
        generate_json.decode(body, STORY)
    assert caught.value.code == code


def test_a_reply_is_plain_where_it_is_one_value() -> None:
    outputs = {"word": np.array([["upon"]], object), "p": np.array([[0.5, np.nan]], np.float32)}
    assert json.loads(generate_json.encode(outputs, STORY, "story", 2)) == {
        "model_name": "story",
        "model_version": "2",
        "word": "upon",
        "p": [0.5, None],
    }
