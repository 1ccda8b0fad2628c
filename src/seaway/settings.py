"""The settings of one process: read once from HOME/config.toml and the environment, frozen, each with its origin."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from seaway.core.errors import UserError

SECRET_KEYS: Final = frozenset({"store", "webhooks", "webhook_secret"})
_SIZE: Final = re.compile(r"^([1-9][0-9]{0,14})(KiB|MiB|GiB|TiB|)$")
_UNITS: Final = {"": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}


class RecordingOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a worker keeps of requests; handed from process to process as JSON. The fields are those of Settings."""

    recording: bool = True
    log_requests: Literal["off", "failures", "sample", "all"] = "failures"
    otlp: str | None = None
    trace_sample: float = 0.01


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can be set for a home. Unset means the default shown here."""

    http: str = "127.0.0.1:8080"
    """HOST:PORT of the data plane."""
    grpc: str | None = None
    """HOST:PORT of the gRPC door; None means none."""
    tls_cert: str | None = None
    """File of the certificate chain (PEM) that the data plane shows; None means plain HTTP."""
    tls_key: str | None = None
    """File of its private key (PEM)."""
    control: str | None = None
    """HOST:PORT of the control API on TCP, beside its socket; None means the socket alone."""
    workers: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 1
    """Data workers."""
    store: str | None = None
    """SQLAlchemy URL of the state store; None means SQLite in the home."""
    allow_open: bool = False
    """Whether addresses beyond loopback may be bound without authentication."""
    drain_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 20.0
    """How long a stopping worker waits for requests in flight."""
    worker_memory: Annotated[str, msgspec.Meta(pattern=_SIZE.pattern)] | None = None
    """Resident memory beyond which a worker is replaced by a fresh one, such as 2GiB; None means an equal share of 80 %
    of what the machine (or the cgroup) has."""
    hang_s: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 5.0
    """How long a worker may be silent before it is killed and restarted."""

    recording: bool = True
    """Whether summaries, provenance and captures of requests are kept; counts and metrics always are."""
    log_requests: Literal["off", "failures", "sample", "all"] = "failures"
    """Which requests get a line in HOME/log: those that failed, also a sample of the others, or all."""
    otlp: Annotated[str, msgspec.Meta(pattern=r"^https?://")] | None = None
    """Base URL of an OTLP receiver (HTTP) that traces are sent to; None means no tracing."""
    trace_sample: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.01
    """Share of the requests without a `traceparent` that are traced; the others follow their caller."""
    webhooks: Annotated[str, msgspec.Meta(pattern=r"^https?://")] | None = None
    """URLs, with commas between them, that events of deploys and rollouts are posted to. Secret: a URL may hold a token."""
    webhook_secret: Annotated[str, msgspec.Meta(min_length=16)] | None = None
    """What the posted events are signed with; None means that they are not."""

    @property
    def recording_options(self) -> RecordingOptions:
        """What the workers are told of it."""
        return RecordingOptions(self.recording, self.log_requests, self.otlp, self.trace_sample)


class Configuration(msgspec.Struct, frozen=True):
    """The settings of a home, and where each value came from: `default`, a file's path, an environment variable."""

    home: Path
    settings: Settings
    origins: dict[str, str]


def load(home: str | Path | None = None, environ: Mapping[str, str] | None = None) -> Configuration:
    """Read the settings of `home` (else `SEAWAY_HOME`, else `~/.seaway`).

    A `SEAWAY_<NAME>` variable wins over `HOME/config.toml`, which wins over the default; an empty one is not set.
    Raises `UserError("invalid_config")` for an unknown key or a malformed value, naming its origin.
    """
    env = os.environ if environ is None else environ
    chosen = Path(home or env.get("SEAWAY_HOME") or "~/.seaway").expanduser().absolute()
    values: dict[str, object] = {}
    origins = dict.fromkeys(Settings.__struct_fields__, "default")
    path = chosen / "config.toml"
    for key, value in _read_file(path).items():
        values[key], origins[key] = value, str(path)
    for name in Settings.__struct_fields__:
        variable = f"SEAWAY_{name.upper()}"
        if env.get(variable):
            values[name], origins[name] = env[variable], variable
    for name, value in values.items():
        try:  # one at a time, so that the error can name the origin
            msgspec.convert({name: value}, Settings, strict=origins[name] == str(path))
        except msgspec.ValidationError as error:
            shown = "a secret" if name in SECRET_KEYS else repr(value)
            raise UserError("invalid_config", f"{name} = {shown} from {origins[name]}: {error}") from error
    return Configuration(chosen, msgspec.convert(values, Settings, strict=False), origins)


def size_bytes(text: str) -> int:
    """A size such as 2GiB, or a plain number of bytes. Raises `UserError("invalid_config")`."""
    match = _SIZE.match(text)
    if match is None:
        raise UserError("invalid_config", f"{text!r} is not a size", "such as 512MiB or 2GiB")
    return int(match.group(1)) << _UNITS[match.group(2)]


def _read_file(path: Path) -> dict[str, object]:
    if not path.exists():
        return {}
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UserError("invalid_config", f"{path} cannot be read: {error}") from error
    unknown = sorted(set(found) - set(Settings.__struct_fields__))
    if unknown:
        raise UserError(
            "invalid_config", f"{path} has unknown keys {unknown}", f"known: {Settings.__struct_fields__}"
        )
    if SECRET_KEYS & set(found) and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        raise UserError(
            "invalid_config", f"{path} holds a secret and others can read it", f"chmod 600 {path}"
        )
    return found


class HomePaths(msgspec.Struct, frozen=True):
    """Where things lie in a home."""

    home: Path

    @property
    def models(self) -> Path:
        """One OCI image layout per model."""
        return self.home / "models"

    @property
    def opened(self) -> Path:
        """Bundles laid out as files, by digest; can be made again from `models`."""
        return self.home / "cache" / "bundles"

    @property
    def cache(self) -> Path:
        return self.home / "cache"

    @property
    def state(self) -> Path:
        """The SQLite state store."""
        return self.home / "state.db"

    @property
    def lock(self) -> Path:
        """Held by the one process that opens the state store."""
        return self.home / "lock"

    @property
    def records(self) -> Path:
        """What is kept of answered requests, by endpoint (mode 0700)."""
        return self.home / "records"

    @property
    def rollouts(self) -> Path:
        """What was seen of rollouts, by endpoint (mode 0700)."""
        return self.home / "rollouts"

    @property
    def webhooks(self) -> Path:
        """How far each receiver of events came (mode 0700)."""
        return self.home / "webhooks"

    @property
    def log(self) -> Path:
        """Logs of requests (mode 0700)."""
        return self.home / "log"

    @property
    def run(self) -> Path:
        """Sockets, the routing table and process records of the running server (mode 0700)."""
        return self.home / "run"

    @property
    def table(self) -> Path:
        """The routing table that workers start with."""
        return self.run / "table.json"

    @property
    def control_socket(self) -> Path:
        return self.home / "control.sock"

    @property
    def token(self) -> Path:
        return self.home / "token"


def flag(variable: str) -> bool:
    """Whether an environment variable is set to something true; for switches that belong to no home."""
    return os.environ.get(variable, "").lower() in ("1", "true", "yes")


def environment_without_pip_configuration() -> dict[str, str]:
    """This process's environment, but pip sees none of the machine's indexes and link directories."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS")}
    return {**kept, "PIP_CONFIG_FILE": os.devnull}
