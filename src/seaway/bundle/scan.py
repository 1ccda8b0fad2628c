"""What a source file is, told by its content under any name and wrapping; formats that can run code are refused.

Called by `bundle.build` and `bundle.sources` before anything else opens a file. Nothing is ever loaded:
pickles are read opcode by opcode, archives member by member, all within limits. A damaged or contradictory
archive is refused as well (fail closed), since scanners that shrug at one have been fooled by it.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, cast

import numpy.lib.format

from seaway.bundle import pickles
from seaway.core.errors import UserError

ONNX: Final = "onnx"
SKOPS: Final = "skops"
MAX_DEPTH: Final = 6
MAX_UNPACKED_BYTES: Final = 4 << 30
MAX_RATIO: Final = 200
_RATIO_FROM_BYTES: Final = 16 << 20
MAX_MEMBERS: Final = 20_000
_CHUNK: Final = 1 << 18
_SPOOL_BYTES: Final = 16 << 20
_H5: Final = b"\x89HDF\r\n\x1a\n"

_JOBLIB: Final = ('model = joblib.load("{path}")', "import seaway", "seaway.package(model, name=…, sample=X)")
_ADVICE: Final[dict[str, tuple[str, ...]]] = {
    "pickle": _JOBLIB,  # joblib.load reads plain pickles too
    "joblib": _JOBLIB,
    "torch": (
        'model = torch.load("{path}", weights_only=False)',
        'torch.onnx.export(model, (X,), "model.onnx", dynamo=True)',
        'seaway.package("model.onnx", name=…)',
    ),
    "keras": (
        'model = keras.models.load_model("{path}")',
        'model.export("model.onnx", format="onnx")',
        'seaway.package("model.onnx", name=…)',
    ),
    "savedmodel": (
        "import seaway, subprocess, sys",
        'subprocess.run([sys.executable, "-m", "tf2onnx.convert", "--saved-model", "{path}", "--output", "model.onnx"])',
        'seaway.package("model.onnx", name=…)',
    ),
    "npy": (
        'model = numpy.load("{path}", allow_pickle=True).item()',
        *_JOBLIB[1:],
    ),
}


def identify(path: Path) -> str:
    """`ONNX` or `SKOPS`; everything else is refused.

    Raises `UserError`: `format_not_allowed` (what loading would run code; the hint has the lines to type
    instead), `unparseable`, `too_large`, `unknown_format`, `file_not_found`.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return _directory(path)
        if not stat.S_ISREG(mode):
            raise UserError("unknown_format", f"{path} is no plain file")
        with path.open("rb") as file:
            return _Scan(path).identify(file)
    except OSError as error:
        raise UserError("file_not_found", f"{path} cannot be read: {error.strerror or error}") from error


def _directory(path: Path) -> str:
    if (path / "saved_model.pb").exists() or (path / "saved_model.pbtxt").exists():
        raise _refusal(path, "savedmodel", "a TensorFlow SavedModel")
    raise UserError(
        "unknown_format", f"{path} is a directory", "name the model file itself, such as model.onnx"
    )


