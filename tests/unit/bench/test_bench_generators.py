"""The load generators' scripts and what is read from their output."""

from __future__ import annotations

import numpy as np
import pytest

from bench import generators, processes
from bench.bodies import Form, Prepared
from bench.generators import Sample
from bench.loads import Load, schedule


def test_wrk_figures_leave_refusals_out_of_the_throughput() -> None:
    line = 'FIGURES {"requests":1000,"seconds":2.0,"p50_us":1500,"p99_us":9000,"errors":3,"refused":200}'
    assert generators.parse_wrk(f"Running 2s test\n{line}\n") == Sample(400.0, 1.5, 9.0, 203)


def test_wrk_without_figures_is_a_failure() -> None:
    with pytest.raises(processes.Failed, match="unable to connect"):
        generators.parse_wrk("unable to connect to 127.0.0.1:1 Connection refused")


def test_the_script_cycles_through_all_bodies_and_paths() -> None:
    made = generators.script(
        Prepared("/x/y.bodies", {"Content-Type": "application/json"}, [3, 5]), ["/a", "/b"]
    )
    assert "local sizes = {3,5}" in made
    assert 'local paths = {"/a", "/b"}' in made
    assert '["Content-Type"] = "application/json"' in made
    assert '"/x/y.bodies"' in made
    assert "%%" not in made


def test_h2load_log_and_summary() -> None:
    rows = ["1700000000000000\t200\t1000", "1700000000000100\t200\t3000", "1700000000000200\t-1\t50", ""]
    sample = generators.parse_h2load_log(rows, 2.0, failed=1)
    assert sample.per_s == 1.0
    assert sample.p50_ms == 2.0
    assert sample.errors >= 2
    summary = "requests: 10 total, 10 started, 9 done, 7 succeeded, 2 failed, 1 errored, 0 timeout"
    assert generators.parse_h2load_failures(summary) == 3
    with pytest.raises(processes.Failed):
        generators.parse_h2load_failures("no such host")
    with pytest.raises(processes.Failed):
        generators.parse_h2load_log([], 2.0, failed=0)


def test_the_median_is_of_each_figure_and_errors_add_up() -> None:
    runs = [Sample(10.0, 3.0, 30.0, 1), Sample(30.0, 1.0, 10.0, 0), Sample(20.0, 2.0, 90.0, 2)]
    assert generators.median(runs) == Sample(20.0, 2.0, 30.0, 3)


def test_arrivals_are_poisson_and_the_same_each_time() -> None:
    load = Load(1, "/", "small", Form.OIP_JSON, 8, seconds=20.0, rate_per_s=1000.0)
    due = schedule(load)
    gaps = np.diff(due)
    assert len(due) == 20_000 and due == schedule(load)
    assert gaps.mean() == pytest.approx(1e-3, rel=0.05)
    assert gaps.std() == pytest.approx(1e-3, rel=0.05), "an exponential's deviation is its mean"
    assert schedule(Load(1, "/", "small", Form.OIP_JSON, 8, seconds=20.0)) == []


def test_a_process_tree_is_followed_to_its_leaves_only() -> None:
    parents = {10: 1, 11: 10, 12: 11, 20: 1, 21: 20}
    assert processes.descendants(parents, 10) == {11, 12}
    assert processes.descendants(parents, 12) == set()


def test_a_stat_line_with_brackets_in_the_command() -> None:
    assert processes.parse_stat("42 (ray::a b) c) S 7 42 42 0") == ("S", 7)
