"""What a real worker shows on /metrics is what the catalogue says, and the reverse."""

from __future__ import annotations

import re

import pytest
from serve_process import JSON, WorkerProcess, revision, route

from seaway.core.traffic import RoutingTable
from seaway.testing import tiny_models
from seaway.wire import metric_names

_LINE = re.compile(r"([a-z_]+)(?:\{(.*)\})? (\S+)$")
SECRET = "4111-1111-1111-1111"
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The metrics of a worker that has answered well, badly, and nobody."""
    home = tmp_path_factory.mktemp("metrics")
    table = RoutingTable(1, (route("prices", revision(1, tiny_models.linear(home / "m1", 1.0))),))
    worker = WorkerProcess(home / "run", table)
    try:
        for _ in range(3):
            assert worker.call("POST", "/predict/prices", [[1, 2, 3]]).status == 200
        assert worker.call("POST", "/predict/prices", [["x"]]).status == 400
        assert worker.call("GET", "/nowhere").status == 404
        for place in range(50):
            headers = JSON | {"x-request-id": f"{SECRET}-{place}", "seaway-caller": SECRET}
            worker.call("POST", f"/predict/prices?card={SECRET}", [[SECRET]], headers)
            worker.call("POST", f"/predict/{SECRET}-{place}", [[1]], headers)
            worker.call("GET", f"/{SECRET}-{place}", None, headers)
        return worker.call("GET", "/metrics").body.decode()
    finally:
        worker.stop()


def kinds(text: str) -> dict[str, str]:
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


def test_every_family_that_is_shown_is_in_the_catalogue_with_its_type_and_help(scraped: str) -> None:
    assert set(kinds(scraped)) <= set(metric_names.METRICS)
    helps = dict(re.findall(r"^# HELP (\S+) (.*)$", scraped, re.MULTILINE))
    for name, kind in kinds(scraped).items():
        metric = metric_names.METRICS[name]
        assert (kind, helps[name]) == (metric.kind, metric.help)


def test_every_family_of_the_catalogue_is_shown(scraped: str) -> None:
    assert not {m.name for m in metric_names.METRICS.values() if not m.only} - set(kinds(scraped))


def test_every_series_has_the_labels_that_the_catalogue_says(scraped: str) -> None:
    lines = [line for line in scraped.splitlines() if line and not line.startswith("#")]
    assert len(lines) > 50
    for line in lines:
        found = _LINE.match(line)
        assert found is not None, line
        metric = metric_names.SERIES[found[1]]
        labels = {name for name, _ in _LABEL.findall(found[2] or "")}
        assert labels == {*metric.labels, *(("le",) if found[1].endswith("_bucket") else ())}, line


def test_requests_are_counted_by_the_edges_that_objectives_are_read_from(scraped: str) -> None:
    edges = re.findall(
        r'^seaway_request_duration_seconds_bucket\{.*code="200".*le="(.*?)"', scraped, re.MULTILINE
    )
    assert edges == [*(f"{edge:g}" for edge in metric_names.REQUEST_BUCKETS_S), "+Inf"]


def test_names_follow_prometheus() -> None:
    for metric in metric_names.METRICS.values():
        assert metric.name.startswith("seaway_")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        if metric.unit in ("seconds", "bytes"):
            assert metric.name.removesuffix("_total").endswith(f"_{metric.unit}")
        assert metric.help.endswith(".")


def test_w12_nothing_that_a_client_says_becomes_a_label(scraped: str) -> None:
    assert SECRET not in scraped
    doors = set(re.findall(r'^seaway_requests_total\{door="(.*?)",endpoint="(.*?)"', scraped, re.MULTILINE))
    assert doors == {("predict", "prices"), ("predict", ""), ("other", "")}
