"""What the control plane answers: the values of its API, used by the use cases, the API and its clients."""

from __future__ import annotations

import msgspec

from seaway.control.rollouts.views import Reason, RolloutStatus
from seaway.core.answers import AnswerKind
from seaway.core.deployments import Deployment, Phase, Revision
from seaway.core.ledger import Page
from seaway.core.rollouts.state import RolloutState
from seaway.wire.worker_admin import LoadedRevision


class DeployRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a deploy: a whole `spec`, or a version alone, which keeps the endpoint's other settings.

    `override` is the reason for deploying although the gate failed; `force` the one for replacing a stable revision that
    is broken itself, so that there is nothing to compare with: all traffic at once.
    """

    spec: Deployment | None = None
    bundle: str | None = None
    override: str | None = None
    force: str | None = None


class RollbackRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a rollback; without `to` it goes to the newest earlier revision that was live."""

    to: int | None = None
    reason: Reason | None = None


class Superseded(msgspec.Struct, frozen=True):
    """A rollout that was not over: its candidate, and the share (percent) that it had until now."""

    revision: int
    percent: float


class Accepted(msgspec.Struct, frozen=True):
    """What a change of an endpoint was answered.

    `changed` is False where nothing had to be done. `after` is the number of the last event before the change takes
    effect: `GET /events?after=` it to follow. `deferred` says that no server runs, so it takes effect when one does.
    `superseded` is the rollout that a deploy has put an end to.
    """

    endpoint: str
    revision: int | None
    digest: str | None
    ref: str | None
    generation: int
    changed: bool
    after: int
    message: str
    warnings: tuple[str, ...] = ()
    deferred: bool = False
    superseded: Superseded | None = None


class WorkerStatus(msgspec.Struct, frozen=True):
    """A data worker as it was last seen, within a second; `failing` names the revisions that it cannot load, and why.

    `recorder_rate` is the share of the requests that summaries, provenance and logs are drawn from; `recorder_faults` name
    what cannot be kept of them now, and why. Counts are exact at any rate.
    """

    slot: int
    pid: int
    ready: bool
    draining: bool
    generation: int
    rss_bytes: int
    failing: tuple[str, ...] = ()
    loaded: tuple[LoadedRevision, ...] = ()
    recorder_rate: float = 1.0
    recorder_faults: tuple[str, ...] = ()


class EndpointStatus(msgspec.Struct, frozen=True):
    """An endpoint: numbers as in DeploymentState, and the revisions that they mean; `rollout` is the last one.

    `opening` names the versions whose bundles are being opened: none of them can be loaded before that.
    """

    endpoint: str
    phase: Phase
    generation: int
    desired: int | None
    live: int | None
    previous: int | None
    rollback: bool
    warm_until: str | None
    failed: int | None
    reason: str | None
    revisions: tuple[Revision, ...]
    rollout: RolloutState | None = None
    opening: tuple[str, ...] = ()

    @property
    def live_revision(self) -> Revision | None:
        return next((r for r in self.revisions if r.number == self.live), None)


class WebhookStatus(msgspec.Struct, frozen=True):
    """A receiver of events, by `name` (its host: the rest of a URL may be a secret).

    `delivered` is the number of the last event that it took, `waiting` how many it had yet to take when it was last tried
    (at most 1,000 are counted). `failing_since_s` and `fault` say since when it takes none, and why.
    """

    name: str
    delivered: int
    waiting: int = 0
    failing_since_s: float | None = None
    fault: str | None = None


class Status(msgspec.Struct, frozen=True):
    """All endpoints, the workers that answer, and the receivers of events."""

    endpoints: tuple[EndpointStatus, ...]
    workers: tuple[WorkerStatus, ...]
    webhooks: tuple[WebhookStatus, ...] = ()


class EraseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose data go: the value of the subject's header, of one endpoint or (where omitted) of all."""

    subject: str
    endpoint: str | None = None


class Erased(msgspec.Struct, frozen=True):
    """What went: captured requests and their rows; of the same requests those that `explain` knew, facts of feedback, log lines.

    `pending` counts open files of workers that may still hold some; the server erases those once they are closed.
    `damaged` are segments that could not be looked at.
    """

    requests: int
    rows: int
    request_ids: tuple[str, ...]
    explained: int
    outcomes: int
    log_lines: int
    pending: int
    damaged: tuple[str, ...]


class MissingWorker(msgspec.Struct, frozen=True):
    """A worker that gave no answer, and why: what it counted is not in what was added up."""

    slot: int
    why: str


class Seconds(msgspec.Struct, frozen=True):
    """What an endpoint's workers answered, second by second, and how they run it now.

    `pages` hold the seconds after the one asked for, up to `through_s`: the newest second (since 1970) that is wholly
    counted. `workers` name only this endpoint's revisions; `answers` says of a revision whether its answers are classes
    or numbers, where its bundle is at hand. `rollout` is the last one.
    """

    endpoint: EndpointStatus
    now_s: float
    through_s: int
    pages: tuple[Page, ...]
    workers: tuple[WorkerStatus, ...]
    missing: tuple[MissingWorker, ...] = ()
    answers: dict[int, AnswerKind] = {}
    rollout: RolloutStatus | None = None
