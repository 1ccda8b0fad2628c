"""Prometheus rules of one endpoint: recorded ratios, alerts on how fast it spends its error budget, and on its server.

Multi-window, multi-burn-rate alerts after the Google SRE workbook, chapter 5, table 5-8. `monitoring_files` writes them.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from seaway.core.deployments import LimitsSection, Slo
from seaway.core.sections import percent, seconds
from seaway.monitor.telemetry import rollout_rules
from seaway.monitor.telemetry.rules import JOB, Group, Rule, labels
from seaway.wire import metric_names as names
from seaway.wire import status

DEFAULT_ERRORS_PERCENT: Final = 0.1
LATENCY_SHARE: Final = 0.99
LEAST_BAD: Final = 10
"""Fewer bad requests than these in the long window raise no alert of a budget: one of ten is no outage."""

_ANSWERED: Final = "200|OK|deadline_exceeded"
BAD_CODES: Final = "|".join(sorted(code for code, found in status.STATUS.items() if found.http >= 500))
"""A pattern of the label `code` for what is the server's fault: what `core.ledger` counts as failed and refused."""


class BurnWindow(msgspec.Struct, frozen=True):
    """An alert fires while the budget burns so fast over both windows that the long one spends the share `budget`."""

    long_s: float
    short_s: float
    budget: float
    severity: str


SRE_WINDOWS: Final = (
    BurnWindow(3600.0, 300.0, 0.02, "page"),
    BurnWindow(6 * 3600.0, 1800.0, 0.05, "page"),
    BurnWindow(3 * 86_400.0, 6 * 3600.0, 0.10, "ticket"),
)


class Objectives(msgspec.Struct, frozen=True):
    """What an endpoint promises over `period_s`: at most `errors_percent` bad requests, and 99 % within `latency_s`.

    `latency_s` is an edge of the histogram that counts requests, the first that is not below `promised_s`, else the last.
    """

    endpoint: str
    errors_percent: float
    latency_s: float
    promised_s: float
    period_s: float = 30 * 86_400.0


def objectives(endpoint: str, slo: Slo, limits: LimitsSection) -> Objectives:
    """The objectives of an endpoint; without `slo` 0.1 % errors, and a p99 of half the deadline."""
    promised_s = seconds(limits.deadline) / 2 if slo.p99 is None else seconds(slo.p99)
    edges = names.REQUEST_BUCKETS_S
    edge_s = next((edge for edge in edges if edge >= promised_s), edges[-1])
    errors = DEFAULT_ERRORS_PERCENT if slo.errors is None else percent(slo.errors)
    return Objectives(endpoint, errors, edge_s, promised_s)


def groups(
    wanted: Objectives, workers: int, windows: tuple[BurnWindow, ...] = SRE_WINDOWS
) -> tuple[Group, ...]:
    """All rules of an endpoint on a server with so many workers.

    `windows` may be others where traffic is so low, or must be acted on so fast, that the workbook's do not fit.
    """
    name = wanted.endpoint
    spans_s = sorted({s for window in windows for s in (window.short_s, window.long_s)})
    recorded = tuple(rule for span_s in spans_s for rule in _recorded(wanted, span_s))
    burning = tuple(rule for window in windows for rule in _burning(wanted, window))
    return (
        Group("seaway-server", _server(workers)),
        Group(f"seaway-endpoint-{name}-recorded", recorded),
        Group(f"seaway-endpoint-{name}-objectives", burning),
        Group(f"seaway-endpoint-{name}", _endpoint(name)),
        rollout_rules.group(name),
    )


def duration(span_s: float) -> str:
    """A duration as PromQL writes it, such as 3d, 90s."""
    for unit_s, unit in ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        if span_s >= unit_s and span_s % unit_s == 0:
            return f"{span_s / unit_s:.0f}{unit}"
    return f"{span_s * 1000:.0f}ms"


