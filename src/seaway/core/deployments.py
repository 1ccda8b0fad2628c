"""Deployments as users write them (endpoint.yaml, version 1), their numbered Revisions, and what is live of them.

`control` reads and stores these values, `core.reconciliation` decides with them. Durations, sizes and percents stay
as they were written, so that a stored Deployment reads like its file; the properties give them with their units.
"""

from __future__ import annotations

import enum
from typing import Annotated, Literal

import msgspec

from seaway.core.bundles import Digest, ModelRef, parse_name
from seaway.core.checks import Verdict
from seaway.core.errors import SeawayError
from seaway.core.records import RecordRules
from seaway.core.rollouts.spec import Rollout
from seaway.core.rollouts.state import RolloutState
from seaway.core.sections import (
    Count,
    Duration,
    HeaderName,
    Percent,
    Section,
    Size,
    Wait,
    percent,
    seconds,
    size_bytes,
)
from seaway.core.traffic import Limits


class Replicas(Section, frozen=True):
    """How many replicas; min 0 sleeps when idle."""

    min: Count = 1
    max: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1

    def __post_init__(self) -> None:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is more than max {self.max}")


class Backend(Section, frozen=True):
    """What stands behind the endpoint: exactly one of bundle, engine, provider and graph."""

    bundle: str | None = None
    engine: str | dict[str, object] | None = None
    provider: str | dict[str, object] | None = None
    graph: str | dict[str, object] | None = None
    variant: str = "auto"
    replicas: Replicas = Replicas()
    isolation: Literal["shared", "process"] = "shared"

    def __post_init__(self) -> None:
        kinds = [
            kind for kind in ("bundle", "engine", "provider", "graph") if getattr(self, kind) is not None
        ]
        if len(kinds) != 1:
            found = " and ".join(kinds) if kinds else "none"
            raise ValueError(f"exactly one of bundle, engine, provider and graph is needed, found {found}")
        if self.bundle is not None:
            try:
                ModelRef.parse(self.bundle)
            except SeawayError as error:
                raise ValueError(f"{error.message} ({error.hint})") from error
        if self.variant != "auto":
            _name(self.variant)


class Batching(Section, frozen=True):
    """How requests are joined."""

    max_rows: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 64
    wait: Wait = "auto"


class LimitsSection(Section, frozen=True):
    """What one request, and the queue of all, may take."""

    deadline: Duration = "1s"
    queue: Duration = "2s"
    body: Size = "16MiB"

    def __post_init__(self) -> None:
        if seconds(self.deadline) <= 0 or size_bytes(self.body) <= 0:
            raise ValueError("deadline and body must be more than 0")

    @property
    def parsed(self) -> Limits:
        return Limits(
            deadline_s=seconds(self.deadline), queue_s=seconds(self.queue), body_bytes=size_bytes(self.body)
        )


class Slo(Section, frozen=True):
    """What the endpoint promises: `seaway monitoring` makes alert rules of it. Rollouts are judged by their checks, not by it."""

    p99: Duration | None = None
    errors: Percent | None = None


class Subject(Section, frozen=True):
    """The header that says whose data a request is."""

    header: HeaderName


ColumnName = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class RecordSection(Section, frozen=True):
    """What is kept of requests beyond counts and summaries.

    `capture` is the share whose payloads are kept, for `retain`, without what `redact` names; `subject` makes a person's
    data erasable; `slices` are input columns by whose values live quality is told apart.
    """

    capture: Percent = "0%"
    redact: Annotated[tuple[ColumnName, ...], msgspec.Meta(max_length=1000)] = ()
    retain: Duration = "30d"
    subject: Subject | None = None
    slices: Annotated[tuple[ColumnName, ...], msgspec.Meta(max_length=4)] = ()

    def __post_init__(self) -> None:
        if seconds(self.retain) <= 0:
            raise ValueError("retain must be more than 0")

    @property
    def rules(self) -> RecordRules:
        """What the workers are told of it."""
        return RecordRules(
            capture_percent=percent(self.capture),
            redact=self.redact,
            retain_s=seconds(self.retain),
            subject=None if self.subject is None else self.subject.header.lower(),
            slices=self.slices,
        )


class Target(Section, frozen=True):
    """Where replicas run."""

    kind: Literal["local", "container", "kubernetes", "ray", "sagemaker", "vertex", "azure", "edge"] = "local"


