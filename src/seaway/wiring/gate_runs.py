"""Runs one gate in a process of its own (`wiring.gate_process`) and watches what it takes of the machine.

Called by `wiring.gates`. A model that crashes, hangs or eats memory takes only that process with it, and the process
never outlives the one that wants its report.
"""

from __future__ import annotations

import datetime
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Final, TypeAlias

import msgspec

from seaway import settings
from seaway.core.bundles import Version
from seaway.core.checks import CheckResult, GateReport, Verdict, overall
from seaway.core.errors import PermanentError
from seaway.core.ports import Clock
from seaway.engine import usage
from seaway.wiring.home import Home

_MODULE: Final = "seaway.wiring.gate_process"
_TIMEOUT_S: Final = 900.0
_LOOK_MS: Final = 50
_SIGKILL: Final = -9


class Began(msgspec.Struct, frozen=True, tag="began"):
    """A check that runs from now on."""

    check: str


class Found(msgspec.Struct, frozen=True, tag="found"):
    """What a check found."""

    result: CheckResult


class Judged(msgspec.Struct, frozen=True, tag="judged"):
    """The whole report, and the last message."""

    report: GateReport


class Fault(msgspec.Struct, frozen=True, tag="fault"):
    """What kept a gate from judging, such as a damaged bundle; the last message."""

    code: str
    message: str
    hint: str | None = None


Message: TypeAlias = Began | Found | Judged | Fault
Say: TypeAlias = Callable[[Message], None]
_DECODER: Final = msgspec.json.Decoder(Message)


def judge(
    home: Home, version: Version, baseline: Version | None, progress: Callable[[str], None]
) -> GateReport:
    """Judge a version against `baseline`; blocking, seconds. `progress` is told of each check.

    A model that takes more memory than a worker may is failed; a process that ends without a report, or not within a
    quarter of an hour, is an errored gate. Raises `PermanentError` with the code of what kept the gate from judging.
    """
    began_s = home.clock.now_s()
    run = _Run(home.clock, memory_bytes(home.configuration.settings), progress)
    words = [str(home.paths.home), str(version.ref), *([] if baseline is None else [str(baseline.ref)])]
    report = run.report(words)
    if report is not None:
        return report
    at = datetime.datetime.fromtimestamp(began_s, datetime.UTC).isoformat(timespec="seconds")
    return GateReport(
        version.digest,
        str(version.ref),
        overall(result.verdict for result in run.results),
        tuple(run.results),
        at,
        None if baseline is None else baseline.digest,
        None if baseline is None else str(baseline.ref),
    )


def memory_bytes(chosen: settings.Settings) -> int:
    """The memory that a gate may take: as much as a worker, where the model is to run."""
    if chosen.worker_memory is not None:
        return settings.size_bytes(chosen.worker_memory)
    return usage.share_bytes(chosen.workers)


class _Run:
    """One process, and what it has said so far."""

    def __init__(self, clock: Clock, most_bytes: int, progress: Callable[[str], None]) -> None:
        self._clock = clock
        self.results: list[CheckResult] = []
        self._check = "gate"
        self._allowed = usage.caps(most_bytes)
        self._progress = progress

    def report(self, words: list[str]) -> GateReport | None:
        """The report that the process makes; None where it makes none, and `results` ends with why."""
        out, theirs = os.pipe()
        life, ours = os.pipe()  # the kernel closes `ours` with this process, whatever ends it
        with tempfile.TemporaryFile() as said:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-m", _MODULE, "--out", str(theirs), "--life", str(life), *words],
                    pass_fds=(theirs, life),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # a model may print there
                    stderr=said,
                )
            except OSError:
                os.close(out)
                os.close(ours)
                raise
            finally:
                os.close(theirs)
                os.close(life)
            try:
                return self._watch(process, out, said)
            finally:
                process.kill()
                process.wait()
                os.close(out)
                os.close(ours)

    def _watch(self, process: subprocess.Popen[bytes], out: int, said: IO[bytes]) -> GateReport | None:
        ends_s = self._clock.monotonic_s() + _TIMEOUT_S
        for message in self._messages(out):
            if isinstance(message, Judged):
                return message.report
            if isinstance(message, Fault):
                raise PermanentError(message.code, message.message, message.hint)
            if isinstance(message, Began):
                self._check = message.check
            elif isinstance(message, Found):
                self.results.append(message.result)
                self._progress(f"{message.result.check}: {message.result.verdict.value}")
            if (found := usage.usage(process.pid)) and (beyond := usage.excess(found, self._allowed)):
                self._end(
                    Verdict.FAILED, f"the gate's process was ended: the model made it take {beyond}; {_FIX}"
                )
                return None
            if self._clock.monotonic_s() > ends_s:
                self._end(Verdict.ERRORED, f"the gate did not end within {_TIMEOUT_S:.0f} s")
                return None
        self._end(Verdict.ERRORED, _why(process.wait(), said))
        return None

    def _messages(self, out: int) -> Iterator[Message | None]:
        """What the process says until it ends; None where it said nothing for a moment."""
        poller = select.poll()
        poller.register(out, select.POLLIN)
        pending = b""
        while True:
            if not poller.poll(_LOOK_MS):
                yield None
                continue
            data = os.read(out, 1 << 16)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            yield from map(_DECODER.decode, lines)

    def _end(self, verdict: Verdict, reason: str) -> None:
        self.results.append(CheckResult(self._check, verdict, reason))
        self._progress(f"{self._check}: {verdict.value}")


_FIX: Final = (
    "a model whose state grows, or that takes too much for the rows of its sample, would end its worker too: "
    "make it smaller, or set worker_memory higher, and validate it again"
)


def _why(code: int, said: IO[bytes]) -> str:
    if code == _SIGKILL:
        return "the gate's process was killed, most likely by the kernel, since the machine ran out of memory"
    said.seek(0, os.SEEK_END)
    said.seek(max(0, said.tell() - 4096))
    lines = said.read().decode("utf-8", "replace").strip().splitlines()
    return f"the gate's process ended with code {code}" + (f": {lines[-1][:300]}" if lines else "")
