"""What `seaway monitoring` describes: an endpoint's promises, and the server that it is on, running or not."""

from __future__ import annotations

import msgspec

from seaway.client import address
from seaway.control import supervisor
from seaway.core.errors import UserError
from seaway.monitor.telemetry import alert_rules
from seaway.monitor.telemetry.monitoring_files import Plan
from seaway.wiring import control_access
from seaway.wiring.home import Home


class _Running(msgspec.Struct):
    """What is asked of RUN/supervisor.json."""

    workers: tuple[int | None, ...] = ()


def plan(home: Home, endpoint: str, target: str | None = None) -> Plan:
    """The Plan of an endpoint; `target` is where Prometheus reaches the server, when omitted its own address.

    Raises `UserError("endpoint_not_found")`.
    """
    found = control_access.endpoint_status(home, endpoint)
    # What is promised is what was asked for last, even where its revision is not live yet.
    wanted = {None} if found is None else {found.desired, found.live}
    revisions = [] if found is None else [r for r in found.revisions if r.number in wanted]
    if not revisions:
        raise UserError(
            "endpoint_not_found", f"there is no endpoint {endpoint!r}", "seaway status names them"
        )
    spec = max(revisions, key=lambda r: r.number).spec
    server = address.server_record(home.configuration)
    return Plan(
        objectives=alert_rules.objectives(endpoint, spec.slo, spec.limits),
        target=target or server.http,
        workers=_workers(home),
        tls=server.certificate is not None,
        ca=server.certificate,
    )


def _workers(home: Home) -> int:
    """How many the server has, or would have by the settings."""
    try:
        found = msgspec.json.decode((home.paths.run / supervisor.RECORD).read_bytes(), type=_Running)
    except (OSError, msgspec.DecodeError):
        found = _Running()
    return len(found.workers) or home.configuration.settings.workers
