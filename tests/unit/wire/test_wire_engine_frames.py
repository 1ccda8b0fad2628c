"""Frames between a worker and an engine process: all that goes in comes out, and nothing else is believed."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from seaway.core.tensors import DType, Tensors
from seaway.wire import engine_frames as frames
from seaway.wire.engine_frames import Answer, Call, End, FrameError, Header, TensorHead


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    one.settimeout(60)
    other.settimeout(60)
    with one, other:
        yield one, other


def through(header_of: type[Call] | type[Answer], tensors: Tensors) -> Tensors:
    one, other = socket.socketpair()
    with one, other:
        announced, bodies = frames.heads(tensors)
        sender = threading.Thread(target=frames.send, args=(one, header_of(announced), bodies))
        sender.start()
        frame = frames.receive(other)
        sender.join()
    assert frame is not None
    header, body = frame
    assert isinstance(header, header_of)
    return frames.tensors(header.tensors, body)


numbers = st.sampled_from([d for d in DType if d is not DType.BYTES]).flatmap(
    lambda dtype: npst.arrays(dtype.numpy, npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)
texts = npst.arrays(
    object, npst.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=4), elements=st.text()
)


@given(st.dictionaries(st.text(max_size=5), numbers | texts, max_size=3))
def test_tensors_come_out_as_they_went_in(tensors: dict[str, np.ndarray]) -> None:
    found = through(Call, tensors)
    assert list(found) == list(tensors)
    for name, array in tensors.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        if array.dtype == object:
            assert found[name].tolist() == array.tolist()
        else:
            assert found[name].tobytes() == array.tobytes()


def test_a_transposed_array_keeps_its_values() -> None:
    array = np.arange(6, dtype=np.int16).reshape(2, 3).T
    assert np.array_equal(through(Answer, {"x": array})["x"], array)


def test_a_megabyte_passes_a_socket_that_holds_less() -> None:
    array = np.arange(300_000, dtype=np.float64)
    assert np.array_equal(through(Answer, {"x": array})["x"], array)


def test_an_end_between_frames_is_none(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    frames.send(one, End())
    one.close()
    frame = frames.receive(other)
    assert frame is not None and isinstance(frame[0], End)
    assert frames.receive(other) is None


def test_half_a_frame_is_a_lost_connection(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    one.sendall(struct.pack("<IQ", 10, 0) + b"1234")
    one.close()
    with pytest.raises(ConnectionError):
        frames.receive(other)


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<IQ", 2**32 - 1, 0),
        struct.pack("<IQ", 3, 2**63),
        struct.pack("<IQ", 3, 0) + b"abc",
        struct.pack("<IQ", 1, 0) + b"\x80",
    ],
    ids=["header", "body", "nonsense", "untagged"],
)
def test_what_is_no_frame_is_refused(data: bytes, pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    one.sendall(data)
    with pytest.raises(FrameError):
        frames.receive(other)


def refused(head: TensorHead, body: bytes) -> bool:
    try:
        frames.tensors((head,), memoryview(body))
    except FrameError:
        return True
    return False


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (TensorHead("x", DType.FP32, (2,), 8), b"1234"),
        (TensorHead("x", DType.FP32, (2,), 4), b"1234"),
        (TensorHead("x", DType.FP32, (-1,), 4), b"1234"),
        (TensorHead("x", DType.FP32, (1,), -4), b"1234"),
        (TensorHead("x", DType.FP32, (1,), 4), b"12345"),
        (TensorHead("x", DType.FP32, (1,) * 33, 4), b"1234"),
        (TensorHead("x", DType.FP32, (2**40, 2**40), 4), b"1234"),
        (TensorHead("x", DType.BYTES, (2**40,), 4), b"\0\0\0\0"),
        (TensorHead("x", DType.BYTES, (1,), 4), b"\x05\0\0\0"),
        (TensorHead("x", DType.BYTES, (1,), 5), b"\x01\0\0\0\xff"),
        (TensorHead("x", DType.BYTES, (1,), 6), b"\x01\0\0\0ab"),
    ],
)
def test_a_tensor_that_is_not_what_it_says_is_refused(head: TensorHead, body: bytes) -> None:
    assert refused(head, body)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(DType)), st.lists(st.integers(-2, 5), max_size=3), st.integers(-1, 40)
        ),
        max_size=3,
    ),
    st.binary(max_size=80),
)
def test_arbitrary_heads_and_bytes_give_tensors_or_a_refusal(
    heads: list[tuple[DType, list[int], int]], body: bytes
) -> None:
    announced = [TensorHead(str(i), d, tuple(shape), size) for i, (d, shape, size) in enumerate(heads)]
    try:
        found = frames.tensors(announced, memoryview(body))
    except FrameError:
        return
    assert sum(head.size for head in announced) == len(body)
    assert [array.shape for array in found.values()] == [head.shape for head in announced]


@pytest.mark.parametrize(
    "header",
    [
        Call((), 1.5, True),
        Answer((), "300 MiB"),
        frames.Fault("user", "c", "m", None),
        End(),
        frames.Loaded(True),
    ],
)
def test_every_header_is_told_from_every_other(header: Header) -> None:
    encoded = msgspec.msgpack.encode(header)
    assert msgspec.msgpack.decode(encoded, type=Header) == header
