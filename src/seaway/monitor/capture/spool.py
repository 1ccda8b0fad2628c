"""Spools: files of framed records that one worker appends to, and that are read while it does.

A frame is its length and CRC-32 (each 4 bytes, little-endian) and a msgpack message. What a kill leaves half written at
the end is no frame, and is ignored and counted. A worker holds a lock on the spool that it writes: a spool whose
lock is free is closed for good, whatever ended its worker.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from seaway.core.captures import Cell, ColumnSpec
from seaway.monitor import open_files
from seaway.monitor.capture.columns import Omitted

ROTATE_BYTES: Final = 8 * 1024 * 1024
ROTATE_S: Final = 60.0
_FRAME: Final = struct.Struct("<II")
_MOST_FRAME: Final = 256 * 1024 * 1024
NEW: Final = ".new-"
"""Begins the name of a spool that is not locked yet."""


class Opened(msgspec.Struct, frozen=True, array_like=True, tag="opened"):
    """The first frame. `retain_s` is the endpoint's at that time."""

    version: int
    at_s: float
    retain_s: float


class Layed(msgspec.Struct, frozen=True, array_like=True, tag="columns"):
    """The columns of the records that follow it with this `layout`."""

    layout: int
    revision: int
    digest: str
    columns: tuple[ColumnSpec, ...]


class Captured(msgspec.Struct, frozen=True, array_like=True, tag="request"):
    """One request. `cells` has one list of cells for each column of its layout, or None."""

    layout: int
    request_id: str
    at_s: float
    door: str
    code: str
    caller: str
    subject: str | None
    rows: int
    cells: list[list[Cell] | None]
    omitted: dict[str, Omitted]


class Late(msgspec.Struct, frozen=True, array_like=True, tag="late"):
    """A request that ended after its subject was erased: its id alone, by which its other records are found and go too."""

    request_id: str


class Ended(msgspec.Struct, frozen=True, array_like=True, tag="end"):
    """The last frame: its worker closed it. Without it the worker was killed, or its disk was full."""


Message: TypeAlias = Opened | Layed | Captured | Late | Ended
_DECODER: Final = msgspec.msgpack.Decoder(Message)


def frame(message: Message) -> bytes:
    """A message as it is written."""
    data = msgspec.msgpack.encode(message)
    return _FRAME.pack(len(data), zlib.crc32(data)) + data


class SpoolWriter:
    """The spool that a worker writes now; for one thread. `bytes` is its size; whoever appends counts the `requests`."""

    def __init__(self, directory: Path, writer: str, at_s: float, retain_s: float) -> None:
        """Makes the file, locked before it has its name. Raises `OSError`."""
        self.at_s = at_s
        self.bytes = 0
        self.requests = 0
        self.layouts: dict[int, int] = {}
        name = f"spool-{writer}-{int(at_s * 1000)}-{secrets.token_hex(6)}.log"
        new = directory / (NEW + name)
        self.path = directory / name
        self._file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.append([frame(Opened(1, at_s, retain_s))])
            new.rename(self.path)
        except BaseException:
            os.close(self._file)
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise

    def append(self, frames: Sequence[bytes]) -> None:
        """Write all frames or none. Raises `OSError`; after one that this says cannot be taken back, close the spool."""
        data = memoryview(b"".join(frames))
        end = self.bytes + len(data)
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:
            os.ftruncate(self._file, self.bytes)
            os.lseek(self._file, self.bytes, os.SEEK_SET)
            raise
        self.bytes = end

    def stands(self) -> bool:
        """Whether its file is still where it was made."""
        return open_files.stands(self._file, self.path)

    def close(self) -> None:
        """Frees the lock: whoever converts may take the spool from now on."""
        with contextlib.suppress(OSError):
            self.append([frame(Ended())])
        os.close(self._file)


class Spool(msgspec.Struct, frozen=True):
    """What one spool holds. `torn` counts what could not be read: a tail cut short, or frames with a wrong checksum.

    `unended` says that nobody writes it any more, and nobody closed it: what its worker had not written yet is lost.
    """

    opened: Opened | None
    layouts: dict[int, Layed]
    requests: list[Captured]
    late: list[str]
    torn: int
    unended: bool


def read(path: Path) -> Spool:
    """Read a spool, also one that is being written. Raises `OSError`."""
    opened, layouts, requests, late, torn = None, {}, [], [], 0
    unended = is_closed(path)  # asked before it is read, since it may be closed meanwhile
    for message in _messages(path.read_bytes()):
        if isinstance(message, Opened):
            opened = message
        elif isinstance(message, Layed):
            layouts[message.layout] = message
        elif isinstance(message, Captured) and message.layout in layouts:
            requests.append(message)
        elif isinstance(message, Late):
            late.append(message.request_id)
        elif isinstance(message, Ended):
            unended = False
        else:
            torn += 1
    return Spool(opened, layouts, requests, late, torn, unended)


def _messages(data: bytes) -> Iterator[Message | None]:
    """The messages in order; None for a frame that cannot be read."""
    at = 0
    while at < len(data):
        if at + _FRAME.size > len(data):
            yield None
            return
        length, checksum = _FRAME.unpack_from(data, at)
        at += _FRAME.size
        body = data[at : at + length]
        if length > _MOST_FRAME or len(body) < length:
            yield None
            return
        at += length
        if zlib.crc32(body) != checksum:
            yield None
            continue
        try:
            yield _DECODER.decode(body)
        except msgspec.DecodeError:
            yield None


def remove_unnamed(directory: Path, before_s: float) -> None:
    """Remove spools that workers began before then, and were killed before they named them. Raises `OSError`."""
    for path in directory.glob(f"{NEW}*"):
        with contextlib.suppress(FileNotFoundError):  # it has its name now
            if path.stat().st_mtime < before_s and is_closed(path):
                path.unlink()


def is_closed(path: Path) -> bool:
    """Whether no worker holds the spool. Raises `OSError`."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(file)
