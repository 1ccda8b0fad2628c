"""Builds and runs one data worker: `python -m seaway.wiring.worker --run RUN_DIR --slot N --fd FD`.

The supervisor starts it with an inherited listening socket. A worker outlives its supervisor: it serves the last
table until somebody stops it, unless `--parent PID` ties it to one whose run directory nobody else could find.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec
import uvloop

import seaway
from seaway import settings
from seaway.bundle import datafiles, sources
from seaway.core import tables
from seaway.core.bundles import OpenedBundle
from seaway.core.errors import PermanentError, SeawayError, UserError
from seaway.core.ports import LoadedModel
from seaway.core.records import RecordRules
from seaway.core.tensors import Tensors
from seaway.core.traffic import RoutedRevision
from seaway.engine.pool import Sources
from seaway.serve import log, worker
from seaway.serve.plane import DataPlane, GrpcDoor, Recorder
from seaway.wire import status
from seaway.wiring import adapters, engines, lifeline, recorders, struct_types
from seaway.wiring.clock import SystemClock
from seaway.wiring.control_exchange import ControlForward, ControlMetrics

_WARM_ROWS = 8
_NO_LIMIT = 1 << 63


def main() -> None:
    """The process's entry; exits 0 after a drain, 1 on a fault."""
    parser = argparse.ArgumentParser(prog="seaway-worker")
    parser.add_argument("--run", type=Path, required=True, help="the run directory: table, sockets")
    parser.add_argument("--slot", type=int, required=True)
    parser.add_argument("--fd", type=int, required=True, help="the inherited listening socket")
    parser.add_argument("--drain", type=float, default=20.0, help="seconds to answer requests in flight")
    parser.add_argument(
        "--memory", type=int, default=_NO_LIMIT, help="bytes after which an engine process is replaced"
    )
    parser.add_argument("--grpc", help="HOST:PORT of the gRPC door")
    parser.add_argument("--tls-cert", type=Path)
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--recording", default="{}", help="settings.RecordingOptions as JSON")
    parser.add_argument(
        "--records", type=Path, help="what is kept of answered requests; else in the run directory"
    )
    parser.add_argument("--control", type=Path, help="the control process's socket, for feedback and metrics")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    parser.add_argument("--parent", type=int, help="the supervisor: this process ends with it")
    arguments = parser.parse_args()
    if arguments.parent is not None:
        lifeline.end_with(arguments.parent)
    struct_types.build_all()
    listener, clock = socket.socket(fileno=arguments.fd), SystemClock()
    tls = None if arguments.tls_cert is None else (arguments.tls_cert, arguments.tls_key)
    options = msgspec.json.decode(arguments.recording, type=settings.RecordingOptions)
    limit_bytes = arguments.memory if arguments.memory < _NO_LIMIT else None
    place = worker.Place(
        arguments.run,
        arguments.slot,
        listener,
        arguments.drain,
        arguments.grpc,
        tls,
        options.otlp is not None,
        limit_bytes,
    )

    def isolate(bundle: OpenedBundle) -> LoadedModel:
        return engines.isolate(bundle, arguments.memory, clock)

    def shadow(bundle: OpenedBundle) -> LoadedModel:
        return engines.isolate(bundle, arguments.memory, clock, spare=True)

    def record(rules: Callable[[str], RecordRules]) -> Recorder:
        root = arguments.records or place.run / "records"
        return recorders.make(root, place.slot, options, rules, clock)

    sources = Sources(open_bundle, adapters.runtime, sample, lambda _, bundle: isolate(bundle))
    factory = uvloop.new_event_loop if arguments.loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        try:
            open_grpc = None if place.grpc is None else grpc_door()
            forward = None if arguments.control is None else ControlForward(arguments.control)
            told = None if arguments.control is None else ControlMetrics(arguments.control)
            version = seaway.__version__
            runner.run(
                worker.run(place, sources, isolate, shadow, clock, version, record, open_grpc, forward, told)
            )
        except SeawayError as error:
            hint = "" if error.hint is None else f" ({error.hint})"
            log.write_line(f"seaway: worker {place.slot} cannot start: {error.code}: {error.message}{hint}")
            sys.exit(status.STATUS[error.code].exit_code)
        os._exit(0)  # a model that never returns must not hold the process: its threads are not joined


def grpc_door() -> Callable[[DataPlane, tuple[Path, Path] | None], GrpcDoor]:
    """What makes the gRPC server; its library takes 30 MB of memory, so it is imported only where it is asked for.

    Raises `UserError("missing_extra")`.
    """
    try:
        made = adapters.attribute("seaway.serve.grpc_door:GrpcServer")
    except ImportError as error:
        raise UserError(
            "missing_extra", "--grpc needs grpcio, which is not installed", "pip install 'seaway[grpc]'"
        ) from error
    return cast(Callable[[DataPlane, tuple[Path, Path] | None], GrpcDoor], made)


def open_bundle(revision: RoutedRevision) -> OpenedBundle:
    """The opened bundle in the revision's directory: every file checked, and the whole against the revision's digest.

    Raises `PermanentError("digest_mismatch")`, also where the directory is gone or holds no manifest.
    """
    try:
        bundle = sources.open_directory(Path(revision.bundle))
    except (OSError, UserError) as error:
        raise PermanentError(
            "digest_mismatch", f"the bundle of {revision.ref} cannot be read", "deploy it again"
        ) from error
    if bundle.digest != revision.digest:
        raise PermanentError(
            "digest_mismatch", f"the manifest of {revision.ref} has changed", "deploy it again"
        )
    return msgspec.structs.replace(bundle, ref=revision.ref)


def sample(bundle: OpenedBundle) -> Tensors | None:
    """The first rows of the bundle's sample (JSON lines) as input tensors; None where it has none."""
    path = bundle.manifest.sample
    if path is None:
        return None
    with (Path(bundle.directory) / path).open("rb") as lines:
        head = b"".join(itertools.islice(lines, _WARM_ROWS))
    return tables.table_to_tensors(datafiles.read_jsonl(head, path), bundle.manifest.signature)


if __name__ == "__main__":
    main()
