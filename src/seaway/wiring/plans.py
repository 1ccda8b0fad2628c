"""`deploy --plan`: what users will notice, whether the gate would let it through, and what would be done."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from seaway.control import views
from seaway.core.bundles import ModelRef, Version
from seaway.core.checks import GateReport, Verdict
from seaway.core.deployments import Deployment, deployment_of, unavailable
from seaway.core.errors import UserError
from seaway.validate import plan as changes
from seaway.validate.plan import ChangeReport
from seaway.wiring import control_access, gates
from seaway.wiring.home import Home
from seaway.wiring.record_checks import RecordChecks


class Plan(msgspec.Struct, frozen=True):
    """A deploy that was not done. `change` is None for an endpoint's first version."""

    endpoint: str
    new_ref: str
    new_digest: str
    change: ChangeReport | None
    gate: GateReport
    refused: bool
    steps: tuple[str, ...]
    warnings: tuple[str, ...] = ()


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
    warnings = RecordChecks(home.bundles)(_spec(endpoint, request, status, text), new)
    report = gates.current_report(home, new, old, progress)
    change = None
    if old is not None and old.digest != new.digest:
        progress(f"comparing {old.ref} and {new.ref}")
        change = changes.plan_change(home.bundles.open(old), home.bundles.open(new), home.runtime, home.clock)
    refused = report.verdict in (Verdict.FAILED, Verdict.ERRORED) and not request.override
    return Plan(
        endpoint=endpoint,
        new_ref=str(new.ref),
        new_digest=new.digest,
        change=change,
        gate=report,
        refused=refused,
        steps=_steps(endpoint, status, old, new, report, refused),
        warnings=warnings,
    )


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
) -> tuple[str, ...]:
    if refused:
        names = ", ".join(report.failed_checks)
        return (
            f"nothing: the gate refuses {new.ref} ({names}); --override 'REASON' would pass over it, on record",
        )
    if old is not None and old.digest == new.digest:
        return (f"nothing: {new.ref} is live already",)
    number = 1 + max((r.number for r in status.revisions), default=0) if status else 1
    steps = [
        f"record revision {number} of {endpoint}: {new.ref} ({new.digest[:19]}…)",
        "verify its bytes, load it beside what is live in every worker, and pass a real prediction in each",
        "swap the routing table: new requests go to it, those in flight finish where they are",
    ]
    if old is not None:
        steps.append(
            f"keep {old.ref} warm for the bake time, so that `seaway rollback {endpoint}` is immediate; then retire it"
        )
    return tuple(steps)
