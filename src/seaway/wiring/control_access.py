"""How verbs reach the control plane: through its socket while `up` runs, else the same use cases in this process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

import msgspec

from seaway import sockets
from seaway.client.control import ControlClient
from seaway.control import endpoint_file, supervisor, views
from seaway.control.rollouts import shares
from seaway.control.rollouts import views as rollouts
from seaway.core.bundles import ModelRef, Version
from seaway.core.deployments import Deployment
from seaway.core.errors import SeawayError, TemporaryError, UserError
from seaway.core.events import Event, LiveAt
from seaway.core.feedback import FeedbackAnswer
from seaway.core.provenance import Explained
from seaway.core.quality import Quality
from seaway.wiring.home import Home

# A control process that is starting holds the lock before its socket answers; a verb before us, for moments.
_WAIT_S: Final = 15.0
_LOCK_WAIT_S: Final = 0.1


class Control(Protocol):
    """The use cases as a verb calls them; who acts is found out on the other side."""

    @property
    def running(self) -> bool:
        """Whether a server runs, so that a change takes effect now."""

    def deploy(self, endpoint: str, request: views.DeployRequest) -> views.Accepted: ...
    def rollback(self, endpoint: str, to: int | None = None, reason: str | None = None) -> views.Accepted: ...
    def delete(self, endpoint: str) -> views.Accepted: ...
    def move(self, endpoint: str, move: rollouts.Move) -> views.Accepted: ...
    def rollout(self, endpoint: str) -> rollouts.RolloutStatus: ...
    def rollout_record(self, endpoint: str, number: int) -> rollouts.RolloutRecord: ...
    def status(self) -> views.Status: ...
    def history(self, endpoint: str | None = None) -> tuple[Event, ...]: ...
    def live_at(self, at: str, endpoint: str | None = None) -> tuple[LiveAt, ...]: ...
    def seconds(self, endpoint: str, after_s: int = 0) -> views.Seconds: ...
    def feedback(self, body: bytes, content_type: str) -> FeedbackAnswer: ...
    def quality(self, endpoint: str, asked: Mapping[str, str]) -> Quality: ...
    def erase(self, request: views.EraseRequest) -> views.Erased: ...
    def follow(self, after: int, beat: Callable[[], None] | None = None) -> Iterator[Event]: ...


@contextlib.contextmanager
def open_control(home: Home) -> Iterator[Control]:
    """The control plane of a home, whichever way opens first: a server that is starting, or another verb, is waited for.

    Raises `UserError("already_running")` where a process keeps the home and its socket does not answer,
    `TemporaryError("control_unavailable")` where a server runs whose socket was removed.
    """
    deadline_s = home.clock.monotonic_s() + _WAIT_S
    with contextlib.ExitStack() as held:
        yield _open(home, held, deadline_s)


def _open(home: Home, held: contextlib.ExitStack, deadline_s: float) -> Control:
    while True:
        if _answers(home.paths.control_socket):
            return ControlClient(home.paths.control_socket)
        from seaway.wiring import local_control  # noqa: PLC0415 - the state store is imported only where no server runs

        try:
            return held.enter_context(local_control.open_local(home, _LOCK_WAIT_S))
        except UserError as error:
            if error.code != "already_running":
                raise
            over = home.clock.monotonic_s() >= deadline_s
            lost = _lost_socket(home, _WAIT_S if not over else 0.0)
            if lost is not None:
                raise lost from error
            if over:
                raise


def _lost_socket(home: Home, patience_s: float) -> TemporaryError | None:
    """What to say where the home's control process has run for longer than `patience_s` and its socket is not there."""
    if home.paths.control_socket.exists():
        return None
    try:
        record = msgspec.json.decode(
            (home.paths.run / supervisor.RECORD).read_bytes(), type=supervisor.Record
        )
        holder = home.paths.lock.read_text("utf-8").strip()
    except (OSError, ValueError):  # no server, or one that is just starting
        return None
    if record.control is None or holder != str(record.control):
        return None
    if home.clock.now_s() - record.started_at_s < patience_s:
        return None
    return TemporaryError(
        "control_unavailable",
        f"the server runs (process {record.pid}), but its control socket {home.paths.control_socket} is gone",
        f"restart its control process: kill {record.control} (it is started again; the endpoints go on)",
    )


def _answers(socket: Path) -> bool:
    try:
        sockets.connect_unix(socket, timeout_s=2.0).close()
    except OSError:
        return False
    return True


def read_endpoint_file(path: Path) -> Deployment:
    """The Deployment that a file describes. Raises `UserError` (`file_not_found`, `invalid_spec` with line and column)."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError("file_not_found", f"{path} cannot be read: {error.strerror}") from error
    return endpoint_file.parse(data, str(path))


def endpoint_status(home: Home, endpoint: str) -> views.EndpointStatus | None:
    """An endpoint's status; None where it does not exist."""
    if not _has_state(home):
        return None
    with open_control(home) as control:
        return next((e for e in control.status().endpoints if e.endpoint == endpoint), None)


def rollout_record(home: Home, endpoint: str, number: int) -> rollouts.RolloutRecord:
    """What is kept of a rollout. Raises `UserError` (`endpoint_not_found`, `revision_not_found`, `rollout_not_found`)."""
    if not _has_state(home):
        raise UserError("endpoint_not_found", f"there is no endpoint {endpoint!r}", "this home has none yet")
    with open_control(home) as control:
        return control.rollout_record(endpoint, number)


def with_rollouts(home: Home, found: Explained) -> Explained:
    """Explained requests with the rollouts that sent them to their revisions; as they are where no control plane answers."""
    if not (shares.wanted(found) and _has_state(home)):
        return found
    try:
        with open_control(home) as control:
            return shares.with_rollouts(
                found,
                control.history,
                lambda endpoint, number: control.rollout_record(endpoint, number).spec,
            )
    except SeawayError:
        return found  # what is kept of the request itself stands


def _has_state(home: Home) -> bool:
    """Whether anything was ever deployed here, as far as can be told without making the store."""
    given = home.configuration.settings.store is not None
    return given or home.paths.control_socket.exists() or home.paths.state.exists()


def live_of(home: Home, status: views.EndpointStatus | None) -> Version | None:
    """The version that is live on an endpoint, where it is still in the bundle store."""
    live = None if status is None else status.live_revision
    if live is None:
        return None
    try:
        return home.bundles.resolve(ModelRef(name=ModelRef.parse(live.ref).name, digest=live.digest))
    except UserError:
        return None


def live_version(home: Home, endpoint: str) -> Version | None:
    """What is live on the endpoint of this name; None where nothing is."""
    return live_of(home, endpoint_status(home, endpoint))
