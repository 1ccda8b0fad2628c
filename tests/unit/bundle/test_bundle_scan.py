"""Sources are told by content: what can run code is refused under any name and wrapping, and never loaded."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import onnx
import pytest

from seaway.bundle import scan
from seaway.core.errors import UserError


class Bomb:
    """Would leave a file behind if anything ever loaded it."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (self.mark,)


def zipped(data: bytes, name: str = "inner.txt") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return out.getvalue()


def tarred(data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("model")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


WRAPPINGS: dict[str, Callable[[bytes], bytes]] = {
    "bare": lambda data: data,
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "zlib-1": lambda data: zlib.compress(data, 1),
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zip": zipped,
    "zip-in-zip": lambda data: zipped(zipped(data)),
    "gzip-in-zip-in-gzip": lambda data: gzip.compress(zipped(gzip.compress(data))),
    "tar": tarred,
}


def refuse(path: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        scan.identify(path)
    return caught.value


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("protocol", range(6))
def test_p02_pickles_of_every_protocol_in_every_wrapping(
    tmp_path: Path, wrapping: str, protocol: int
) -> None:
    mark = tmp_path / "ran"
    path = tmp_path / "model.onnx"
    path.write_bytes(WRAPPINGS[wrapping](pickle.dumps(Bomb(str(mark)), protocol)))
    error = refuse(path)
    assert error.code == "format_not_allowed"
    assert str(path) in error.message
    assert not mark.exists()


@pytest.mark.parametrize("name", ["m.pkl", "m.joblib", "m.bin", "m.txt", "m.onnx", "m.skops"])
def test_p01_the_hint_has_the_three_lines_to_type(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    joblib.dump({"weights": np.arange(10.0)}, path)
    error = refuse(path)
    assert error.code == "format_not_allowed"
    assert error.hint is not None
    lines = error.hint.splitlines()[1:]
    assert lines == [
        f'model = joblib.load("{path}")',
        "import seaway",
        "seaway.package(model, name=…, sample=X)",
    ]


@pytest.mark.parametrize("compress", [("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
def test_p02_compressed_joblib(tmp_path: Path, compress: tuple[str, int]) -> None:
    path = tmp_path / "m.bin"
    joblib.dump({"weights": np.arange(1000.0)}, path, compress=compress)
    assert refuse(path).code == "format_not_allowed"


def test_p02_a_pickle_that_breaks_after_its_import_is_one(tmp_path: Path) -> None:
    path = tmp_path / "m.txt"
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR\xff\xff\xff")
    assert refuse(path).code == "format_not_allowed"


def torch_archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps({"a": 1}, 2))
        archive.writestr("m/version", "3\n")
        archive.writestr("m/data/0", b"\0" * 64)
    return out.getvalue()


def test_p01_torch_archive_and_legacy_file(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(torch_archive())
    error = refuse(path)
    assert error.code == "format_not_allowed"
    assert "torch.load" in str(error.hint)
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2))
    error = refuse(path)
    assert error.code == "format_not_allowed"
    assert "torch.load" in str(error.hint)


def patched(data: bytes, offset: int, value: int) -> bytes:
    return data[:offset] + bytes([value]) + data[offset + 1 :]


def test_p04_zip_whose_flags_or_checksums_disagree_is_unparseable(tmp_path: Path) -> None:
    data = zipped(b"0123456789" * 10, "a.txt")
    directory = data.index(b"PK\x01\x02")
    cases = {
        "encrypted bit in the local header": patched(data, 6, data[6] | 1),
        "encrypted bit in the directory": patched(data, directory + 8, data[directory + 8] | 1),
        "checksum in the directory": patched(data, directory + 16, data[directory + 16] ^ 0xFF),
        "checksum in the local header": patched(data, 14, data[14] ^ 0xFF),
        "another name in the local header": patched(data, 30, ord("b")),
        "another method": patched(data, 8, 0),
        "cut short": data[: len(data) - 30],
    }
    path = tmp_path / "m.pt"
    for case, content in cases.items():
        path.write_bytes(content)
        assert refuse(path).code == "unparseable", case


def test_p04_a_torch_archive_with_a_flipped_flag_stays_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    data = torch_archive()
    path.write_bytes(patched(data, data.index(b"PK\x01\x02") + 8, 1))
    assert refuse(path).code == "unparseable"


def test_p05_keras_archives_are_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    config = {"class_name": "Sequential", "config": {"layers": [{"class_name": "Lambda"}]}}
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", b"\x89HDF\r\n\x1a\n")
    path = tmp_path / "m.keras"
    path.write_bytes(out.getvalue())
    error = refuse(path)
    assert error.code == "format_not_allowed"
    assert "Lambda" in error.message
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)
    assert refuse(path).code == "format_not_allowed"
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "saved_model.pb").write_bytes(b"\x08\x01")
    assert refuse(saved).code == "format_not_allowed"


def test_p01_numpy_objects_are_refused_and_plain_arrays_are_no_model(tmp_path: Path) -> None:
    path = tmp_path / "m.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert refuse(path).code == "format_not_allowed"
    np.save(path, np.arange(4))
    assert refuse(path).code == "unknown_format"
    np.savez(tmp_path / "m.npz", a=np.array([None], dtype=object))
    assert refuse(tmp_path / "m.npz").code == "format_not_allowed"


def test_p15_bombs_stop_at_the_ratio(tmp_path: Path) -> None:
    path = tmp_path / "m.gz"
    path.write_bytes(gzip.compress(b"\0" * (64 << 20)))
    assert refuse(path).code == "too_large"
    path.write_bytes(zipped(b"\0" * (64 << 20)))
    assert refuse(path).code == "too_large"


def test_p15_wrappings_without_end_are_refused(tmp_path: Path) -> None:
    data = b"x"
    for _ in range(scan.MAX_DEPTH + 2):
        data = gzip.compress(data)
    path = tmp_path / "m.gz"
    path.write_bytes(data)
    assert refuse(path).code == "too_large"


def test_p15_a_tar_that_claims_a_terabyte(tmp_path: Path) -> None:
    data = bytearray(tarred(b"x"))
    size = b"%011o\0" % (1 << 32)
    data[124:136] = size
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path = tmp_path / "m.tar"
    path.write_bytes(bytes(data))
    assert refuse(path).code in ("too_large", "unparseable")


def test_onnx_is_found_under_any_name(tmp_path: Path, linear: onnx.ModelProto) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(linear.SerializeToString())
    assert scan.identify(path) == scan.ONNX


def test_skops_is_found_and_a_pickle_inside_is_not_let_through(tmp_path: Path) -> None:
    path = tmp_path / "m.skops"
    path.write_bytes(zipped(b'{"a": 1}', "schema.json"))
    assert scan.identify(path) == scan.SKOPS
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x.npy", pickle.dumps(print, 4))
    assert refuse(path).code == "format_not_allowed"


@pytest.mark.parametrize(
    "data", [b"", b"a,b\n1,2\n", struct.pack("<Q", 1 << 63), b"GGUF" + b"\0" * 60, b"{}"]
)
def test_other_files_are_of_no_known_format(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(data)
    assert refuse(path).code == "unknown_format"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refuse(tmp_path / "none.onnx").code == "file_not_found"
