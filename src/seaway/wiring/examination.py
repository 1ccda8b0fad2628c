"""What `seaway doctor` looks at: the machine, the home, the stored bundles and the running server."""

from __future__ import annotations

import errno
import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from typing import Literal

import msgspec

from seaway import settings, sockets
from seaway.bundle import store
from seaway.client import address
from seaway.core.errors import SeawayError, UserError
from seaway.wiring.clock import SystemClock

_EXTRAS = {
    "sklearn": ("sklearn", "skl2onnx", "skops"),
    "parquet": ("pyarrow",),
    "postgres": ("psycopg",),
    "grpc": ("grpc", "google.protobuf"),
}
_LOW_DISK_BYTES = 1 << 30


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at; `fix` says what to do about it."""

    subject: str
    state: Literal["ok", "warning", "broken"]
    text: str
    fix: str | None = None


def examine(configuration: settings.Configuration) -> list[Finding]:
    """All findings, in the order of a walk from the machine to the endpoints. Changes nothing."""
    paths = settings.HomePaths(configuration.home)
    return [
        *_machine(),
        *_home(configuration),
        *_bundles(paths),
        *_server(configuration, paths),
    ]


def _machine() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{sys.version.split()[0]} at {sys.prefix}")
    for package in ("onnxruntime", "numpy"):
        yield Finding(package, "ok", importlib.metadata.version(package))
    for extra, modules in _EXTRAS.items():
        missing = [module for module in modules if not _installed(module)]
        if missing:
            text = f"not installed ({', '.join(missing)}); needed only for what the extra names"
            yield Finding(f"extra {extra}", "ok", text, f"pip install 'seaway[{extra}]'")
        else:
            yield Finding(f"extra {extra}", "ok", "installed")


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it
        return False


def _home(configuration: settings.Configuration) -> Iterator[Finding]:
    home = configuration.home
    if not home.exists():
        yield Finding("home", "ok", f"{home} does not exist yet; the first package makes it")
        return
    if not os.access(home, os.W_OK | os.X_OK):
        yield Finding(
            "home", "broken", f"{home} cannot be written", f"chown or chmod {home}, or choose another --home"
        )
    else:
        yield Finding("home", "ok", str(home))
    free = shutil.disk_usage(home).free
    state: Literal["ok", "warning"] = "ok" if free > _LOW_DISK_BYTES else "warning"
    yield Finding("disk", state, f"{free / 2**30:.1f} GiB free", None if state == "ok" else "free some space")


def _bundles(paths: settings.HomePaths) -> Iterator[Finding]:
    if not paths.models.exists():
        return
    bundles = store.BundleStore(paths.models, paths.opened, SystemClock())
    problems = bundles.verify(None)
    if problems:
        for problem in problems:
            yield Finding(
                "bundles",
                "broken",
                f"{problem.ref}: {problem.message} ({problem.code})",
                "package the version again, or restore it from a copy",
            )
    else:
        count = sum(len(bundles.versions(name)) for name in bundles.models())
        yield Finding("bundles", "ok", f"{count} versions, every byte matches its digest")


def _server(configuration: settings.Configuration, paths: settings.HomePaths) -> Iterator[Finding]:
    try:
        sockets.connect_unix(paths.control_socket, timeout_s=1.0).close()
        yield Finding("server", "ok", f"runs; {address.server_url(configuration)}")
        return
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ECONNREFUSED):
            yield Finding(
                "server", "broken", f"{paths.control_socket}: {error.strerror}", "look at who owns the socket"
            )
            return
    try:
        host, port = sockets.parse_address(configuration.settings.http)
        sockets.refuse_open_bind(host, allow_open=configuration.settings.allow_open)
        sockets.listen_tcp(host, port, count=0)
        yield Finding("server", "ok", f"not running; {configuration.settings.http} is free", "seaway up")
    except UserError as error:
        yield Finding("server", "warning", f"not running, and {error.message}", error.hint)
    except SeawayError as error:
        yield Finding("server", "broken", error.message, error.hint)
