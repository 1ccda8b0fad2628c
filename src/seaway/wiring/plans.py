"""`deploy --plan`: what users will notice, whether the gate would let it through, and what would be done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from seaway.control import changes as deploys
from seaway.control import views
from seaway.control.rollouts import planning, sample_sizes
from seaway.control.rollouts.planning import RolloutPlan
from seaway.control.rollouts.sample_sizes import PastLabels
from seaway.core.bundles import ModelRef, Version
from seaway.core.checks import GateReport, Verdict
from seaway.core.deployments import Deployment, deployment_of, unavailable
from seaway.core.errors import SeawayError, UserError
from seaway.core.ledger import Counts, merge_counts
from seaway.core.rollouts.spec import CheckName, Rollout
from seaway.monitor.recording import seconds
from seaway.validate import plan as changes
from seaway.validate.plan import ChangeReport
from seaway.wiring import control_access, gates
from seaway.wiring.home import Home
from seaway.wiring.record_checks import RecordChecks

_HOUR_S: Final = 3600.0


class Plan(msgspec.Struct, frozen=True):
    """A deploy that was not done. `change` is None for an endpoint's first version, `rollout` where it would be live at once."""

    endpoint: str
    new_ref: str
    new_digest: str
    change: ChangeReport | None
    gate: GateReport
    refused: bool
    steps: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    rollout: RolloutPlan | None = None


def make(home: Home, endpoint: str, request: views.DeployRequest, progress: Callable[[str], None]) -> Plan:
    """Look at everything that the deploy would look at, and change nothing but the kept gate report. Blocking.

    Raises what the deploy would: `UserError` (`not_available`, `invalid_spec`, `missing_extra` and those of the store).
    """
    if request.spec is not None and (missing := unavailable(request.spec)):
        raise UserError(
            "not_available", f"not built yet: {'; '.join(missing)}", "leave these out of the endpoint file"
        )
    text = request.bundle or (request.spec.serve.bundle if request.spec else None) or ""
    new = home.bundles.resolve(ModelRef.parse(text))
    status = control_access.endpoint_status(home, endpoint)
    old = control_access.live_of(home, status)
    spec = _spec(endpoint, request, status, text)
    warnings = RecordChecks(home.bundles)(spec, new, old if request.force is None else None)
    report = gates.current_report(home, new, old, progress)
    change = None
    if old is not None and old.digest != new.digest:
        progress(f"comparing {old.ref} and {new.ref}")
        change = changes.plan_change(home.bundles.open(old), home.bundles.open(new), home.runtime, home.clock)
    refused = report.verdict in (Verdict.FAILED, Verdict.ERRORED) and not request.override
    rollout = None
    wished = next((r for r in status.revisions if r.number == status.desired), None) if status else None
    nothing = wished is not None and deploys.same(wished, spec, new)
    if old is not None and not (refused or nothing) and request.force is None and spec.rollout.gradual:
        now_s = home.clock.now_s()
        known = _labels(home, status, spec.rollout, now_s)
        rollout = planning.plan(spec.rollout, *_last_hour(home, status, now_s), now_s, known)
        warnings += rollout.warnings
    if not (refused or nothing):
        warnings += tuple(_superseded(status))
    return Plan(
        endpoint=endpoint,
        new_ref=str(new.ref),
        new_digest=new.digest,
        change=change,
        gate=report,
        refused=refused,
        steps=_steps(endpoint, status, old, new, report, refused, nothing, rollout),
        warnings=warnings,
        rollout=rollout,
    )


def _superseded(status: views.EndpointStatus | None) -> Iterator[str]:
    """What the deploy would end."""
    rollout = None if status is None else status.rollout
    if rollout is not None and rollout.judged:
        yield f"the rollout of revision {rollout.candidate} is not over: this deploy would supersede it"


def _last_hour(home: Home, status: views.EndpointStatus | None, now_s: float) -> tuple[Counts, float]:
    """What the live revision answered in the last hour, and over how many seconds: since its first request in it."""
    if status is None or status.live is None:
        return Counts(), _HOUR_S
    pages = seconds.read(home.paths.records, status.endpoint, now_s - _HOUR_S, now_s)
    found = [second for page in pages if page.revision == status.live for second in page.seconds]
    if not found:
        return Counts(), _HOUR_S
    first_s = min(second.at_s for second in found)
    return merge_counts(second.counts for second in found), max(1.0, now_s - first_s)


def _labels(
    home: Home, status: views.EndpointStatus | None, rollout: Rollout, now_s: float
) -> dict[CheckName, PastLabels]:
    """What is known of the live revision's labels; nothing where they cannot be read now, which the plan must not fail for."""
    if status is None or status.live is None:
        return {}
    try:
        return sample_sizes.past(home.paths.records, status.endpoint, status.live, now_s, rollout.all_checks)
    except SeawayError:
        return {}


def _spec(
    endpoint: str, request: views.DeployRequest, status: views.EndpointStatus | None, bundle: str
) -> Deployment:
    """What would be deployed: the file, or what is wished for now with another bundle."""
    if request.spec is not None:
        return request.spec
    wished = next((r.spec for r in status.revisions if r.number == status.desired), None) if status else None
    return deployment_of(endpoint, bundle) if wished is None else wished


def _steps(
    endpoint: str,
    status: views.EndpointStatus | None,
    old: Version | None,
    new: Version,
    report: GateReport,
    refused: bool,
    nothing: bool,
    rollout: RolloutPlan | None,
) -> tuple[str, ...]:
    if refused:
        names = ", ".join(report.failed_checks)
        return (
            f"nothing: the gate refuses {new.ref} ({names}); --override 'REASON' would pass over it, on record",
        )
    if nothing:
        return (f"nothing: {new.ref} is live already",)
    number = 1 + max((r.number for r in status.revisions), default=0) if status else 1
    steps = [
        f"record revision {number} of {endpoint}: {new.ref} ({new.digest[:19]}…)",
        "verify its bytes, load it beside what is live in every worker, and pass a real prediction in each",
    ]
    if rollout is not None:
        return (*steps, "give it more and more of the traffic, as the rollout below says")
    steps.append("swap the routing table: new requests go to it, those in flight finish where they are")
    if old is not None:
        steps.append(
            f"keep {old.ref} warm for the bake time, so that `seaway rollback {endpoint}` is immediate; then retire it"
        )
    return tuple(steps)
