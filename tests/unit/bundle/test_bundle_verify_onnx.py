"""ONNX files are parsed in a child process; whatever is wrong with one has a code and a reason."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from seaway.bundle.verify_onnx import ENTRY, verify_onnx
from seaway.core.errors import UserError


def refuse(path: Path, tmp_path: Path) -> UserError:
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    with pytest.raises(UserError) as caught:
        verify_onnx(path, work)
    return caught.value


def external(model: onnx.ModelProto, directory: Path, **entries: str) -> Path:
    """The model with its weights declared as external data with these entries."""
    tensor = model.graph.initializer[0]
    data = tensor.raw_data
    (directory / "w.bin").write_bytes(data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "w.bin", **entries}.items():
        tensor.external_data.add(key=key, value=value)
    path = directory / "external.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_a_valid_model_is_described(tmp_path: Path, linear_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    report = verify_onnx(linear_path, work)
    assert [(t.name, t.dtype, t.shape) for t in report.inputs] == [("x", "FP32", [-1, 3])]
    assert [(t.name, t.dtype, t.shape) for t in report.outputs] == [("y", "FP32", [-1, 1])]
    assert (work / ENTRY).exists()


def test_what_exporters_leave_behind_is_stripped(tmp_path: Path, linear: onnx.ModelProto) -> None:
    written = []
    for host in ("a", "b"):
        linear.doc_string = f"/home/{host}/train.py at 12:00"
        linear.graph.node[0].doc_string = f"/home/{host}/train.py:3"
        del linear.metadata_props[:]
        linear.metadata_props.add(key="path", value=f"/home/{host}")
        path, work = tmp_path / f"{host}.onnx", tmp_path / host
        work.mkdir()
        path.write_bytes(linear.SerializeToString())
        verify_onnx(path, work)
        written.append((work / ENTRY).read_bytes())
    assert written[0] == written[1]
    assert b"/home" not in written[0]


def test_external_data_comes_along(tmp_path: Path, linear: onnx.ModelProto) -> None:
    path = external(linear, tmp_path, offset="0", length="12")
    work = tmp_path / "work"
    work.mkdir()
    assert verify_onnx(path, work).external == ["w.bin"]
    assert (work / "w.bin").read_bytes() == np.full(3, 2.0, dtype=np.float32).tobytes()


def field(number: int, data: bytes) -> bytes:
    """A length-delimited protobuf field, by hand: protobuf's own classes refuse to nest this deep."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def nested(depth: int) -> bytes:
    """A model whose If has a branch with an If with a branch …"""
    graph = b""
    for _ in range(depth):
        attribute = field(1, b"then_branch") + field(6, graph) + varint(20 << 3) + b"\x05"
        graph = field(1, field(2, b"out") + field(4, b"If") + field(5, attribute))
    return b"\x08\x09" + field(7, graph) + field(8, b"\x10\x11")


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "random": lambda data: os.urandom(512),
    "text": lambda data: b"no model at all",
    "nested 40 deep": lambda data: nested(40),
    "nested 90 deep": lambda data: nested(90),
}


@pytest.mark.parametrize("case", BROKEN)
def test_p11_broken_files_have_a_reason(tmp_path: Path, linear: onnx.ModelProto, case: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(BROKEN[case](linear.SerializeToString()))
    error = refuse(path, tmp_path)
    assert error.code == "invalid_model"
    assert len(error.message) > len(str(path)) + 5


def test_p11_over_two_gigabytes_is_refused_without_reading(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:
        file.truncate((2 << 30) + 1)
    error = refuse(path, tmp_path)
    assert (error.code, "2 GiB" in error.message) == ("invalid_model", True)


def test_p11_unknown_opset_and_custom_domain(tmp_path: Path, linear: onnx.ModelProto) -> None:
    path = tmp_path / "m.onnx"
    linear.opset_import[0].version = 999
    path.write_bytes(linear.SerializeToString())
    assert "opset 999" in refuse(path, tmp_path).message
    linear.opset_import[0].version = 17
    linear.opset_import.add(domain="evil.ops", version=1)
    linear.graph.node[0].domain = "evil.ops"
    path.write_bytes(linear.SerializeToString())
    error = refuse(path, tmp_path)
    assert (error.code, "evil.ops" in error.message) == ("invalid_model", True)


@pytest.mark.parametrize(
    "location", ["../w.bin", "/etc/hostname", "a/../../w.bin", "", "C:\\w.bin", "link.bin", "linked/w.bin"]
)
def test_p08_external_data_outside_the_directory(
    tmp_path: Path, linear: onnx.ModelProto, location: str
) -> None:
    home = tmp_path / "model"
    home.mkdir()
    (tmp_path / "w.bin").write_bytes(b"\0" * 12)
    (home / "link.bin").symlink_to(tmp_path / "w.bin")
    (home / "linked").symlink_to(tmp_path)
    assert refuse(external(linear, home, location=location), tmp_path).code == "unsafe_path"


@pytest.mark.parametrize(
    "entries",
    [
        {"offset": str(2**62)},
        {"length": str(2**40)},
        {"offset": "-1"},
        {"offset": "1e9"},
        {"length": "9" * 30},
        {"__class__": "x"},
        {"location": "absent.bin"},
    ],
)
def test_p10_strange_external_entries(
    tmp_path: Path, linear: onnx.ModelProto, entries: dict[str, str]
) -> None:
    assert refuse(external(linear, tmp_path, **entries), tmp_path).code == "invalid_model"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refuse(tmp_path / "none.onnx", tmp_path).code == "file_not_found"