def looks_like_onnx(file: BinaryIO, size: int) -> bool:
    """Whether the top-level protobuf fields are those of an ONNX ModelProto with a graph; values are skipped unread."""
    seen: set[int] = set()
    position = 0
    for _ in range(10_000):
        if position >= size:
            break
        file.seek(position)
        head = file.read(20)
        tag, used = _varint(head, 0)
        field, wire = tag >> 3, tag & 7
        length, after = _varint(head, used)
        if used == 0 or after == 0 or not 1 <= field <= 26 or wire not in (0, 2):
            return False
        seen.add(field)
        position += after + (length if wire == 2 else 0)
    return position == size and 7 in seen


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at` and the position after it, which is 0 where there is none."""
    value = 0
    for shift, byte in enumerate(data[at : at + 10]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, at + shift + 1
    return 0, 0


def _refusal(path: Path, kind: str, what: str) -> UserError:
    lines = "\n".join(line.format(path=path) for line in _ADVICE[kind])
    return UserError(
        "format_not_allowed",
        f"{path} is {what}: loading it can run any code, so Seaway does not",
        f"if you trust it, type instead:\n{lines}",
    )


class _Scan:
    """One file and all that is wrapped in it, under one budget of unpacked bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unpacked = 0
        self._members = 0

    def identify(self, file: BinaryIO) -> str:
        size = file.seek(0, io.SEEK_END)
        found = self._inspect(file, "", 0)
        if found == SKOPS:
            return SKOPS
        named = self._path.suffix.lower() == ".onnx"
        if found is None and (named or looks_like_onnx(file, size)):
            return ONNX  # an .onnx file that is no ONNX gets its reason from verify_onnx
        wrapped = f" ({found})" if found else ""
        raise UserError(
            "unknown_format",
            f"{self._path} is of no format that Seaway can package{wrapped}",
            "it takes ONNX files and skops files, unwrapped, and live scikit-learn models: seaway.package(model, …)",
        )

    def _inspect(self, file: BinaryIO, inner: str, depth: int) -> str | None:
        """Refuse what is dangerous; else what the file is, None where it is nothing known."""
        if depth > MAX_DEPTH:
            raise UserError("too_large", f"{self._path} is wrapped more than {MAX_DEPTH} times")
        file.seek(0)
        head = file.read(512)
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return self._zip(file, inner, depth)
        unpack = _unpacker(head)
        if unpack is not None:
            return self._stream(file, unpack, inner, depth)
        if head[257:262] == b"ustar":
            return self._tar(file, inner, depth)
        if head.startswith(b"\x93NUMPY"):
            return self._npy(file, inner)
        if head.startswith(_H5):
            raise self._refuse("keras", f"{inner or ''}an HDF5 file, such as Keras writes", inner)
        if head[:2] == b"ZF":
            raise self._refuse("joblib", "a joblib pickle", inner)
        file.seek(0)
        found = pickles.scan(file)
        if found is not None:
            what = {"torch": "a PyTorch pickle", "joblib": "a joblib pickle"}.get(found, "a pickle")
            raise self._refuse(found, what, inner)
        if zipfile.is_zipfile(file):
            return self._zip(file, inner, depth)
        return None

    def _stream(self, file: BinaryIO, unpack: Callable[[BinaryIO], BinaryIO], inner: str, depth: int) -> str:
        file.seek(0)
        packed = file.seek(0, io.SEEK_END)
        file.seek(0)
        try:
            with unpack(file) as source:
                self._unwrap(source, packed, f"{inner}compressed ", depth)
        except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
            raise self._unparseable(f"its compressed data is damaged: {error}") from error
        return "compressed data"

    def _zip(self, file: BinaryIO, inner: str, depth: int) -> str:
        file.seek(0)
        try:
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
                names = {entry.filename for entry in entries}
                if len(names) != len(entries):
                    raise self._unparseable("its zip archive has two members of one name")
                for entry in entries:
                    self._check_entry(file, entry)
                self._keras(archive, names, inner)
                torch = any(name.rpartition("/")[2] in ("data.pkl", "constants.pkl") for name in names)
                if torch:
                    raise self._refuse("torch", "a PyTorch archive of pickles", inner)
                for entry in entries:
                    self._count_member()
                    if not entry.is_dir():
                        with archive.open(entry) as member:
                            source = cast(BinaryIO, member)
                            self._unwrap(source, entry.compress_size, f"{inner}{entry.filename} in ", depth)
        except (
            zipfile.BadZipFile,
            zlib.error,
            lzma.LZMAError,
            EOFError,
            NotImplementedError,
            struct.error,
        ) as error:
            raise self._unparseable(f"its zip archive is damaged: {error}") from error
        except (OSError, ValueError, RuntimeError) as error:
            raise self._unparseable(f"its zip archive cannot be read: {error}") from error
        if "schema.json" in names:
            return SKOPS if depth == 0 else "a skops file in an archive"
        return "a zip archive"

    def _check_entry(self, file: BinaryIO, entry: zipfile.ZipInfo) -> None:
        """The local header and the directory must tell the same: readers differ in which of them they believe."""
        file.seek(entry.header_offset)
        header = file.read(30)
        if len(header) != 30 or header[:4] != b"PK\x03\x04":
            raise self._unparseable("its zip archive has a member without a header")
        _, flags, method, _, _, crc, _, size, name_length, _ = struct.unpack("<HHHHHIIIHH", header[4:])
        name = file.read(name_length)
        deferred = flags & 0x08  # sizes and CRC follow the data
        same = flags == entry.flag_bits and method == entry.compress_type
        same = same and name.decode("utf-8" if flags & 0x800 else "cp437", "replace") == entry.orig_filename
        if not deferred:
            same = same and crc == entry.CRC and size in (entry.file_size, 0xFFFFFFFF)
        if not same or flags & 0x01:
            raise self._unparseable(f"its zip archive contradicts itself about {entry.filename[:100]!r}")

    def _keras(self, archive: zipfile.ZipFile, names: set[str], inner: str) -> None:
        if "config.json" not in names or not names & {"metadata.json", "model.weights.h5"}:
            return
        with archive.open("config.json") as file:
            config = file.read(1 << 20)
        marks = [mark for mark in ("Lambda", "TFSMLayer", "__lambda__") if f'"{mark}"'.encode() in config]
        reason = f" with {' and '.join(marks)}" if marks else ""
        raise self._refuse("keras", f"a Keras archive{reason}", inner)

    def _tar(self, file: BinaryIO, inner: str, depth: int) -> str:
        file.seek(0)
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for member in archive:
                    self._count_member()
                    if member.issparse() or member.size > MAX_UNPACKED_BYTES:
                        raise self._too_large()
                    source = archive.extractfile(member) if member.isreg() else None
                    if source is not None:
                        self._unwrap(cast(BinaryIO, source), member.size, f"{inner}{member.name} in ", depth)
        except (tarfile.TarError, OSError, EOFError) as error:
            raise self._unparseable(f"its tar archive is damaged: {error}") from error
        return "a tar archive"

    def _npy(self, file: BinaryIO, inner: str) -> str:
        file.seek(0)
        try:
            version = numpy.lib.format.read_magic(file)
            read = (
                numpy.lib.format.read_array_header_1_0
                if version == (1, 0)
                else numpy.lib.format.read_array_header_2_0
            )
            _, _, dtype = read(file)
        except (ValueError, SyntaxError, TypeError) as error:
            raise self._unparseable(f"its numpy header cannot be read: {error}") from error
        if dtype.hasobject:
            raise self._refuse("npy", "a numpy file of pickled objects", inner)
        return "a numpy array"

    def _unwrap(self, source: BinaryIO, packed: int, inner: str, depth: int) -> None:
        """Inspect what a wrapping holds, unpacked into a temporary file within the budget."""
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as copy:
            written = 0
            while chunk := source.read(_CHUNK):
                written += len(chunk)
                self._unpacked += len(chunk)
                dense = written > _RATIO_FROM_BYTES and written > MAX_RATIO * max(packed, 1)
                if dense or self._unpacked > MAX_UNPACKED_BYTES:
                    raise self._too_large()
                copy.write(chunk)
            self._inspect(cast(BinaryIO, copy), inner, depth + 1)

    def _count_member(self) -> None:
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise UserError("too_large", f"{self._path} holds more than {MAX_MEMBERS:,} members")

    def _too_large(self) -> UserError:
        return UserError(
            "too_large",
            f"{self._path} unpacks to more than {MAX_UNPACKED_BYTES >> 30} GiB, or to over {MAX_RATIO} times its size",
        )

    def _refuse(self, kind: str, what: str, inner: str) -> UserError:
        return _refusal(self._path, kind, f"{what}{f' (inside: {inner.strip()})' if inner else ''}")

    def _unparseable(self, reason: str) -> UserError:
        return UserError(
            "unparseable", f"{self._path} is refused: {reason}", "save the model again from its source"
        )


def _unpacker(head: bytes) -> Callable[[BinaryIO], BinaryIO] | None:
    if head.startswith(b"\x1f\x8b"):
        return lambda file: cast(BinaryIO, gzip.GzipFile(fileobj=file, mode="rb"))
    if head.startswith(b"BZh"):
        return lambda file: cast(BinaryIO, bz2.BZ2File(file))
    if head.startswith((b"\xfd7zXZ\x00", b"]\x00\x00")):
        return lambda file: cast(BinaryIO, lzma.LZMAFile(file))
    if (
        len(head) > 2
        and head[0] & 0x0F == 8
        and head[0] >> 4 <= 7
        and int.from_bytes(head[:2], "big") % 31 == 0
    ):
        try:
            zlib.decompressobj().decompress(head)
        except zlib.error:
            return None  # ONNX begins with 0x08 too
        return lambda file: cast(BinaryIO, io.BufferedReader(_Zlib(file)))
    return None


class _Zlib(io.RawIOBase):
    """A zlib stream as a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._engine = zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer))
        while not self._engine.eof:
            packed = self._engine.unconsumed_tail or self._file.read(_CHUNK)
            found = self._engine.decompress(packed, len(view))
            if found:
                view[: len(found)] = found
                return len(found)
            if not packed:
                raise EOFError("the zlib stream ends too early")
        return 0
