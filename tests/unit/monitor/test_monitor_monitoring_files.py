"""The generated rules and dashboards: the metrics and labels that they name exist, and the same plan gives the same bytes."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator

import promql_parser
import pytest
from ruamel.yaml import YAML

from seaway.core.deployments import LimitsSection, Slo
from seaway.monitor.telemetry import alert_rules, monitoring_files
from seaway.monitor.telemetry.alert_rules import BurnWindow
from seaway.monitor.telemetry.monitoring_files import Plan
from seaway.wire import metric_names

PLAN = Plan(
    alert_rules.objectives("prices", Slo(p99="50ms", errors="0.1%"), LimitsSection()), "127.0.0.1:8080", 2
)
FROM_PROMETHEUS = {"up": ()}
ADDED = {"job", "instance"}
"""Labels that Prometheus puts on every series that it scrapes."""


def rules(plan: Plan = PLAN) -> Iterator[dict]:
    for group in YAML(typ="safe").load(monitoring_files.files(plan)[monitoring_files.RULES])["groups"]:
        yield from group["rules"]


def queries() -> list[str]:
    found = [rule["expr"] for rule in rules()]
    dashboard = json.loads(monitoring_files.files(PLAN)[monitoring_files.DASHBOARD])
    found += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [query.replace("$__rate_interval", "5m") for query in found]


def selectors(query: str | promql_parser.Expr) -> list[promql_parser.VectorSelector]:
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    parsed = promql_parser.parse(query) if isinstance(query, str) else query
    promql_parser.walk(parsed, pre_visit=visit)
    return found


def grouped(query: str) -> list[tuple[set[str], list[str]]]:
    """The labels of each aggregation, with the metrics inside it."""
    found = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            found.append((set(node.modifier.labels), [str(s.name) for s in selectors(node)]))

    promql_parser.walk(promql_parser.parse(query), pre_visit=visit)
    return found


def labels_of(name: str) -> set[str] | None:
    """The labels of a series by its name in queries; None where there is no such series."""
    metric = metric_names.SERIES.get(name)
    if metric is not None:
        return {*metric.labels, *ADDED, *(("le",) if name.endswith("_bucket") else ())}
    if name in FROM_PROMETHEUS:
        return ADDED
    return {"endpoint"} if name in recorded() else None


@functools.cache
def recorded() -> frozenset[str]:
    return frozenset(rule["record"] for rule in rules() if "record" in rule)


@pytest.mark.parametrize("query", queries())
def test_every_metric_and_label_of_a_query_exists(query: str) -> None:
    found = selectors(query)
    assert found
    for selector in found:
        labels = labels_of(str(selector.name))
        assert labels is not None, f"{selector.name} does not exist"
        assert {matcher.name for matcher in selector.matchers.matchers} <= labels
    for by, names in grouped(query):
        for name in names:
            assert by <= (labels_of(name) or set()), f"{name} has not all of {by}"


def test_the_check_finds_what_does_not_exist() -> None:
    assert labels_of("seaway_request_total") is None
    assert grouped("sum by (door) (rate(seaway_batch_rows_sum[5m]))") == [
        ({"door"}, ["seaway_batch_rows_sum"])
    ]
    assert "door" not in (labels_of("seaway_batch_rows_sum") or set())


def test_all_metrics_are_in_a_rule_or_in_the_dashboard_save_those_that_say_why_something_is_slow() -> None:
    used = {str(s.name) for query in queries() for s in selectors(query)}
    unused = {m.name for m in metric_names.METRICS.values() if not used & set(m.series)}
    assert unused == {
        "seaway_batch_fixed_seconds",
        "seaway_batch_row_seconds",
        "seaway_revision_isolated",
        "seaway_revision_start_seconds",
    }


def test_the_same_plan_gives_the_same_bytes() -> None:
    assert monitoring_files.files(PLAN) == monitoring_files.files(PLAN)
    other = Plan(alert_rules.objectives("costs", Slo(), LimitsSection()), "10.0.0.1:80", 2)
    assert "prices" not in "".join(monitoring_files.files(other).values())


def test_without_objectives_there_are_defaults() -> None:
    found = alert_rules.objectives("prices", Slo(), LimitsSection(deadline="1s"))
    assert (found.errors_percent, found.latency_s) == (0.1, 0.5)


@pytest.mark.parametrize(
    ("promised", "edge"), [("50ms", 0.05), ("60ms", 0.1), ("0.1ms", 0.0005), ("1h", 10.0)]
)
def test_a_latency_objective_is_counted_by_the_next_edge_of_the_histogram(promised: str, edge: float) -> None:
    assert alert_rules.objectives("prices", Slo(p99=promised), LimitsSection()).latency_s == edge


def test_the_burn_rates_are_those_of_the_workbook() -> None:
    found = {
        rule["labels"]["window"]: (rule["labels"]["severity"], rule["expr"].split("> ")[1].split("\n")[0])
        for rule in rules()
        if rule.get("alert") == "SeawayErrorBudgetBurn"
    }
    assert found == {"1h": ("page", "0.0144"), "6h": ("page", "0.006"), "3d": ("ticket", "0.001")}


def test_a_total_outage_is_an_alert_whatever_was_promised() -> None:
    plan = Plan(alert_rules.objectives("prices", Slo(errors="20%"), LimitsSection()), "x:1", 1)
    limits = [
        r["expr"].split("> ")[1].split("\n")[0]
        for r in rules(plan)
        if r.get("alert") == "SeawayErrorBudgetBurn"
    ]
    assert all(float(limit) < 1 for limit in limits)


def test_other_windows_record_what_their_alerts_read() -> None:
    plan = Plan(PLAN.objectives, "x:1", 1, windows=(BurnWindow(90.0, 15.0, 0.001, "page"),))
    written = {rule["record"] for rule in rules(plan) if "record" in rule}
    for rule in rules(plan):
        for selector in selectors(rule["expr"]):
            if str(selector.name).startswith("endpoint:"):
                assert selector.name in written
    assert "endpoint:seaway_request_errors:ratio_rate90s" in written


@pytest.mark.parametrize(("edge", "written"), [(0.05, ["0.05"]), (1.0, ["1", "1.0"]), (10.0, ["10", "10.0"])])
def test_an_edge_is_found_as_the_worker_and_as_prometheus_3_write_it(edge: float, written: list[str]) -> None:
    pattern = alert_rules.edge_pattern(edge)
    every = [f"{e:g}" for e in metric_names.REQUEST_BUCKETS_S] + [f"{e:.1f}" for e in (1.0, 5.0, 10.0)]
    assert [text for text in every if re.fullmatch(pattern, text)] == written


def test_over_tls_the_certificate_of_the_server_is_trusted() -> None:
    plan = Plan(PLAN.objectives, "models.test:8443", 1, tls=True, ca="/etc/seaway/chain.pem")
    (job,) = YAML(typ="safe").load(monitoring_files.files(plan)[monitoring_files.SCRAPE])["scrape_configs"]
    assert (job["scheme"], job["tls_config"]) == ("https", {"ca_file": "/etc/seaway/chain.pem"})


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(monitoring_files.files(PLAN)[monitoring_files.DASHBOARD])["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
