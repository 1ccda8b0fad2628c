"""The generated files before Prometheus' own tools: they check, and each alert fires when it should and not before."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from prometheus_tools import check, needs_prometheus
from serve_process import WorkerProcess, revision, route

from seaway.core.deployments import LimitsSection, Slo
from seaway.core.traffic import RoutingTable
from seaway.monitor.telemetry import alert_rules, monitoring_files
from seaway.monitor.telemetry.monitoring_files import Plan
from seaway.testing import tiny_models

pytestmark = pytest.mark.outside

PLAN = Plan(
    alert_rules.objectives("prices", Slo(p99="50ms", errors="0.1%"), LimitsSection()), "127.0.0.1:8080", 2
)
REQUEST = 'door="predict",endpoint="prices",revision="1",worker="0",job="seaway",instance="s"'
GOOD = f'seaway_requests_total{{{REQUEST},code="200"}}'
READY = (
    'seaway_revision_ready{endpoint="prices",revision="1",digest="d",worker="0",job="seaway",instance="s"}'
)
ROLLOUT = 'endpoint="prices",revision="2",job="seaway",instance="s"'
RUNNING = f'seaway_rollout_phase{{{ROLLOUT},phase="running"}}'
PAUSED = f'seaway_rollout_phase{{{ROLLOUT},phase="paused"}}'
BAKING = f'seaway_rollout_phase{{{ROLLOUT},phase="baking"}}'
APPROVAL = f"seaway_rollout_waits_for_approval{{{ROLLOUT}}}"
ERRORED = f'seaway_rollout_check_verdict{{{ROLLOUT},check="errors",verdict="errored"}}'
ROLLED_BACK = 'seaway_rollouts_total{endpoint="prices",end="rolled_back",job="seaway",instance="s"}'
CONTROL = 'seaway_control_processes{job="seaway",instance="s"}'
HEALTHY = {
    'up{job="seaway",instance="s"}': "1+0x6000",
    'seaway_workers{job="seaway",instance="s"}': "2+0x6000",
    READY: "1+0x6000",
    GOOD: "0+6000x6000",
    f'seaway_request_duration_seconds_count{{{REQUEST},code="200"}}': "0+6000x6000",
    f'seaway_request_duration_seconds_bucket{{{REQUEST},code="200",le="0.05"}}': "0+5990x6000",
    f'seaway_requests_total{{{REQUEST},code="overloaded"}}': "0+1x6000",
    'seaway_worker_resident_memory_bytes{worker="0",job="seaway",instance="s"}': "500+0x6000",
    'seaway_worker_memory_limit_bytes{worker="0",job="seaway",instance="s"}': "1000+0x6000",
    'seaway_recorder_requests_total{sink="capture",outcome="dropped",worker="0",job="seaway",instance="s"}': "7+0x6000",
    'seaway_routing_generation{worker="0",job="seaway",instance="s"}': "4+0x6000",
    'seaway_routing_generation{worker="1",job="seaway",instance="s"}': "4+0x6000",
    CONTROL: "1+0x6000",
    RUNNING: "1+0x6000",
    PAUSED: "0+0x6000",
    BAKING: "0+0x6000",
    APPROVAL: "0+0x6000",
    ERRORED: "0+0x6000",
    ROLLED_BACK: "3+0x6000",
    ROLLED_BACK.replace("rolled_back", "promoted"): "0+1x6000",
}
"""A sample each minute, for a hundred hours. 6,000 requests a minute, of which 1 fails (0.017 %) and 10 are slow."""

OVERLOADED = f'seaway_requests_total{{{REQUEST},code="overloaded"}}'
LATE = f'seaway_requests_total{{{REQUEST},code="deadline_exceeded"}}'
FAST = f'seaway_request_duration_seconds_bucket{{{REQUEST},code="200",le="0.05"}}'

# Each case: what differs from HEALTHY (None: no such series), when, and the alerts that fire, by name and severity.
SCENARIOS: dict[str, tuple[dict[str, str | None], str, set[tuple[str, str]]]] = {
    "healthy": ({}, "30h", set()),
    "2 % fail for an hour": (
        {OVERLOADED: "0+1x1440 1441+120x60"},
        "25h",
        {("SeawayErrorBudgetBurn", "page"), ("SeawayOverload", "ticket")},
    ),
    "2 % failed for an hour, and that was half an hour ago": (
        {OVERLOADED: "0+1x1440 1441+120x60 8642+1x60"},
        "25h50m",
        set(),
    ),
    "2 % fail for two minutes": ({OVERLOADED: "0+1x240 241+120x2"}, "4h2m", set()),
    "0.8 % fail for six hours": (
        {OVERLOADED: "0+1x1440 1441+48x400"},
        "30h30m",
        {("SeawayErrorBudgetBurn", "page"), ("SeawayErrorBudgetBurn", "ticket")},
    ),
    "0.2 % fail for three days": (
        {OVERLOADED: "0+12x6000"},
        "75h",
        {("SeawayErrorBudgetBurn", "ticket")},
    ),
    "all of eight requests fail": (
        {GOOD: "0+0x6000", OVERLOADED: "0+0x240 0+1x8 8+0x100"},
        "4h10m",
        {("SeawayOverload", "ticket")},
    ),
    "a fifth is slow for an hour": (
        {FAST: "0+5990x1440 8625600+4800x70"},
        "25h",
        {("SeawayLatencyBudgetBurn", "page"), ("SeawayLatencyBudgetBurn", "ticket")},
    ),
    "two of a hundred miss their deadline": (
        {LATE: "0+0x240 0+120x15"},
        "4h12m",
        {("SeawayDeadlineMisses", "ticket"), ("SeawayErrorBudgetBurn", "ticket")},
    ),
    "the server is away": ({'up{job="seaway",instance="s"}': "1+0x120 0+0x60"}, "2h5m", {("SeawayDown", "page")}),
    "nothing is scraped": (
        dict.fromkeys(HEALTHY),
        "1h",
        {("SeawayDown", "page"), ("SeawayEndpointUnavailable", "page"), ("SeawayNoTraffic", "info")},
    ),
    "a worker is missing": (
        {'seaway_workers{job="seaway",instance="s"}': "2+0x120 1+0x60"},
        "2h5m",
        {("SeawayWorkerMissing", "ticket")},
    ),
    "a worker is missing for half a minute": (
        {'seaway_workers{job="seaway",instance="s"}': "2+0x120 1 2+0x60"},
        "2h1m",
        set(),
    ),
    "a new revision is not ready": (
        {READY.replace('revision="1"', 'revision="2"'): "0+0x20"},
        "10m",
        {("SeawayRevisionNotReady", "ticket")},
    ),
    "no revision is ready": (
        {READY: "1+0x120 0+0x60"},
        "2h10m",
        {("SeawayRevisionNotReady", "ticket"), ("SeawayEndpointUnavailable", "page")},
    ),
    "memory is near the cap": (
        {'seaway_worker_resident_memory_bytes{worker="0",job="seaway",instance="s"}': "950+0x60"},
        "10m",
        {("SeawayWorkerMemoryNearCap", "ticket")},
    ),
    "records are dropped": (
        {
            'seaway_recorder_requests_total{sink="capture",outcome="dropped",worker="0",job="seaway",instance="s"}': "7+3x60"
        },
        "10m",
        {("SeawayRecordsDropped", "ticket")},
    ),
    "workers route by different tables": (
        {'seaway_routing_generation{worker="1",job="seaway",instance="s"}': "4+0x120 5+0x60"},
        "2h10m",
        {("SeawayRoutingDiffers", "ticket")},
    ),
    "nobody asks": (
        {GOOD: "0+6000x120 720000+0x100", OVERLOADED: "0+0x6000", f'{FAST}': None,
         f'seaway_request_duration_seconds_count{{{REQUEST},code="200"}}': None},
        "2h45m",
        {("SeawayNoTraffic", "info")},
    ),
    "a rollout was taken back half an hour ago": (
        {ROLLED_BACK: "3+0x90 4+0x100", RUNNING: "1+0x90 0+0x100"}, "2h", {("SeawayRolloutRolledBack", "ticket")}),
    "a rollout was taken back long ago": ({ROLLED_BACK: "3+0x90 4+0x200", RUNNING: "1+0x90 0+0x200"}, "2h40m", set()),
    "a rollout is paused, and a scrape in between failed": (
        {RUNNING: "1+0x100 0+0x40", PAUSED: "0+0x100 1+0x5 stale stale 1+0x40"}, "1h53m", {("SeawayRolloutPaused", "ticket")}),
    "a rollout has only just paused": ({RUNNING: "1+0x100 0+0x40", PAUSED: "0+0x100 1+0x40"}, "1h49m", set()),
    "an approval is waited for": (
        {APPROVAL: "0+0x60 1+0x100"}, "2h3m", {("SeawayRolloutWaitsForApproval", "ticket")}),
    "an approval is waited for since half an hour": ({APPROVAL: "0+0x60 1+0x100"}, "1h30m", set()),
    "a check is broken": ({ERRORED: "0+0x60 1+0x100"}, "1h20m", {("SeawayRolloutCheckErrored", "ticket")}),
    "a check was broken for ten minutes": ({ERRORED: "0+0x60 1+0x9 0+0x100"}, "1h20m", set()),
    "the check of the bake is broken": (
        {RUNNING: "0+0x200", BAKING: "1+0x200", ERRORED: "0+0x60 1+0x100"},
        "1h20m",
        {("SeawayRolloutCheckErrored", "ticket")},
    ),
    "a check was broken when the rollout ended": ({RUNNING: "1+0x60 0+0x100", ERRORED: "0+0x60 1+0x100"}, "2h", set()),
    "the control process is away": ({CONTROL: "1+0x60 stale"}, "1h5m", {("SeawayControlDown", "ticket")}),
    "the control process starts again": ({CONTROL: "1+0x60 stale 1+0x100"}, "1h2m", set()),
}  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs_prometheus()
    directory = tmp_path_factory.mktemp("monitoring")
    monitoring_files.write(monitoring_files.files(PLAN), directory)
    return directory


def test_prometheus_tools_find_nothing_wrong(written: Path) -> None:
    check("promtool", "check", "rules", "--lint=all", "--lint-fatal", monitoring_files.RULES, cwd=written)
    check("promtool", "check", "config", "--lint-fatal", monitoring_files.PROMETHEUS, cwd=written)
    check("amtool", "check-config", monitoring_files.ALERTMANAGER, cwd=written)


def test_every_alert_has_a_scenario_in_which_it_fires() -> None:
    alerts = {
        (rule.alert, dict(rule.labels)["severity"])
        for group in alert_rules.groups(PLAN.objectives, PLAN.workers)
        for rule in group.rules
        if rule.alert is not None
    }
    assert alerts == {fired for _, _, found in SCENARIOS.values() for fired in found}


def _evaluation(at: str) -> str:
    """How often the rules are evaluated: over days rarely, as every evaluation costs 20 ms; `at` is a multiple of it."""
    hours = int(at.partition("h")[0]) if "h" in at else 0
    return "30m" if hours > 48 else "10m" if hours > 12 else "1m"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_an_alert_fires_when_it_should_and_no_other(scenario: str, written: Path, tmp_path: Path) -> None:
    changes, at, expected = SCENARIOS[scenario]
    series = {**HEALTHY, **changes}
    # One query over all that fires: what is not expected is found too.
    test = {
        "rule_files": [str(written / monitoring_files.RULES)],
        "evaluation_interval": _evaluation(at),
        # Else promtool takes groups in any order, and an alert before what it reads finds nothing young enough.
        "group_eval_order": re.findall(
            r"^ *- name: (\S+)$", (written / monitoring_files.RULES).read_text(), re.M
        ),
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": k, "values": v} for k, v in series.items() if v is not None],
                "promql_expr_test": [
                    {
                        "expr": 'count by (alertname, severity) (ALERTS{alertstate="firing"}) * 0 + 1',
                        "eval_time": at,
                        "exp_samples": [
                            {"labels": f'{{alertname="{name}", severity="{severity}"}}', "value": 1}
                            for name, severity in sorted(expected)
                        ],
                    }
                ],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(json.dumps(test))
    check("promtool", "test", "rules", "test.yaml", cwd=tmp_path)


def test_the_metrics_of_a_worker_pass_promtool(tmp_path: Path) -> None:
    needs_prometheus()
    worker = WorkerProcess(
        tmp_path / "run",
        RoutingTable(1, (route("prices", revision(1, tiny_models.linear(tmp_path / "m1", 1.0))),)),
    )
    try:
        assert worker.call("POST", "/predict/prices", [[1, 2, 3]]).status == 200
        text = worker.call("GET", "/metrics").body
    finally:
        worker.stop()
    found = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")
