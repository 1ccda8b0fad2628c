"""Files that are never half there: content-addressed blobs and atomic replacement, both through fsync.

Called by `bundle.store` and `bundle.sources`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from seaway.core.bundles import Digest
from seaway.core.errors import PermanentError, TemporaryError

CHUNK: Final = 1 << 20
TEMPORARY: Final = ".tmp-"


def hash_file(path: Path) -> tuple[Digest, int]:
    """The digest and size of a file's bytes."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return Digest("sha256:" + digest.hexdigest()), size


def check_file(path: Path, digest: str, size: int, what: str) -> None:
    """Raises `PermanentError("digest_mismatch")` unless the file is there with exactly these bytes."""
    hint = "the stored bytes are damaged: package the model again, or restore this file from a backup"
    try:
        found, length = hash_file(path)
    except FileNotFoundError as error:
        raise PermanentError("digest_mismatch", f"{what}: {digest} is gone", hint) from error
    except OSError as error:
        raise PermanentError(
            "digest_mismatch", f"{what}: {digest} cannot be read: {error.strerror}", hint
        ) from error
    if found != digest or length != size:
        raise PermanentError(
            "digest_mismatch",
            f"{what}: expected {digest} ({size} bytes), found {found} ({length} bytes)",
            hint,
        )


def sync(path: Path) -> None:
    """Make a file's bytes, or the names in a directory, survive a power cut. Raises `OSError`."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` at `path`: readers see the old bytes or the new ones. Sync the directory to make it last."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def put_blob(directory: Path, source: BinaryIO, digest: str, size: int) -> bool:
    """Store `size` bytes of `source` under their digest; False where they were there already.

    A blob that is there with another size or other bytes (a damaged store) is replaced.
    Raises `PermanentError("digest_mismatch")` where the source's bytes are others than announced.
    """
    target = directory / digest.removeprefix("sha256:")
    if target.exists() and hash_file(target) == (digest, size):
        return False
    temporary = directory / f"{TEMPORARY}{target.name}.{os.getpid()}"
    try:
        found, length = hashlib.sha256(), 0
        with temporary.open("wb") as file:
            while chunk := source.read(CHUNK):
                found.update(chunk)
                length += len(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        if "sha256:" + found.hexdigest() != digest or length != size:
            raise PermanentError("digest_mismatch", f"the bytes for {digest} changed while they were stored")
        temporary.chmod(0o444)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return True


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`, waiting for its turn. The kernel frees it when the process dies."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn a full or read-only disk into an error that says so."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TemporaryError(
                "disk_full", f"no space is left on the disk of {where}", "free some space and try again"
            ) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise PermanentError(
                "store_unavailable",
                f"{where} cannot be written: {error.strerror}",
                "check its owner and mode",
            ) from error
        raise
