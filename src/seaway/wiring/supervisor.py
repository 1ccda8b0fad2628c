"""The supervisor process: `python -m seaway.wiring.supervisor --run RUN --http HOST:PORT --workers N [--home HOME --control]`.

`seaway up` and `seaway serve` become this process. It imports neither engines nor databases.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from seaway import settings, sockets
from seaway.control import orphans, supervisor
from seaway.core.errors import SeawayError, UserError
from seaway.engine import usage
from seaway.wiring.clock import SystemClock

_CONTROL_MODULE = "seaway.wiring.control"
_DRAIN_MOST_S = 86_400.0


def main() -> int:
    """The process's entry; 0 after an orderly stop, 2 where it refuses to start, 4 when it was forced to stop."""
    parser = argparse.ArgumentParser(prog="seaway-supervisor")
    parser.add_argument("--run", type=Path, required=True, help="sockets, routing table and process records")
    parser.add_argument("--http", required=True, help="HOST:PORT of the data plane")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--drain", type=float, default=20.0, help="seconds that a stopping worker may take")
    parser.add_argument("--grpc", help="HOST:PORT of the gRPC door")
    parser.add_argument("--tls-cert", type=Path, help="certificate chain of the data plane, PEM")
    parser.add_argument("--tls-key", type=Path, help="its private key, PEM")
    parser.add_argument("--recording", default="{}", help="settings.RecordingOptions as JSON")
    parser.add_argument("--worker-memory", type=int, help="bytes after which a worker is replaced")
    parser.add_argument(
        "--hang", type=float, default=5.0, help="seconds of silence after which a worker is killed"
    )
    parser.add_argument("--remove-run", action="store_true", help="remove the run directory at the end")
    parser.add_argument("--ready-fd", type=int, help="gets one line when the server is up")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--control", action="store_true", help="run the control process of --home")
    parser.add_argument("--control-address", help="HOST:PORT of the control API on TCP, beside its socket")
    parser.add_argument("--allow-open", action="store_true", help="allow addresses beyond loopback")
    arguments = parser.parse_args()
    run = arguments.run.absolute()
    _, most_descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (most_descriptors, most_descriptors)
    )  # workers hold connections

    memory_bytes = arguments.worker_memory or usage.share_bytes(arguments.workers)

    def worker_command(slot: int, descriptor: int, grpc: str | None) -> Sequence[str]:
        words = ["-m", orphans.WORKER_MODULE, "--run", str(run), "--slot", str(slot), "--fd", str(descriptor)]
        tied = (
            ["--parent", str(os.getpid())] if arguments.remove_run else []
        )  # no later supervisor knows this run
        doors = ["--grpc", grpc] if grpc else []
        if arguments.home is not None:
            paths = settings.HomePaths(arguments.home)
            doors += ["--records", str(paths.records)]
            doors += ["--control", str(paths.control_socket)] if arguments.control else []
        if arguments.tls_cert is not None:
            doors += ["--tls-cert", str(arguments.tls_cert), "--tls-key", str(arguments.tls_key)]
        doors += ["--recording", arguments.recording]
        limits = ["--drain", str(arguments.drain), "--memory", str(memory_bytes)]
        return [sys.executable, *words, *limits, *doors, *tied]

    control = None
    if arguments.control:
        if arguments.home is None:
            parser.error("--control needs --home")
        control = [
            sys.executable,
            "-m",
            _CONTROL_MODULE,
            "--home",
            str(arguments.home),
            "--parent",
            str(os.getpid()),
        ]
        control += ["--address", arguments.control_address] if arguments.control_address else []
        control += ["--allow-open"] if arguments.allow_open else []
    plan = supervisor.Plan(
        run=run,
        http=arguments.http,
        workers=arguments.workers,
        drain_s=arguments.drain,
        worker_command=worker_command,
        caps=usage.caps(memory_bytes),
        hang_s=arguments.hang,
        grpc=arguments.grpc,
        certificate=arguments.tls_cert,
        worker_env=_without_secrets(),
        control_command=control,
        control_socket=None if arguments.home is None else settings.HomePaths(arguments.home).control_socket,
        remove_run=arguments.remove_run,
        ready_fd=arguments.ready_fd,
    )
    try:
        if not 0 <= arguments.drain <= _DRAIN_MOST_S:
            raise UserError(
                "invalid_config",
                f"a drain of {arguments.drain:g} seconds is not possible",
                f"use 0 to {_DRAIN_MOST_S:g}",
            )
        for address in (arguments.http, arguments.grpc, arguments.control_address):
            if address is not None:
                sockets.refuse_open_bind(sockets.parse_address(address)[0], allow_open=arguments.allow_open)
        return supervisor.Supervisor(plan, SystemClock()).run()
    except SeawayError as error:
        return supervisor.refuse(error)


def _without_secrets() -> dict[str, str]:
    """This process's environment for the workers: what models run in must not know where the state is kept."""
    secret = {f"SEAWAY_{name.upper()}" for name in settings.SECRET_KEYS}
    return {name: value for name, value in os.environ.items() if name not in secret}


if __name__ == "__main__":
    sys.exit(main())
