"""The quick readings of the JSON doors give up, or read exactly what the strict ones read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seaway.core.errors import UserError
from seaway.core.tensors import DType, Signature, Tensors, TensorSpec
from seaway.wire import json_values, oip_json, oip_requests, predict_json, predict_quick, simd_numbers

FLAT = Signature((TensorSpec("x", DType.FP32, (-1, 3), columns=("a", "b", "c")),), ())
PAIR = Signature((TensorSpec("x", DType.FP16, (-1, 2)), TensorSpec("y", DType.FP64, (2, -1))), ())
DEEP = Signature((TensorSpec("x", DType.FP32, (-1, 2, 2)),), ())
SIGNATURES = [FLAT, PAIR, DEEP, Signature((TensorSpec("x", DType.FP32, (-1, 3), nullable=True),), ())]

NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(
        [
            "-0",
            "0",
            "1e39",
            "3.4028235677973366e38",
            "65520",
            "65519.999",
            "1e400",
            "-1e-400",
            "01",
            "1.",
            "+1",
            "NaN",
        ]
    ),
    st.sampled_from(["null", "true", '"1"', "[]", "[1]", "{}", '{"a":1}', "1" * 400, "9" * 5000]),
)
USUAL = st.floats(width=16, allow_nan=False, allow_infinity=False).map(repr) | st.integers(-9, 9).map(str)
SHAPES = [(3,), (1, 3), (2, 3), (2, 2), (1, 2, 2), (2, 2, 2), (0, 3), (-1, 3), (2, 1), ()]
FIELDS = [',"parameters":{"data":[1,2,3]}', ',"data":[]', ',"data":[1,2,3]', ',"z":1', ',"name":"x"']
REST = [',"id":"a"', ',"id":"\\"data\\":[1,2,3]"', ',"id":null', ',"outputs":[]', ',"parameters":{}']
REST += [',"parameters":{"data":[1,2,3]}', ',"id":"a:b"', ',"id":"a","id":"b"', ',"id":"[1,2,3]"']


def rarely(strategy: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.integers(0, 3).flatmap(lambda n: strategy if n == 0 else st.just(""))


def _fill(shape: tuple[int, ...], values: Iterator[str]) -> str:
    if not shape:
        return next(values)
    return "[" + ",".join(_fill(shape[1:], values) for _ in range(shape[0])) + "]"


@st.composite
def arrays(draw: st.DrawFn, shape: tuple[int, ...]) -> str:
    """A JSON array of this shape, flat or nested; one of its values may be anything."""
    shape = tuple(map(abs, shape))
    size = math.prod(shape)
    values = draw(st.lists(USUAL, min_size=size, max_size=size))
    if values and draw(st.integers(0, 3)) == 0:
        values[draw(st.integers(0, size - 1))] = draw(NUMBERS)
    return _fill(shape if draw(st.booleans()) else (size,), iter(values))


@st.composite
def damaged(draw: st.DrawFn, text: str) -> bytes:
    """The text, sometimes with a few characters gone or changed."""
    for _ in range(max(0, draw(st.integers(-4, 2)))):
        at = draw(st.integers(0, len(text)))
        text = (
            text[:at] + draw(st.sampled_from(["", ",", "[", "]", '"', " ", "1", ":", "\n"])) + text[at + 1 :]
        )
    return text.encode()


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, Signature]:
    signature = draw(st.sampled_from(SIGNATURES))
    inputs = []
    for spec in signature.inputs:
        fitting = [shape for shape in SHAPES if spec.accepts(shape)]
        shape = draw(st.sampled_from(fitting * 5 + SHAPES))
        datatype = draw(st.sampled_from([spec.dtype.value] * 6 + ["FP64", "INT64"]))
        fields = [f'"name":"{spec.name}"', f'"shape":{list(shape)}', f'"datatype":"{datatype}"']
        fields.append(f'"data":{draw(arrays(shape))}')
        inputs.append(
            "{" + ",".join(draw(st.permutations(fields))) + draw(rarely(st.sampled_from(FIELDS))) + "}"
        )
    inputs = inputs + inputs[:1] if draw(st.integers(0, 9)) == 0 else inputs
    text = '{"inputs":[' + ",".join(inputs) + "]" + draw(rarely(st.sampled_from(REST))) + "}"
    return draw(damaged(text)), signature


@st.composite
def rows(draw: st.DrawFn) -> tuple[bytes, Signature]:
    signature = draw(st.sampled_from(SIGNATURES))
    if draw(st.booleans()):
        text = draw(arrays(draw(st.sampled_from(SHAPES))))
    else:
        keys = draw(st.lists(st.permutations(["a", "b", "c"]), min_size=1, max_size=2))
        extra = rarely(st.sampled_from([',"a":1', ',"d":1', ',"a":null']))
        value = st.one_of(USUAL, USUAL, USUAL, NUMBERS)
        objects = [",".join(f'"{key}":{draw(value)}' for key in row) + draw(extra) for row in keys]
        text = "[" + ",".join("{" + inner + "}" for inner in objects) + "]"
    form = draw(
        st.sampled_from(['{"instances":%s}'] * 6 + ["%s"] * 4 + [" %s", '{"x":%s}', '{"a":1,"instances":%s}'])
    )
    return draw(damaged(form % text)), signature


def outcome(read: Callable[[], Tensors | None]) -> dict[str, object] | str | None:
    try:
        found = read()
    except UserError as error:
        return error.code
    return None if found is None else {k: (v.dtype, v.shape, v.tolist()) for k, v in found.items()}


def same(quick: Callable[[], Tensors | None], strict: Callable[[], Tensors]) -> None:
    found = outcome(quick)
    if found is not None:
        assert found == outcome(strict)


@pytest.mark.parametrize("large", [False, True])
@given(requests())
@example((b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,-0]}]}', FLAT))
@example(
    (
        b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[]}],"parameters":{"data":[1,2,3]}}',
        FLAT,
    )
)
@example(
    (b'{"id":"\\"data\\":[1,2,3]","inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[]}]}', FLAT)
)
def test_oip(large: bool, case: tuple[bytes, Signature]) -> None:
    body, signature = case
    with pytest.MonkeyPatch.context() as patch:
        if large:
            patch.setattr(simd_numbers, "LARGE_BYTES", 0)

        def quick() -> Tensors | None:
            request = oip_requests.quick(body, signature)
            return None if request is None else request.tensors

        same(quick, lambda: oip_json.decode_strict(body, signature, None).tensors)


@pytest.mark.parametrize("large", [False, True])
@given(rows())
@example((b"[[[1,[2]],[3]]]", DEEP))
@example((b"[[[],[1,2,3,4]]]", DEEP))
@example((b'\xef\xbb\xbf{"instances":[[1,2,3]]}', FLAT))
@example((b'{"instances":[{"a":1,"b":2,"c":3}]}', FLAT))
@example((b'{"instances":[{"a":1,"b":1e39,"c":3}]}', FLAT))
@example((b'{"instances":[[1,3.4028235677973366e38,3]]}', FLAT))
def test_rows(large: bool, case: tuple[bytes, Signature]) -> None:
    body, signature = case
    with pytest.MonkeyPatch.context() as patch:
        if large:
            patch.setattr(simd_numbers, "LARGE_BYTES", 0)
        found = outcome(lambda: predict_quick.decode(body, signature))
        if found is None:
            return
        patch.setattr(predict_quick, "decode", lambda body, signature: None)
        assert found == outcome(lambda: predict_json.decode_rows(body, signature))


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("shape", [(64, 30), (1, 3, 70, 70)])
def test_large_arrays_are_read_quickly_and_right(shape: tuple[int, ...], nested: bool) -> None:
    array = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    signature = Signature((TensorSpec("x", DType.FP32, (-1, *shape[1:])),), ())
    data = array.tolist() if nested else array.ravel().tolist()
    body = json.dumps({"inputs": [{"name": "x", "shape": shape, "datatype": "FP32", "data": data}]}).encode()
    found = oip_requests._large(body, oip_requests.plans.of(signature))
    assert found is not None
    np.testing.assert_array_equal(found.tensors["x"], array)
    if nested:
        body = json.dumps({"instances": array.tolist()}).encode()
        wide = simd_numbers.instances(body, shape[1:])
        assert wide is not None
        np.testing.assert_array_equal(wide.astype(np.float32), array)


def test_colons_are_counted_once() -> None:
    """The sum that stands for a search for duplicate keys is the one that the strict reading makes."""
    body = b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}],"id":"a","outputs":[]}'
    assert oip_requests.quick(body, FLAT) is not None
    json_values.refuse_duplicate_keys(body, body.count(b":"))