def edge_pattern(edge_s: float) -> str:
    """A pattern for the label `le` of one bucket: Prometheus 3 writes 1.0 where the worker writes 1."""
    text = re.escape(f"{edge_s:g}")
    return f"{text}(\\.0)?" if edge_s == int(edge_s) else text


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _recorded(wanted: Objectives, span_s: float) -> tuple[Rule, ...]:
    """The rates of all, bad and slow requests, and their ratios, over one window."""
    span, of = duration(span_s), f'endpoint="{wanted.endpoint}"'
    requests, errors, slow = (
        f"endpoint:{word}:rate{span}"
        for word in ("seaway_requests", "seaway_request_errors", "seaway_request_slow")
    )
    answered = f"{of},code=~{_quoted(_ANSWERED)}"
    bucket = f"{names.REQUEST_DURATION.name}_bucket"
    within = f"{answered},le=~{_quoted(edge_pattern(wanted.latency_s))}"
    count = f"sum by (endpoint) (rate({names.REQUEST_DURATION.name}_count{{{answered}}}[{span}]))"
    return (
        Rule(f"sum by (endpoint) (rate({names.REQUESTS.name}{{{of}}}[{span}]))", record=requests),
        # Where nothing ever failed there is no series of bad requests, and their rate is nought.
        Rule(
            f"sum by (endpoint) (rate({names.REQUESTS.name}{{{of},code=~{_quoted(BAD_CODES)}}}[{span}]))\n"
            f"or 0 * {requests}{{{of}}}",
            record=errors,
        ),
        Rule(
            f"{errors}{{{of}}} / ({requests}{{{of}}} > 0)",
            record=f"endpoint:seaway_request_errors:ratio_rate{span}",
        ),
        Rule(f"{count}\n- sum by (endpoint) (rate({bucket}{{{within}}}[{span}]))", record=slow),
        Rule(
            f"{slow}{{{of}}}\n/ ({count} > 0)",
            record=f"endpoint:seaway_request_slow:ratio_rate{span}",
        ),
    )


def _burning(wanted: Objectives, window: BurnWindow) -> tuple[Rule, ...]:
    burn = window.budget * wanted.period_s / window.long_s
    return (
        _budget(wanted, window, burn, "errors", wanted.errors_percent / 100),
        _budget(wanted, window, burn, "slow", 1 - LATENCY_SHARE),
    )


def _budget(wanted: Objectives, window: BurnWindow, burn: float, what: str, budget: float) -> Rule:
    # Where a fast burn is more than all requests, a total failure must still be an alert.
    limit = min(burn * budget, (1 + budget) / 2)
    of, long, short = f'{{endpoint="{wanted.endpoint}"}}', duration(window.long_s), duration(window.short_s)
    ratio, rate = f"endpoint:seaway_request_{what}:ratio_rate", f"endpoint:seaway_request_{what}:rate"
    alert, kind, bad, promise = (
        ("SeawayErrorBudgetBurn", "error", "failed", f"{wanted.errors_percent:g} % may")
        if what == "errors"
        else ("SeawayLatencyBudgetBurn", "latency", f"took over {wanted.latency_s:g} s", "1 % may")
    )
    return Rule(
        f"{ratio}{long}{of} > {limit:.6g}\n"
        f"and {ratio}{short}{of} > {limit:.6g}\n"
        f"and {rate}{long}{of} * {window.long_s:.6g} >= {LEAST_BAD}",
        alert=alert,
        labels=labels(window.severity, wanted.endpoint, ("window", long)),
        summary=f"{wanted.endpoint}: the {kind} budget burns {burn:.3g} times too fast",
        description=(
            f"{{{{ $value | humanizePercentage }}}} of the requests of the last {long} {bad}, and {promise} over "
            f"{duration(wanted.period_s)}. See: seaway status {wanted.endpoint}; to go back: seaway rollback {wanted.endpoint}"
        ),
    )


