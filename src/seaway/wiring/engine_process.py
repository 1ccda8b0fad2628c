"""The process of one isolated model: `python -m seaway.wiring.engine_process --fd FD --life FD --bundle DIR …`.

A worker starts it (`wiring.engines`). Over the inherited socket it says that the model is loaded, and then takes one
descriptor after the other: each is a channel of its own, with a thread here, so that nothing has to be interleaved and
closing a channel cancels what runs for it. It ends with its worker, and answers with what is wrong before it ends.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Final

from seaway.bundle import sources
from seaway.core.bundles import OpenedBundle
from seaway.core.errors import PermanentError, SeawayError, TemporaryError, UserError
from seaway.core.ports import LoadedModel, StreamingModel
from seaway.engine import usage
from seaway.wire import engine_frames as frames
from seaway.wiring import adapters, lifeline

_LOOK_S: Final = 1.0
_LEAST_URGENT: Final = 19


def main() -> None:
    """The process's entry; exits 0 when its worker closes the socket, 1 where the model cannot be loaded."""
    parser = argparse.ArgumentParser(prog="seaway-engine")
    parser.add_argument("--fd", type=int, required=True, help="the inherited socket")
    parser.add_argument("--life", type=int, required=True, help="a pipe that closes when the worker ends")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--digest", required=True)
    parser.add_argument(
        "--memory", type=int, required=True, help="bytes after which a fresh process is wanted"
    )
    parser.add_argument("--spare", action="store_true", help="take what processor time others leave")
    arguments = parser.parse_args()
    if arguments.spare:
        os.nice(_LEAST_URGENT)  # before the model's own threads are made
    lifeline.end_with_pipe(arguments.life)
    control = socket.socket(fileno=arguments.fd)
    try:
        model = _load(arguments.bundle, arguments.digest)
    except SeawayError as error:
        frames.send(control, _fault(error))
        sys.exit(1)
    wear = Wear(usage.caps(arguments.memory))
    frames.send(control, frames.Loaded(isinstance(model, StreamingModel)))
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            os._exit(0)  # threads in a model that never returns are not waited for
        for descriptor in descriptors:
            channel = socket.socket(fileno=descriptor)
            threading.Thread(target=_serve, args=(channel, model, wear), daemon=True).start()


def _load(directory: Path, digest: str) -> LoadedModel:
    bundle: OpenedBundle = sources.open_directory(directory)
    if bundle.digest != digest:
        raise PermanentError("digest_mismatch", "the bundle has changed", "deploy it again")
    try:
        return adapters.runtime(bundle.manifest.format).load(bundle)
    except SeawayError:
        raise
    except Exception as error:  # the process edge: the worker must hear why
        raise PermanentError("internal", f"the model cannot be loaded: {type(error).__name__}") from error


class Wear:
    """Looks at this process's own use of the machine, at most once a second."""

    def __init__(self, allowed: usage.Caps) -> None:
        at_start = usage.usage(os.getpid())
        self._allowed = allowed if at_start is None else usage.roomy(allowed, at_start)
        self._next_s = 0.0

    def look(self) -> str | None:
        """Why this process should be replaced; None while all is well or was looked at just now."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return None
        self._next_s = now_s + _LOOK_S
        found = usage.usage(os.getpid())
        return None if found is None else usage.excess(found, self._allowed)


def _serve(channel: socket.socket, model: LoadedModel, wear: Wear) -> None:
    """Answer the calls of one channel until the worker closes it."""
    with channel:
        try:
            while (frame := frames.receive(channel)) is not None:
                call, body = frame
                if not isinstance(call, frames.Call):
                    return
                _answer(channel, model, wear, call, body)
        except (OSError, frames.FrameError):
            return  # the worker gave this call up, or is gone


def _answer(
    channel: socket.socket, model: LoadedModel, wear: Wear, call: frames.Call, body: memoryview
) -> None:
    inputs = frames.tensors(call.tensors, body)
    try:
        if not call.stream:
            began_s = time.process_time()
            outputs = model.predict(inputs, call.timeout_s)
            cpu_s = time.process_time() - began_s
            announced, bodies = frames.heads(outputs)
            frames.send(channel, frames.Answer(announced, wear.look(), cpu_s), bodies)
            return
        if not isinstance(model, StreamingModel):
            raise UserError("stream_only", "this model does not answer piece by piece")
        replies = model.stream(inputs, call.timeout_s)
        for reply in replies:
            announced, bodies = frames.heads(reply)
            frames.send(channel, frames.Answer(announced, wear.look()), bodies)
        frames.send(channel, frames.End())
    except SeawayError as error:
        frames.send(channel, _fault(error))
    except (OSError, frames.FrameError):
        raise
    except Exception as error:  # noqa: BLE001 - the process edge: a model's own fault fails its request alone
        fault = PermanentError(
            "execution_failed", f"the model failed on this request: {type(error).__name__}"
        )
        frames.send(channel, _fault(fault))


def _fault(error: SeawayError) -> frames.Fault:
    family = "user" if isinstance(error, UserError) else "temporary"
    if not isinstance(error, UserError | TemporaryError):
        family = "permanent"
    return frames.Fault(family, error.code, error.message, error.hint)


if __name__ == "__main__":
    main()
