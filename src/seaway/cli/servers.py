"""`seaway up` and `seaway serve`: both become the supervisor process."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cyclopts import Parameter

from seaway import settings, sockets
from seaway.cli import interrupts, output
from seaway.cli.options import COMMON, Common, Flag
from seaway.core.errors import UserError

_EXTRAS: Final = {
    "grpc": ("grpc", "google.protobuf"),
    "otel": ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"),
}
"""The modules that an extra brings."""


def up(
    *,
    http: Annotated[str | None, Parameter(help="HOST:PORT of the endpoints.")] = None,
    grpc: Annotated[
        str | None, Parameter(help="HOST:PORT of the gRPC door; without it there is none.")
    ] = None,
    tls_cert: Annotated[Path | None, Parameter(help="Certificate chain (PEM): serve HTTPS.")] = None,
    tls_key: Annotated[Path | None, Parameter(help="Its private key (PEM).")] = None,
    control: Annotated[str | None, Parameter(help="HOST:PORT of the control API, beside its socket.")] = None,
    workers: Annotated[int | None, Parameter(help="Data workers; one per core is a good number.")] = None,
    allow_open: Annotated[
        bool, Flag, Parameter(help="Allow an address that other machines can reach.")
    ] = False,
    common: Common = COMMON,
) -> int:
    """Start the server and stay; SIGTERM or Ctrl-C drains and stops it."""
    from seaway.control import webhooks

    configuration = common.configuration()
    chosen = configuration.settings
    webhooks.receivers(chosen.webhooks or "")  # refused here, since control would be started again for ever
    paths = settings.HomePaths(configuration.home)
    arguments = _supervisor(
        paths.run,
        http or chosen.http,
        chosen.workers if workers is None else workers,
        allow_open or chosen.allow_open,
        chosen,
    )
    arguments += _doors(chosen, grpc, tls_cert, tls_key)
    arguments += ["--home", str(configuration.home), "--control"]
    control = control or chosen.control
    if control is not None:
        sockets.refuse_open_bind(
            sockets.parse_address(control)[0], allow_open=allow_open or chosen.allow_open
        )
        arguments += ["--control-address", control]
    paths.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    return _become(arguments)


def serve(
    source: Annotated[str, Parameter(help="An ONNX file, a bundle directory, or NAME:v3.")],
    /,
    *,
    name: Annotated[str | None, Parameter(help="The endpoint's name; else made from the source's.")] = None,
    http: Annotated[str | None, Parameter(help="HOST:PORT to listen on.")] = None,
    grpc: Annotated[
        str | None, Parameter(help="HOST:PORT of the gRPC door; without it there is none.")
    ] = None,
    tls_cert: Annotated[Path | None, Parameter(help="Certificate chain (PEM): serve HTTPS.")] = None,
    tls_key: Annotated[Path | None, Parameter(help="Its private key (PEM).")] = None,
    workers: Annotated[int | None, Parameter(help="Data workers; one per core is a good number.")] = None,
    allow_open: Annotated[
        bool, Flag, Parameter(help="Allow an address that other machines can reach.")
    ] = False,
    common: Common = COMMON,
) -> int:
    """Serve one model without a control process; SIGTERM or Ctrl-C drains and stops it."""
    from seaway.wiring import standalone

    configuration = common.configuration()
    chosen = configuration.settings
    arguments = _supervisor(
        Path(),
        http or chosen.http,
        chosen.workers if workers is None else workers,
        allow_open or chosen.allow_open,
        chosen,
    )
    arguments += _doors(chosen, grpc, tls_cert, tls_key)
    run, endpoint = standalone.prepare(configuration, source, name)
    arguments[arguments.index("--run") + 1] = str(run)
    output.note(f"serving [bold]{output.plain(source)}[/] as endpoint [bold]{endpoint}[/]")
    return _become([*arguments, "--remove-run"])


def _supervisor(run: Path, http: str, workers: int, allow_open: bool, chosen: settings.Settings) -> list[str]:
    """The supervisor's arguments, after the refusals that need no process."""
    if workers < 1:
        raise UserError("invalid_config", f"{workers} workers cannot serve", "use 1 or more")
    sockets.refuse_open_bind(sockets.parse_address(http)[0], allow_open=allow_open)
    words = ["--run", str(run), "--http", http, "--workers", str(workers)]
    words += ["--drain", str(chosen.drain_s), "--hang", str(chosen.hang_s)]
    if chosen.worker_memory is not None:
        words += ["--worker-memory", str(settings.size_bytes(chosen.worker_memory))]
    words += ["--recording", msgspec.json.encode(chosen.recording_options).decode()]
    return [*words, "--allow-open"] if allow_open else words


def _doors(chosen: settings.Settings, grpc: str | None, cert: Path | None, key: Path | None) -> list[str]:
    """The supervisor's arguments for the doors beside plain HTTP; those given win over the settings."""
    grpc = grpc or chosen.grpc
    # All that a worker would refuse as it starts is refused here, since it would be started again for ever.
    if grpc is not None:
        _refuse_missing("grpc", f"the gRPC door ({grpc})")
    if chosen.otlp is not None:
        _refuse_missing("otel", "sending traces (the setting otlp)")
    words = [] if grpc is None else ["--grpc", grpc]
    if cert is None and key is None:
        cert = None if chosen.tls_cert is None else Path(chosen.tls_cert)
        key = None if chosen.tls_key is None else Path(chosen.tls_key)
    for option, file in (("--tls-cert", cert), ("--tls-key", key)):
        if file is None:
            continue
        if not file.is_file():
            raise UserError("file_not_found", f"{option} names {file}, which is no file", "name a PEM file")
        words += [option, str(file.absolute())]
    if (cert is None) != (key is None):
        raise UserError(
            "invalid_config", "TLS takes a certificate and its key", "--tls-cert FILE --tls-key FILE"
        )
    if cert is not None and key is not None:
        from seaway.transport import tls

        tls.Certificates(cert, key, lambda _: None)
    return words


def _refuse_missing(extra: str, what: str) -> None:
    """Raises `UserError("missing_extra")` where a module of the extra is not installed; imports none of them."""
    for module in _EXTRAS[extra]:
        if not _installed(module):
            raise UserError(
                "missing_extra",
                f"{what} needs {module}, which is not installed",
                f"pip install 'seaway[{extra}]'",
            )


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that holds it
        return False


def _become(arguments: list[str]) -> int:
    """Replace this process, so that what the command line imported takes no memory while the server runs."""
    sys.stdout.flush()
    sys.stderr.flush()
    interrupts.raise_waiting()
    os.execv(sys.executable, [sys.executable, "-m", "seaway.wiring.supervisor", *arguments])
