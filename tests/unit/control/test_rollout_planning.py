"""What `deploy --plan` says of a rollout: its steps, and whether today's traffic can judge it in time."""

from __future__ import annotations

import datetime

import msgspec
import numpy as np
import pytest

from seaway.control.rollouts import planning
from seaway.control.rollouts.planning import RolloutPlan
from seaway.control.rollouts.sample_sizes import PastLabels
from seaway.core.ledger import Counts, count_latency, sparse
from seaway.core.rollouts.spec import Freeze, Inconclusive, Rollout, RolloutCheck, Step, Sticky

NOW_S = datetime.datetime(2026, 11, 27, 12, 0, tzinfo=datetime.UTC).timestamp()
CANARY = Rollout(steps=("1%", "25%", "100%"), hold="60s")


def past(per_s: float, errors: float = 0.001) -> Counts:
    """An hour with log-normal times around 10 ms."""
    requests = round(per_s * 3600)
    times = np.random.default_rng(7).lognormal(np.log(0.01), 0.5, min(requests, 20_000))
    scale = max(1, requests // 20_000)
    latency = tuple((at, scale * count) for at, count in sparse(count_latency(times))) if requests else ()
    return Counts(finished=requests, failed=round(requests * errors), latency=latency)


def plan(spec: Rollout, per_s: float = 200.0, errors: float = 0.001) -> RolloutPlan:
    return planning.plan(spec, past(per_s, errors), 3600.0, NOW_S)


def test_the_steps_with_their_holds_checks_and_margins() -> None:
    found = plan(CANARY)
    assert [(step.percent, step.hold_s) for step in found.steps] == [(1.0, 60.0), (25.0, 60.0), (100.0, 0.0)]
    assert [check.check for check in found.steps[0].checks] == ["errors", "latency"]
    assert found.steps[0].comes == 120 and found.steps[1].comes == 3000
    assert found.steps[2].checks == ()
    text = "\n".join(found.lines)
    assert "1 %, for at least 1 min, and until errors and latency passed" in text
    assert "check errors: up to 1.2 × the stable's, and 0.2 points more" in text
    assert "check latency: p50 up to 1.1 ×, p99 up to 1.2 × and 0.25 points of the requests" in text
    assert "false alarms: 5% per rollout" in text
    assert "100 %; the old revision stays warm for 10m" in text


@pytest.mark.parametrize(
    ("hold", "says"), [("90s", "1 min 30 s"), ("20m", "20 min"), ("14d", "14 d"), ("36h", "1 d 12 h")]
)
def test_a_hold_is_said_as_long_as_it_is(hold: str, says: str) -> None:
    spec = Rollout(steps=("50%", "100%"), hold=hold, inconclusive=Inconclusive("30d"))
    assert plan(spec).lines[0].startswith(f"50 %, for at least {says}, and until")


def test_c10_too_little_traffic_for_the_hold_is_said_with_how_long_it_takes() -> None:
    (small,) = [line for line in plan(CANARY).warnings if line.startswith("1 %")]
    assert "takes about" in small and "1 min brings about 120" in small and "on this step" in small
    assert not any(line.startswith("25 %") for line in plan(CANARY, per_s=5000.0).warnings)
    assert plan(CANARY, per_s=50_000.0).warnings == ()


def test_c10_traffic_that_cannot_decide_before_the_policy_acts_is_said() -> None:
    rare = plan(CANARY, per_s=0.05)
    assert any("it would be rolled back after 24h" in line for line in rare.warnings)
    held = Rollout(steps=("1%", "100%"), inconclusive=Inconclusive("1h", "promote"))
    assert any("it would be paused after 1h" in line for line in plan(held, per_s=0.5).warnings)


def test_c10_no_traffic_at_all() -> None:
    (line,) = plan(CANARY, per_s=0.0).warnings
    assert line == (
        "no request came in the last hour: without traffic no check passes, and it is rolled back after 24h"
    )
    assert plan(CANARY, per_s=0.0).steps[0].checks[0].needs is None


def test_no_checks_go_by_time_alone() -> None:
    spec = Rollout(steps=("10%", "100%"), checks=())
    assert plan(spec).warnings[0].startswith("checks is empty: it goes up by time alone")
    assert plan(Rollout(steps=("0%", "100%"), bake="1h")).warnings == ()


def test_blue_green_has_no_step_to_wait_on() -> None:
    found = plan(Rollout(steps=("0%", "100%"), bake="1h"))
    assert found.lines[0] == "0 %: loaded and warm in every worker, then on at once"
    assert found.lines[1].startswith("100 %; the old revision stays warm for 1h")


def test_shadow_approval_freeze_and_start_are_shown() -> None:
    spec = Rollout(
        steps=(Step("0%", checks=("agreement",), approve=True), "10%", "100%"),
        shadow="10%",
        checks=(RolloutCheck("agreement", harm="2%"), RolloutCheck("predictions")),
        freeze=(Freeze(days=("fri",), start="11:00", end="14:30"),),
        start=datetime.datetime(2026, 11, 28, 9, 0, tzinfo=datetime.UTC),
    )
    found = plan(spec)
    assert found.lines[:4] == (
        "it begins at 2026-11-28 09:00 UTC",
        "a freeze holds until 14:30:00 UTC: no share rises before, and a rollback always acts",
        "10 % of the requests are answered by the candidate too, and compared",
        "0 %, for at least 1 min, and until agreement passed, and a person approved",
    )
    assert "check agreement: up to 2 % of the mirrored answers differ" in found.lines
    assert "check predictions: up to 10 % of the answers move, else it is paused" in found.lines
    needs = found.steps[0].checks[0].needs
    assert needs is not None and 1000 < needs < 20_000
    apart = plan(msgspec.structs.replace(spec, sticky=Sticky(header="x-user"))).steps[0].checks[0].needs
    assert apart is not None and needs == pytest.approx(8 * apart, rel=0.01), "a user is no cluster"


def test_labels_of_mirrored_requests_are_shown_and_how_many_come_is_not_guessed() -> None:
    spec = Rollout(steps=("0%", "100%"), shadow="50%", checks=(RolloutCheck("shadow_quality"),))
    found = plan(spec)
    assert "check shadow_quality: up to 1 point worse, on the same labelled requests" in found.lines
    assert "0 %, for at least 1 min, and until shadow_quality passed" in found.lines
    assert found.steps[0].checks[0].needs is None


@pytest.mark.parametrize(
    ("checks", "says"),
    [
        ((RolloutCheck("errors"), RolloutCheck("predictions")), "what fails takes it back"),
        ((RolloutCheck("predictions"), RolloutCheck("errors", advisory=True)), "what fails pauses it"),
        ((RolloutCheck("errors", advisory=True),), "check errors:"),
    ],
    ids=str,
)
def test_the_plan_says_what_certain_harm_does(checks: tuple[RolloutCheck, ...], says: str) -> None:
    assert plan(Rollout(steps=("10%", "100%"), checks=checks)).lines[-1].startswith(says)


def test_a_sticky_rollout_counts_users() -> None:
    spec = Rollout(steps=("10%", "100%"), sticky=Sticky(header="x-user-id"))
    assert "of each user only the first request in a step counts" in plan(spec, per_s=50_000.0).warnings[0]


@pytest.mark.parametrize(
    ("check", "says"),
    [
        (RolloutCheck("errors", strict=True), "fails on any harm that is certain"),
        (RolloutCheck("errors", harm="50%", plus="1%"), "up to 1.5 × the stable's, and 1 point more"),
        (
            RolloutCheck("latency", harm="50%", plus="1%"),
            "p50 up to 1.5 × and 1 point of the requests, p99 up to 1.5 × and 1 point of the requests",
        ),
        (RolloutCheck("cost"), "up to 1.1 × the stable's"),
        (RolloutCheck("quality"), "up to 1 point worse"),
        (RolloutCheck("outcome", harm="3%", good="yes"), "up to 3 points worse"),
        (RolloutCheck("outcome", gain="0.5%", good="yes"), "passes only where better by 0.5 points"),
        (RolloutCheck("quality", gain="1%"), "passes only where better by 1 point"),
        (RolloutCheck("outcome", kpi="revenue"), "up to 5 % less revenue"),
        (RolloutCheck("outcome", kpi="wait_s", better="lower", harm="2%"), "up to 2 % more wait_s"),
        (RolloutCheck("outcome", kpi="revenue", gain="3%"), "passes only with 3 % more revenue"),
        (RolloutCheck("confidence"), "up to 10 % of the answers move"),
    ],
    ids=str,
)
def test_each_margin_in_words(check: RolloutCheck, says: str) -> None:
    assert planning.tolerates(check) == says


def test_a_healthy_candidate_needs_as_many_requests_as_the_published_table_says() -> None:
    """docs/statistics.md, `margin`, x1: at 1 % errors a healthy candidate passed after 5,305 requests (median)."""
    found = plan(CANARY, errors=0.01).steps[0].checks[0]
    assert found.check == "errors" and found.needs is not None
    assert 5305 / 3 < found.needs < 5305 * 3


def test_how_many_labels_a_check_takes_is_told_where_the_stables_are_known() -> None:
    known = {"outcome": PastLabels(5_000, 0.5, 0.25)}
    spec = Rollout(steps=("50%", "100%"), checks=(RolloutCheck("outcome", good="bought", gain="2%"),))
    found = planning.plan(spec, past(200.0, 0.0), 3600.0, NOW_S, known)  # type: ignore[arg-type]
    line = next(line for line in found.lines if line.startswith("check outcome"))
    assert line == (
        "check outcome: passes only where better by 2 points; about 13,000 labels of the candidate's requests at 50 %, "
        "where it is better by twice that"
    )
    assert found.steps[0].checks[0].labels == 13_000
    assert "labels" not in " ".join(plan(spec).lines)
