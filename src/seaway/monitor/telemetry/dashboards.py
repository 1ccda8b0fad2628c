"""A Grafana dashboard of one endpoint, as the JSON that Grafana imports; `monitoring_files` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from seaway.core.checks import Verdict
from seaway.core.rollouts.state import RolloutPhase
from seaway.monitor.telemetry.alert_rules import BAD_CODES, Objectives
from seaway.monitor.telemetry.rules import JOB
from seaway.wire import metric_names as names

_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH: Final = 24
_RATE: Final = "$__rate_interval"
_PHASES: Final = {
    RolloutPhase.WAITING: "blue",
    RolloutPhase.RUNNING: "yellow",
    RolloutPhase.PAUSED: "orange",
    RolloutPhase.BAKING: "light-green",
    RolloutPhase.PROMOTED: "green",
    RolloutPhase.ROLLED_BACK: "red",
    RolloutPhase.ABORTED: "purple",
}
"""Every phase that the last rollout of an endpoint can be in, with its color."""
_VERDICTS: Final = {
    Verdict.INCONCLUSIVE: "blue",
    Verdict.PASSED: "green",
    Verdict.ERRORED: "orange",
    Verdict.FAILED: "red",
}
Query = tuple[str, str]
"""A PromQL expression, and what its series are called."""


def dashboard(wanted: Objectives) -> dict[str, Any]:
    """The dashboard: traffic, errors, latency, rollouts, batches, lanes, memory, answers, recording. Asks for its data source."""
    panels: list[dict[str, Any]] = []
    x = y = 0
    for panel, width, height in (
        *_at_a_glance(wanted),
        *_traffic(wanted),
        *_rollouts(wanted),
        *_execution(wanted),
        *_records(wanted),
    ):
        if x + width > _WIDTH:
            x, y = 0, y + panels[-1]["gridPos"]["h"]
        panel |= {"id": len(panels) + 1, "gridPos": {"x": x, "y": y, "w": width, "h": height}}
        panels.append(panel)
        x += width
    return {
        "title": f"Seaway: {wanted.endpoint}",
        "uid": f"seaway-{wanted.endpoint}"[:40],
        "tags": ["seaway"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
            ]
        },
        "annotations": {"list": []},
        "panels": panels,
    }


Placed = tuple[dict[str, Any], int, int]
"""A panel, its width and its height."""


def _at_a_glance(wanted: Objectives) -> tuple[Placed, ...]:
    of = _of(wanted)
    total = f"sum(rate({names.REQUESTS.name}{{{of}}}[{_RATE}]))"
    error_steps = [(None, "green"), (wanted.errors_percent / 100, "red")]
    return (
        (_stat("Requests per second", "reqps", total), 4, 4),
        (_stat("Errors", "percentunit", _error_ratio(wanted), error_steps), 4, 4),
        (
            _stat("p99", "s", _quantile(0.99, wanted, ""), [(None, "green"), (wanted.latency_s, "red")]),
            4,
            4,
        ),
        (_stat("In flight", "short", f"sum({names.IN_FLIGHT.name}{{{of}}})"), 4, 4),
        (_stat("Workers", "short", f'sum({names.WORKERS.name}{{job="{JOB}"}})'), 4, 4),
        (_stat("Revisions ready", "short", f"count(max by (revision) ({names.REVISION_READY.name}{{{of}}} == 1))"), 4, 4),
    )  # fmt: skip


def _traffic(wanted: Objectives) -> tuple[Placed, ...]:
    of = _of(wanted)
    rate = f"rate({names.REQUESTS.name}{{{of}}}[{_RATE}])"
    latency = [
        (_quantile(q, wanted, "revision"), f"p{q * 100:g} revision {{{{revision}}}}")
        for q in (0.5, 0.9, 0.99)
    ]
    fallbacks = f"sum by (revision, code) (rate({names.FALLBACKS.name}{{{of}}}[{_RATE}]))"
    mirrored = f"sum by (revision, result) (rate({names.MIRRORED.name}{{{of}}}[{_RATE}]))"
    return (
        (_series("Traffic by code", "reqps", [(f"sum by (code) ({rate})", "{{code}}")], stack=True), 8, 8),
        (_series("Traffic by revision", "reqps", [(f"sum by (revision) ({rate})", "revision {{revision}}")], stack=True), 8, 8),
        (_series("Traffic by door", "reqps", [(f"sum by (door) ({rate})", "{{door}}")], stack=True), 8, 8),
        (_series("Error ratio", "percentunit", [(_error_ratio(wanted), "errors")], limit=wanted.errors_percent / 100), 8, 8),
        (_series("Latency by revision", "s", latency, limit=wanted.latency_s), 8, 8),
        (_series("Answered by the stable revision instead", "reqps", [(fallbacks, "revision {{revision}}: {{code}}")]), 4, 8),
        (_series("Asked in the shadow", "reqps", [(mirrored, "revision {{revision}}: {{result}}")]), 4, 8),
    )  # fmt: skip


def _rollouts(wanted: Objectives) -> tuple[Placed, ...]:
    of = _of(wanted)
    share = f"max by (revision) ({names.ROLLOUT_SHARE.name}{{{of}}})"
    phase = _coded(names.ROLLOUT_PHASE, of, "phase", "revision", _PHASES)
    verdict = _coded(names.CHECK_VERDICT, of, "verdict", "revision, check", _VERDICTS)
    return (
        (_states("Rollout", (phase, "revision {{revision}}"), _PHASES), 8, 8),
        (_states("Verdicts", (verdict, "{{check}}, revision {{revision}}"), _VERDICTS), 8, 8),
        (_series("Wanted share of the candidate", "percentunit", [(share, "revision {{revision}}")], most=1.0), 8, 8),
    )  # fmt: skip


def _coded(metric: names.Metric, of: str, label: str, by: str, colors: Mapping[Any, str]) -> str:
    """Which of the words of `label` holds, as its place in `colors`: from 1 on."""
    words = (
        f'{metric.name}{{{of},{label}="{word}"}} * {place}' for place, word in enumerate(colors, start=1)
    )
    return f"max by ({by}) ({' or '.join(words)})"


def _execution(wanted: Objectives) -> tuple[Placed, ...]:
    of = _of(wanted)
    lanes = f"sum by (lane) ({names.LANE.name}{{{of}}})"
    memory = f'{names.WORKER_MEMORY.name}{{job="{JOB}"}}'
    limit = f'{names.WORKER_MEMORY_LIMIT.name}{{job="{JOB}"}}'
    return (
        (_series("Rows in a batch", "short", _spread(names.BATCH_ROWS, of)), 8, 8),
        (_series("Time in the queue", "s", _spread(names.QUEUE_DURATION, of)), 8, 8),
        (_series("Time of a batch in the model", "s", _spread(names.BATCH_DURATION, of)), 8, 8),
        (_series("Rows that wait, streams that are open", "short", [
            (f"sum by (revision) ({names.QUEUED_ROWS.name}{{{of}}})", "rows, revision {{revision}}"),
            (f"sum by (revision) ({names.STREAMS_OPEN.name}{{{of}}})", "streams, revision {{revision}}"),
        ]), 8, 8),
        (_series("Workers by lane", "short", [(lanes, "{{lane}}")], stack=True), 8, 8),
        (_series("Memory", "bytes", [
            (memory, "worker {{worker}}"),
            (limit, "cap of worker {{worker}}"),
            (f"max by (revision) ({names.REVISION_MEMORY.name}{{{of}}})", "of it revision {{revision}}"),
        ]), 8, 8),
    )  # fmt: skip


def _records(wanted: Objectives) -> tuple[Placed, ...]:
    of = _of(wanted)
    answers = f"sum by (revision, answer) (rate({names.ANSWERS.name}{{{of}}}[{_RATE}]))"
    offered = f'sum by (sink, outcome) (rate({names.RECORDER_REQUESTS.name}{{job="{JOB}"}}[{_RATE}]))'
    recorder_cpu = f'sum(rate({names.RECORDER_CPU.name}{{job="{JOB}"}}[{_RATE}]))'
    recorder_rate = f'min({names.RECORDER_RATE.name}{{job="{JOB}"}})'
    feedback = f'sum by (outcome) (rate({names.FEEDBACK.name}{{job="{JOB}"}}[{_RATE}]))'
    spans = f'sum by (outcome) (rate({names.SPANS.name}{{job="{JOB}"}}[{_RATE}]))'
    return (
        (_series("Answers by class", "rowsps", [(answers, "{{answer}}, revision {{revision}}")], stack=True), 12, 8),
        (_series("Feedback", "short", [(feedback, "{{outcome}}")]), 12, 8),
        (_series("Records by kind", "reqps", [(offered, "{{sink}}: {{outcome}}"), (spans, "spans: {{outcome}}")]), 12, 8),
        (_series("Recording", "percentunit", [(recorder_rate, "share of requests sampled"), (recorder_cpu, "cores used")]), 12, 8),
    )  # fmt: skip


def _of(wanted: Objectives) -> str:
    return f'job="{JOB}",endpoint="{wanted.endpoint}"'


def _error_ratio(wanted: Objectives) -> str:
    total = f"sum(rate({names.REQUESTS.name}{{{_of(wanted)}}}[{_RATE}]))"
    bad = f'sum(rate({names.REQUESTS.name}{{{_of(wanted)},code=~"{BAD_CODES}"}}[{_RATE}]))'
    return f"({bad} or 0 * {total}) / {total}"


def _quantile(q: float, wanted: Objectives, by: str) -> str:
    labels = "le" if not by else f"le, {by}"
    bucket = f"{names.REQUEST_DURATION.name}_bucket"
    return f"histogram_quantile({q:g}, sum by ({labels}) (rate({bucket}{{{_of(wanted)}}}[{_RATE}])))"


def _spread(metric: names.Metric, of: str) -> list[Query]:
    """Mean and p99 by revision."""
    mean = " / ".join(
        f"sum by (revision) (rate({metric.name}_{part}{{{of}}}[{_RATE}]))" for part in ("sum", "count")
    )
    bucket = f"sum by (le, revision) (rate({metric.name}_bucket{{{of}}}[{_RATE}]))"
    return [
        (mean, "mean, revision {{revision}}"),
        (f"histogram_quantile(0.99, {bucket})", "p99, revision {{revision}}"),
    ]


def _targets(queries: list[Query]) -> list[dict[str, Any]]:
    return [
        {"refId": chr(ord("A") + place), "datasource": _SOURCE, "expr": expr, "legendFormat": legend}
        for place, (expr, legend) in enumerate(queries)
    ]


def _steps(steps: list[tuple[float | None, str]]) -> dict[str, Any]:
    return {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]}


def _stat(
    title: str, unit: str, expr: str, steps: list[tuple[float | None, str]] | None = None
) -> dict[str, Any]:
    thresholds = _steps(steps or [(None, "text")])
    return {
        "type": "stat",
        "title": title,
        "datasource": _SOURCE,
        "targets": _targets([(expr, "")]),
        "fieldConfig": {"defaults": {"unit": unit, "thresholds": thresholds}, "overrides": []},
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"},
    }


def _states(title: str, query: Query, colors: Mapping[Any, str]) -> dict[str, Any]:
    """A bar over time for each series of `_coded`, in the color and with the word of what holds."""
    mapped = {
        str(place): {"text": word.replace("_", " "), "color": color, "index": place}
        for place, (word, color) in enumerate(colors.items(), start=1)
    }
    return {
        "type": "state-timeline",
        "title": title,
        "datasource": _SOURCE,
        "targets": _targets([query]),
        "fieldConfig": {
            "defaults": {"mappings": [{"type": "value", "options": mapped}], "custom": {"fillOpacity": 70}},
            "overrides": [],
        },
        "options": {
            "mergeValues": True,
            "showValue": "auto",
            "rowHeight": 0.9,
            "legend": {"showLegend": False},
        },
    }


def _series(
    title: str,
    unit: str,
    queries: list[Query],
    stack: bool = False,
    limit: float | None = None,
    most: float | None = None,
) -> dict[str, Any]:
    """A graph over time; `limit` draws the objective as a line, `most` is where the axis ends."""
    custom: dict[str, Any] = {"fillOpacity": 20 if stack else 0, "showPoints": "never"}
    if stack:
        custom["stacking"] = {"mode": "normal"}
    defaults: dict[str, Any] = {"unit": unit, "min": 0, "custom": custom}
    if most is not None:
        defaults["max"] = most
    if limit is not None:
        custom["thresholdsStyle"] = {"mode": "line"}
        defaults["thresholds"] = _steps([(None, "green"), (limit, "red")])
    return {
        "type": "timeseries",
        "title": title,
        "datasource": _SOURCE,
        "targets": _targets(queries),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    }
