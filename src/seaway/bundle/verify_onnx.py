"""The checks of an ONNX file, done in a child process with limits; the parent never parses untrusted protobuf.

Called by `bundle.build` and `bundle.sources`.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

from seaway.bundle import blobs
from seaway.core.errors import UserError

ENTRY: Final = "model.onnx"
_BASE_MEMORY_BYTES: Final = 6 << 30
_TIMEOUT_S: Final = 60
MAX_PROTOBUF_BYTES: Final = (2 << 30) - 1


class ProbeRequest(msgspec.Struct, frozen=True):
    """What to check: the model's `path`, where its cleaned form goes, and the limits."""

    path: str
    output: str
    memory_bytes: int
    cpu_s: int


class ProbedTensor(msgspec.Struct, frozen=True):
    """A graph input or output; a free axis is -1."""

    name: str
    dtype: str
    shape: list[int]
    origin: str = ""
    """The operator that makes an output."""
    symbols: list[str] = []
    """What the file calls each axis, such as `batch` or `2*past`; empty for one with a size or without a name."""


class Report(msgspec.Struct, frozen=True, tag_field="result", tag="report"):
    """What a valid model is."""

    inputs: list[ProbedTensor]
    outputs: list[ProbedTensor]
    external: list[str]
    """Paths of external data files, relative to the model's directory."""
    classes: list[str | int]
    opsets: dict[str, int]
    producer: str


class Refusal(msgspec.Struct, frozen=True, tag_field="result", tag="refusal"):
    """Why a model is refused. `code` is `invalid_model`, `unsafe_path` or `too_large`."""

    code: str
    reason: str


def verify_onnx(path: Path, directory: Path) -> Report:
    """Check the ONNX file at `path`; put its cleaned form, with its external data, into the empty `directory`.

    The model is `directory/model.onnx`. Blocks for about 0.4 s. Raises `UserError` (`file_not_found`,
    `invalid_model`, `unsafe_path`, `too_large`) with the reason.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UserError("file_not_found", f"{path} cannot be read: {error.strerror}") from error
    request = ProbeRequest(
        path=str(path.resolve()),
        output=str(directory / ENTRY),
        memory_bytes=_BASE_MEMORY_BYTES + 5 * min(size, MAX_PROTOBUF_BYTES),
        cpu_s=_TIMEOUT_S,
    )
    command = [sys.executable, "-P", "-m", "seaway.bundle.onnx_probe", msgspec.json.encode(request).decode()]
    with blobs.disk_errors(directory):
        try:
            done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise UserError(
                "invalid_model", f"{path}: reading it takes longer than {_TIMEOUT_S} s"
            ) from error
    if done.returncode != 0:
        raise UserError("invalid_model", f"{path}: reading it failed ({_cause(done)})")
    answer = msgspec.json.decode(done.stdout, type=Report | Refusal)
    if isinstance(answer, Refusal):
        raise UserError(answer.code, f"{path}: {answer.reason}")
    return answer


def _cause(done: subprocess.CompletedProcess[bytes]) -> str:
    if done.returncode < 0:
        return f"its reader died of {signal.Signals(-done.returncode).name}"
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines else f"exit code {done.returncode}"