PolicyName = Literal["keys", "rate_limit", "budget", "cache", "redact", "guard"]


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A policy with its options."""

    policy: PolicyName
    options: dict[str, object] = {}


class Deployment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The desired state of an endpoint, as endpoint.yaml version 1 writes it."""

    version: Literal[1]
    endpoint: str
    serve: Backend
    project: str = "default"
    batching: Batching = Batching()
    limits: LimitsSection = LimitsSection()
    slo: Slo = Slo()
    fallback: tuple[Backend, ...] = ()
    policies: tuple[PolicyName | Policy, ...] = ()
    rollout: Rollout = Rollout()
    record: RecordSection = RecordSection()
    monitors: tuple[Literal["data", "drift", "estimated_quality"], ...] = ()
    target: Target = Target()
    labels: Annotated[dict[str, str], msgspec.Meta(max_length=64)] = {}

    def __post_init__(self) -> None:
        _name(self.endpoint)
        _name(self.project)

    @property
    def parsed_limits(self) -> Limits:
        """The limits of requests, queue and batches, in their units."""
        wait_s = None if self.batching.wait == "auto" else seconds(self.batching.wait)
        return msgspec.structs.replace(self.limits.parsed, max_rows=self.batching.max_rows, wait_s=wait_s)


def _name(text: str) -> None:
    """Raises `ValueError`, which msgspec turns into an error that names the place."""
    try:
        parse_name(text)
    except SeawayError as error:
        raise ValueError(f"{error.message} ({error.hint})") from error


def deployment_of(endpoint: str, ref: str) -> Deployment:
    """The Deployment that `seaway deploy NAME:vN --endpoint E` means. Raises `ValueError`."""
    return Deployment(version=1, endpoint=endpoint, serve=Backend(bundle=ref))


def unavailable(spec: Deployment) -> tuple[str, ...]:
    """The settings of `spec` that parse but are not built yet, each as `path: what it says`; empty if all are."""
    serve = spec.serve
    asked: list[tuple[str, object, bool]] = [
        ("project", spec.project, spec.project != "default"),
        ("serve.engine", serve.engine, serve.engine is not None),
        ("serve.provider", serve.provider, serve.provider is not None),
        ("serve.graph", serve.graph, serve.graph is not None),
        ("serve.variant", serve.variant, serve.variant not in ("original", "auto")),
        ("serve.replicas.min", serve.replicas.min, serve.replicas.min != 1),
        ("serve.replicas.max", serve.replicas.max, serve.replicas.max != 1),
        ("fallback", len(spec.fallback), bool(spec.fallback)),
        ("policies", len(spec.policies), bool(spec.policies)),
        ("monitors", ", ".join(spec.monitors), bool(spec.monitors)),
        ("target.kind", spec.target.kind, spec.target.kind != "local"),
    ]
    return tuple(f"{path}: {_shown(value)}" for path, value, differs in asked if differs)


def _shown(value: object) -> str:
    return (
        msgspec.json.encode(value).decode()
        if isinstance(value, msgspec.Struct | tuple | dict)
        else str(value)
    )


class Revision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An immutable, numbered snapshot of a Deployment, with what was known when it was accepted.

    `ref` is NAME:vN for people, `override` the reason given for passing over a failed gate; `created_at` is UTC,
    ISO 8601. `gate` is None where no gate was run.
    """

    endpoint: str
    number: int
    digest: Digest
    ref: str
    spec: Deployment
    created_at: str
    created_by: str
    gate: Verdict | None = None
    failed_checks: tuple[str, ...] = ()
    override: str | None = None


class Phase(enum.StrEnum):
    """Where an endpoint is on the way to its desired state."""

    PROGRESSING = "progressing"
    LIVE = "live"
    FAILED = "failed"
    DELETING = "deleting"
    DELETED = "deleted"


class DeploymentState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is stored of an endpoint beside its revisions; changed only by compare-and-set on `generation`.

    `desired`, `live` and `previous` are revision numbers, `last` the highest one ever given. `previous` was live
    before and stays loaded until `warm_until_s` (seconds since 1970). `rollback` is the fact that a rollback
    was begun; only a later deploy clears it. `proven` are the revisions that have been live and did not fail in their
    bake, which a rollback may choose from; `failed` and `reason` tell of the last revision that could not be prepared, or failed its rollout. `rollout`
    is the last one, also after its end.
    """

    endpoint: str
    generation: int
    phase: Phase
    desired: int | None = None
    live: int | None = None
    previous: int | None = None
    last: int = 0
    warm_until_s: float | None = None
    rollback: bool = False
    proven: tuple[int, ...] = ()
    failed: int | None = None
    reason: str | None = None
    rollout: RolloutState | None = None

    @property
    def open_rollout(self) -> RolloutState | None:
        """The rollout whose shares can still change."""
        return self.rollout if self.rollout is not None and self.rollout.open else None

    @property
    def judged_rollout(self) -> RolloutState | None:
        """The rollout that is not over, the bake included."""
        return self.rollout if self.rollout is not None and self.rollout.judged else None
