"""Starts and speaks to engine processes: `engine.isolated.Engine` over Unix sockets. Used by the data workers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Final

from seaway.core.bundles import OpenedBundle
from seaway.core.errors import CODES, PermanentError, SeawayError, TemporaryError, UserError
from seaway.core.ports import Clock
from seaway.core.tensors import Tensors
from seaway.engine import faults, isolated
from seaway.engine.isolated import EngineEnded, IsolatedModel
from seaway.serve import log
from seaway.wire import engine_frames as frames

_MODULE: Final = "seaway.wiring.engine_process"
_LOAD_S: Final = 120.0
_GRACE_S: Final = 2.0
"""How long beyond its deadline an engine may take to say that it was too late, before it counts as hung."""
_FAMILIES: Final[dict[str, type[SeawayError]]] = {
    "user": UserError,
    "temporary": TemporaryError,
    "permanent": PermanentError,
}


def isolate(bundle: OpenedBundle, memory_bytes: int, clock: Clock, *, spare: bool = False) -> IsolatedModel:
    """The bundle's model in a process of its own, loaded; blocking. `memory_bytes` is the process's cap; a `spare` one gets
    what processor time others leave.

    Raises what the runtime raises, and `PermanentError("execution_failed")` where the model ends its process at once.
    """
    return isolated.isolated(
        bundle.manifest.signature,
        lambda: EngineProcess(bundle, memory_bytes, spare=spare),
        clock,
        lambda line: log.write_line(f"seaway: {bundle.ref}: {line}"),
    )


class EngineProcess:
    """One engine process. Each call has a channel of its own: a socket pair whose other end the process gets."""

    def __init__(self, bundle: OpenedBundle, memory_bytes: int, *, spare: bool = False) -> None:
        """Blocks until the model is loaded. `spare`: at the lowest priority. Raises `SeawayError`, `EngineEnded`, and `OSError` for lack of memory."""
        self._control, theirs = socket.socketpair()
        life, self._life = os.pipe()  # the kernel closes it with this process, whatever ends it
        words = ["--fd", str(theirs.fileno()), "--life", str(life), "--bundle", bundle.directory]
        words += ["--digest", bundle.digest, "--memory", str(memory_bytes)]
        if spare:
            words.append("--spare")
        self._lock = threading.Lock()
        self._idle: list[socket.socket] = []
        self._busy = 0
        self._retiring = False
        self._closed = False
        self.worn: str | None = None
        self.cpu_s = 0.0
        """Processor time in the model, of all predictions; exact where one follows the other."""
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _MODULE, *words],
                pass_fds=(theirs.fileno(), life),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        except OSError:
            self._control.close()
            os.close(self._life)
            raise
        finally:
            theirs.close()
            os.close(life)
        try:
            self._control.settimeout(_LOAD_S)
            self.streams = self._loaded()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def predict(self, inputs: Tensors, timeout_s: float | None) -> Tensors:
        """As the port says."""
        with self._channel(timeout_s) as channel:
            self._ask(channel, inputs, timeout_s, stream=False)
            reply = self._reply(channel)
            if reply is None:
                raise self._ended("answered out of turn")
            return reply

    def stream(self, inputs: Tensors, timeout_s: float | None) -> Iterator[Tensors]:
        """As the port says; a stream that is not read to its end closes its channel, which cancels it."""
        with self._channel(timeout_s) as channel:
            self._ask(channel, inputs, timeout_s, stream=True)
            while (reply := self._reply(channel)) is not None:
                yield reply

    def retire(self) -> None:
        """As the port says."""
        with self._lock:
            self._retiring = True
            over = self._busy == 0
        if over:
            self.close()

    def close(self) -> None:
        """As the port says."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            idle, self._idle = self._idle, []
        self._process.kill()
        with contextlib.suppress(RuntimeError):  # too many threads: the next process that is started reaps it
            # Gigabytes take a while to be given back, and the caller may be the event loop's thread.
            threading.Thread(target=self._process.wait, name="seaway-reap", daemon=True).start()
        for channel in idle:
            channel.close()
        self._control.close()
        os.close(self._life)

    def _loaded(self) -> bool:
        """Whether the model streams, once it is loaded."""
        match self._receive(self._control):
            case frames.Loaded(streams=streams), _:
                return streams
            case frames.Fault() as fault, _:
                raise _error(fault)
            case _:
                raise self._ended("answered out of turn")

    @contextlib.contextmanager
    def _channel(self, timeout_s: float | None) -> Iterator[socket.socket]:
        """A channel for one call; used again only where the call came to its end."""
        channel = self._open()
        whole = False
        try:
            channel.settimeout(None if timeout_s is None else timeout_s + _GRACE_S)
            yield channel
            whole = True
        except SeawayError:
            whole = True  # the process answered, with an error
            raise
        finally:
            with self._lock:
                self._busy -= 1
                keep = whole and not self._closed
                if keep:
                    self._idle.append(channel)
                over = self._retiring and self._busy == 0
            if not keep:
                channel.close()
            if over:
                self.close()

    def _open(self) -> socket.socket:
        with self._lock:
            if self._closed:
                raise EngineEnded("had ended")
            self._busy += 1
            if self._idle:
                return self._idle.pop()
            ours: socket.socket | None = None
            try:
                ours, theirs = socket.socketpair()
                with theirs:
                    socket.send_fds(self._control, [b"+"], [theirs.fileno()])
            except OSError as error:
                if ours is not None:
                    ours.close()
                self._busy -= 1
                failure = error
            else:
                return ours
        raise self._ended(f"could not be asked ({failure.strerror})") from failure

    def _ask(self, channel: socket.socket, inputs: Tensors, timeout_s: float | None, *, stream: bool) -> None:
        announced, bodies = frames.heads(inputs)
        try:
            frames.send(channel, frames.Call(announced, timeout_s, stream), bodies)
        except TimeoutError as error:
            raise self._ended("did not answer in time", 0.0) from error
        except OSError as error:
            raise self._ended("closed its socket") from error

    def _reply(self, channel: socket.socket) -> Tensors | None:
        """The next reply; None at the end of a stream. Raises the model's error, or `EngineEnded`."""
        match self._receive(channel):
            case frames.Answer(tensors=announced, worn=worn, cpu_s=cpu_s), body:
                self.worn = worn or self.worn
                self.cpu_s += cpu_s
                try:
                    return frames.tensors(announced, body)
                except frames.FrameError as error:
                    raise self._ended("sent what cannot be read") from error
            case frames.End(), _:
                return None
            case frames.Fault() as fault, _:
                raise _error(fault)
            case _:
                raise self._ended("answered out of turn")

    def _receive(self, channel: socket.socket) -> tuple[frames.Header, memoryview]:
        try:
            frame = frames.receive(channel)
        except TimeoutError as error:
            raise self._ended("did not answer in time", 0.0) from error
        except (OSError, frames.FrameError) as error:
            raise self._ended("sent what cannot be read") from error
        if frame is None:
            raise self._ended("closed its socket")
        return frame

    def _ended(self, what: str, patience_s: float = 0.5) -> EngineEnded:
        """End the process, which is dead or no longer to be trusted; what to say of it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)  # its socket closes a moment before its end can be read
        code = self._process.poll()
        self._process.kill()
        if code is None:
            return EngineEnded(f"{what} and was ended")
        own_fault = faults.is_own_fault(code)
        if -code in signal.valid_signals():
            return EngineEnded(f"was ended by {signal.strsignal(-code)}", own_fault=own_fault)
        return EngineEnded(f"ended with code {code}", own_fault=own_fault)


def _error(fault: frames.Fault) -> SeawayError:
    if fault.code not in CODES or fault.family not in _FAMILIES:
        return PermanentError("internal", f"a model's own process failed: {fault.message[:200]}")
    return _FAMILIES[fault.family](fault.code, fault.message, fault.hint)
