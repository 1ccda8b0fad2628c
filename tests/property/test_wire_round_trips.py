"""What is written in one protocol is read back the same, for every datatype and shape."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from seaway.core.tensors import Array, DType, Signature, TensorSpec
from seaway.wire import json_values, oip_json, predict_json, prometheus
from seaway.wire.prometheus import Family, Sample

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@st.composite
def tensors(draw: st.DrawFn, min_dims: int = 1, min_side: int = 0) -> tuple[TensorSpec, Array]:
    dtype = draw(st.sampled_from(list(DType)))
    shape = draw(arrays.array_shapes(min_dims=min_dims, max_dims=3, min_side=min_side, max_side=4))
    if dtype is DType.BYTES:
        count = math.prod(shape)
        flat = np.array(draw(st.lists(TEXT, min_size=count, max_size=count)), dtype=object)
        array: Array = flat.reshape(shape)
    else:
        elements = {"allow_nan": False, "allow_infinity": False} if dtype.is_float else None
        array = draw(arrays.arrays(dtype.numpy, shape, elements=elements))
    free = draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape)))
    axes = tuple(-1 if loose else side for loose, side in zip(free, shape, strict=True))
    return TensorSpec("x", dtype, axes), array


@given(tensors())
def test_oip_requests(pair: tuple[TensorSpec, Array]) -> None:
    spec, array = pair
    body = oip_json.encode_request({"x": array}, "id-1")
    found = oip_json.decode_request(body, Signature((spec,), ()))
    assert found.id == "id-1"
    assert found.tensors["x"].dtype == array.dtype
    assert found.tensors["x"].shape == array.shape
    assert found.tensors["x"].tolist() == array.tolist()


@given(tensors(min_dims=2, min_side=1))
def test_oip_nested_data_means_the_same_as_flat(pair: tuple[TensorSpec, Array]) -> None:
    spec, array = pair
    nested = {"name": "x", "datatype": spec.dtype.value, "shape": list(array.shape), "data": array.tolist()}
    found = oip_json.decode_request(oip_json._ENCODER.encode({"inputs": [nested]}), Signature((spec,), ()))
    assert found.tensors["x"].tolist() == array.tolist()


@given(tensors(min_side=1))
def test_rows(pair: tuple[TensorSpec, Array]) -> None:
    spec, array = pair
    free = TensorSpec("x", spec.dtype, (-1, *array.shape[1:]))
    signature = Signature((free,), ())
    body = oip_json._ENCODER.encode(predict_json.tensors_to_rows({"x": array}, signature))
    found = predict_json.decode_rows(body, signature)["x"]
    assert found.dtype == array.dtype
    assert found.tolist() == array.tolist()


@given(
    st.recursive(
        TEXT | st.integers() | st.none(), lambda inner: st.dictionaries(TEXT, inner) | st.lists(inner)
    )
)
def test_no_document_without_duplicates_is_refused(value: object) -> None:
    json_values.refuse_duplicate_keys(oip_json._ENCODER.encode(value), json_values.count_keys(value))


COUNTS = st.dictionaries(st.sampled_from(["a", "b", "c d", 'e"f']), st.integers(0, 1000), min_size=1)


def _text(counts: dict[str, int]) -> str:
    return prometheus.render(
        [Family("n_total", "counter", "N.", [Sample({"k": k}, v) for k, v in counts.items()])]
    )


@given(st.lists(COUNTS, min_size=1, max_size=4))
def test_merged_counters_do_not_depend_on_grouping(parts: list[dict[str, int]]) -> None:
    texts = [_text(part) for part in parts]
    whole = sorted(prometheus.merge(texts).splitlines())
    assert whole == sorted(prometheus.merge([texts[0], prometheus.merge(texts[1:])]).splitlines())
    assert whole == sorted(prometheus.merge(reversed(texts)).splitlines())
