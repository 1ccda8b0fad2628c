"""Keeps captured requests in order while a server runs: a chore of the control process, which starts `capture_process` where due."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from seaway.core.errors import PermanentError
from seaway.monitor.capture import files as capture_files
from seaway.monitor.capture import segments

EVERY_S: Final = 60.0
"""How often the chore is due."""
_MODULE: Final = "seaway.wiring.capture_process"
_MOST_S: Final = 300.0
_log = logging.getLogger(__name__)


def chore(records: Path, retain_s: Callable[[], Mapping[str, float]]) -> Callable[[float], None]:
    """What `control.upkeep` runs; `retain_s` gives the retention of the endpoints there are, by name.

    Blocking; cheap where nothing is due. It raises `OSError`, `PermanentError` for a process that failed.
    """

    def run(now_s: float) -> None:
        retain = retain_s()
        if segments.due(records, now_s, retain):
            convert(records, retain)

    return run


def convert(records: Path, retain_s: Mapping[str, float]) -> segments.Done:
    """One round in a process of its own, which ends with this one. Blocking. Raises as above."""
    words = [word for name, seconds in retain_s.items() for word in ("--retain", f"{name}={seconds}")]
    done = _run(records, words, b"")
    if done.torn:
        _log.warning("%d captured records were torn and are lost", done.torn)
    if done.damaged:
        names = ", ".join(done.damaged)
        _log.warning("damaged segments, which may hold an erased subject; remove them: %s", names)
    return done


def erase(records: Path, endpoint: str | None, subject: str) -> segments.Done:
    """`control.erasing.EraseCaptured`, in a process of its own, to which the subject goes by a pipe. Raises as above."""
    if not capture_files.endpoints(records):
        return segments.Done()
    return _run(records, ["--erase"], msgspec.json.encode(segments.Subject(subject, endpoint)))


def _run(records: Path, words: Sequence[str], data: bytes) -> segments.Done:
    life, ours = os.pipe()  # the kernel closes `ours` with this process, whatever ends it
    try:
        ended = subprocess.run(
            [sys.executable, "-m", _MODULE, "--records", str(records), "--life", str(life), *words],
            pass_fds=(life,),
            input=data,
            capture_output=True,
            timeout=_MOST_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PermanentError(
            "internal",
            f"rewriting captured requests did not end within {_MOST_S:.0f} s",
            "it goes on within a minute where a server runs; else run the command again",
        ) from error
    finally:
        os.close(life)
        os.close(ours)
    if ended.returncode != 0:
        lines = ended.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = lines[-1][:300] if lines else f"it ended with code {ended.returncode}"
        raise PermanentError("internal", f"captured requests could not be rewritten: {reason}")
    return msgspec.json.decode(ended.stdout, type=segments.Done)