def _server(workers: int) -> tuple[Rule, ...]:
    dropped = f'{names.RECORDER_REQUESTS.name}{{outcome="dropped"}}'
    memory, limit = names.WORKER_MEMORY.name, names.WORKER_MEMORY_LIMIT.name
    generation = names.GENERATION.name
    return (
        Rule(
            f'up{{job="{JOB}"}} == 0 or absent(up{{job="{JOB}"}})',
            alert="SeawayDown",
            hold_s=60,
            labels=(("severity", "page"),),
            summary="Seaway answers no scrape",
            description="No worker of the server can be reached. See: seaway status, and the log of seaway up",
        ),
        rollout_rules.control_process(),
        Rule(
            f"{names.WORKERS.name} < {workers}",
            alert="SeawayWorkerMissing",
            hold_s=60,
            labels=(("severity", "ticket"),),
            summary=f"{{{{ $value }}}} of {workers} workers answer",
            description="A worker is gone, or hangs, for longer than a restart takes. See: seaway status",
        ),
        Rule(
            f"{memory} / on (instance, worker) {limit} > 0.9",
            alert="SeawayWorkerMemoryNearCap",
            hold_s=300,
            labels=(("severity", "ticket"),),
            summary="Worker {{ $labels.worker }} uses {{ $value | humanizePercentage }} of its memory",
            description="Beyond its cap it is replaced by a fresh one. Raise worker_memory, or serve fewer models",
        ),
        Rule(
            f"sum by (instance, sink) (rate({dropped}[5m])) > 0",
            alert="SeawayRecordsDropped",
            hold_s=300,
            labels=(("severity", "ticket"),),
            summary="Records are lost: {{ $labels.sink }} drops {{ $value | humanize }} requests a second",
            description="Answers are not touched by it. The disk is full or slow, or recording costs too much",
        ),
        Rule(
            f"max by (instance) ({generation}) - min by (instance) ({generation}) > 0",
            alert="SeawayRoutingDiffers",
            hold_s=300,
            labels=(("severity", "ticket"),),
            summary="Workers route by different tables",
            description="A deploy has not reached all workers for five minutes. See: seaway status",
        ),
    )


def _endpoint(name: str) -> tuple[Rule, ...]:
    of = f'endpoint="{name}"'
    total = f"sum(rate({names.REQUESTS.name}{{{of}}}[5m]))"

    def share_of(code: str, alert: str, words: str, fix: str) -> Rule:
        found = f'sum(rate({names.REQUESTS.name}{{{of},code="{code}"}}[5m]))'
        return Rule(
            f"{found} / {total} > 0.01",
            alert=alert,
            hold_s=300,
            labels=labels("ticket", name),
            summary=f"{name}: {{{{ $value | humanizePercentage }}}} of the requests {words}",
            description=fix,
        )

    return (
        Rule(
            f"absent({names.REVISION_READY.name}{{{of}}} == 1)",
            alert="SeawayEndpointUnavailable",
            hold_s=60,
            labels=labels("page", name),
            summary=f"{name}: no worker has a revision that can answer",
            description=f"See: seaway status {name}; to go back: seaway rollback {name}",
        ),
        Rule(
            f"min by (endpoint, revision) ({names.REVISION_READY.name}{{{of}}}) == 0",
            alert="SeawayRevisionNotReady",
            hold_s=300,
            labels=labels("ticket", name),
            summary=f"{name}: revision {{{{ $labels.revision }}}} is not ready in every worker",
            description=f"It cannot be loaded, or does not end its last requests. See: seaway status {name}",
        ),
        share_of(
            "deadline_exceeded",
            "SeawayDeadlineMisses",
            "miss their deadline",
            "The model is slower than limits.deadline allows, or it waits too long. Add workers, or allow more time",
        ),
        share_of(
            "overloaded",
            "SeawayOverload",
            "are refused: too many wait",
            "More is asked than the workers can do within limits.queue. Add workers, or slow the callers down",
        ),
        Rule(
            f"sum(rate({names.REQUESTS.name}{{{of}}}[15m])) == 0 or absent({names.REQUESTS.name}{{{of}}})",
            alert="SeawayNoTraffic",
            hold_s=900,
            labels=labels("info", name),
            summary=f"{name}: nobody has asked for half an hour",
            description="Perhaps that is as it should be; perhaps its callers cannot reach it",
        ),
    )
