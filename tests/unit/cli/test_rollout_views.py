"""What the verbs of rollouts print, within 100 columns, and which looks `explain` chooses."""

from __future__ import annotations

import io
from collections.abc import Callable

import msgspec
import pytest
import rollout_values as r
import watch_values as v
from rich.console import Console

from seaway.cli import history_view, output, rollout_explained, rollouts_view
from seaway.control import views
from seaway.control.rollouts import views as rollouts
from seaway.core.checks import Verdict
from seaway.core.events import EventKind
from seaway.core.rollouts.judgement import Judgement
from seaway.core.rollouts.spec import Step
from seaway.core.rollouts.state import Ground, Grounds, RolloutPhase, Taken


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], str]:
    def run(call: Callable[[], None]) -> str:
        out = io.StringIO()
        monkeypatch.setattr(
            output, "console", lambda: Console(file=out, width=100, highlight=False, color_system=None)
        )
        call()
        text = out.getvalue()
        assert all(len(line) <= 100 for line in text.splitlines())
        return text

    return run


Printed = Callable[[Callable[[], None]], str]


def test_a_rollout_shows_where_it_is_what_it_waits_for_and_each_check(printed: Printed) -> None:
    text = printed(lambda: rollouts_view.print_rollout(r.status(r.judgement()), running=True))
    assert text.splitlines()[0] == ("prices/4  running  step 3 of 4: revision 4 25 %, revision 3 75 %")
    assert "1 % → 5 % → 25 % → 100 %" in text
    assert "its hold, 19 s more, and latency (about 8 min at today's traffic)" in text
    (row,) = [line for line in text.splitlines() if line.startswith("errors")]
    assert row.split()[:2] == ["errors", "passed"]
    assert "4 of 3,100" in row and "0.102 % of 58.9k" in row and "-0.1 % to +0.11 %" in row
    assert "+0.2 %" in row and "rollback" in row
    assert "  latency: latency: so and so" not in text and "latency: so and so" in text
    assert "looks      41, alpha 5%" in text
    assert "stands still" not in text


def test_one_that_is_over_says_where_its_story_is_and_shows_no_empty_table(printed: Printed) -> None:
    nothing = r.judgement(0, 0, (r.check("errors"),))
    ended = {"phase": RolloutPhase.ABORTED, "ended_s": v.NOW_S, "why": "enough"}
    text = printed(lambda: rollouts_view.print_rollout(r.status(nothing, **ended), running=True))
    assert "seaway explain prices/4" in text and "verdict" not in text
    text = printed(lambda: rollouts_view.print_rollout(r.status(nothing), running=True))
    assert "seaway explain" not in text and "verdict" in text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"candidate": 10_460, "candidate_bad": 1}, "1 of 10,460"),
        ({"candidate": 10_460, "candidate_bad": 10}, "0.0956 % of 10.5k"),
        ({"candidate": 52}, "0 % of 52"),
        ({"candidate": 52, "candidate_bad": 0.5}, "0.962 % of 52"),
        ({"candidate": 150, "means": (62.3e-6, 70e-6)}, "62.3 of 150"),
        ({"candidate": 0, "means": (0.0, 0.0)}, "-"),
    ],
    ids=str,
)
def test_what_was_seen_of_an_arm(more: dict[str, object], said: str) -> None:
    if said == "62.3 of 150":
        assert rollouts_view.rates(r.check("cost", **more, stable=1400)) == (
            "62.3 µs of 150",
            "70 µs of 1,400",
        )
    else:
        assert rollouts_view.rates(r.check("errors", **more))[0] == said


def test_the_quantile_and_what_was_never_seen_are_named(printed: Printed) -> None:
    checks = (r.check("latency", part="p99", candidate=10, stable=90), r.check("errors"))
    text = printed(lambda: rollouts_view.print_checks(r.judgement(checks=checks), baking=False))
    assert "latency p99  inconclusive" in text
    assert "errors       nothing seen yet" in text
    record_ = record(
        r.judgement(1, 0, checks), r.judgement(2, 0, (r.check("latency", part="p50", candidate=20),))
    )
    told = printed(lambda: rollout_explained.print_record(record_))
    rows = [line.split() for line in told.splitlines() if "inconclusive" in line]
    assert [row[3] if row[3].startswith("p") else row[4] for row in rows] == ["p99", "p50"]


WAY = (
    Taken(1.0, 0.0, v.NOW_S - 290, "seaway", Grounds("ready")),
    Taken(
        100.0,
        1.0,
        v.NOW_S - 200,
        "seaway",
        Grounds(
            "passed",
            (Ground("errors", Verdict.PASSED, "errors: 0 % against 0 % on 900 and 90,000 requests"),),
        ),
    ),
)


def test_a_promoted_rollout_shows_why_and_what_it_was_decided_on(printed: Printed) -> None:
    bake = r.judgement(300, 3, (r.check("errors", gating=False, weight=0.0, candidate=500),))
    over = r.status(
        bake,
        phase=RolloutPhase.PROMOTED,
        step=3,
        percent=100.0,
        ended_s=v.NOW_S,
        taken=WAY,
        why="at 1 % errors passed; no alarm came in its bake of 10m",
    )
    text = printed(lambda: rollouts_view.print_rollout(over, running=True))
    told = " ".join(text.split())
    assert "why at 1 % errors passed; no alarm came in its bake of 10m" in told
    assert "every worker had it ready" in told and "errors passed" in told
    assert "errors passed: 0 % against 0 % on 900 and 90,000 requests" in told
    (row,) = [line for line in text.splitlines() if line.startswith("errors")]
    assert "no alarm" in row and "inconclusive" not in row


def test_an_explanation_tells_the_evidence_of_each_step_and_an_overridden_gate(printed: Printed) -> None:
    deploy = r.event(11, EventKind.DEPLOY_REQUESTED, "revision 4 of prices is prices:v4", 300, by="ada")
    gate = {"gate": "failed", "override": "the golden set is old", "failed_checks": "golden, latency"}
    step = r.event(14, EventKind.ROLLOUT_STEPPED, "revision 4 takes 100 % (step 4 of 4): errors passed", 200)
    told = {
        "percent": "100",
        "passed": "errors",
        "not_passed": "latency",
        "evidence.errors": "errors: 0 % of 900",
    }
    told["evidence.latency"] = "p99: 2 % of 900"
    events = (
        msgspec.structs.replace(deploy, details=gate),
        *EVENTS[1:3],
        msgspec.structs.replace(step, details=told),
    )
    text = printed(lambda: rollout_explained.print_record(record(events=events)))
    assert "gate: failed (golden, latency); ada deployed it all the same: the golden set is old" in text
    assert "Why it took 100 %" in text and "Why it took 1 %" not in text
    assert "  errors passed: 0 % of 900" in text and "  latency had not passed: p99: 2 % of 900" in text


def test_who_is_waited_for_reads_what_to_type(printed: Printed) -> None:
    asks = msgspec.structs.replace(r.SPEC, steps=("1%", "5%", Step("25%", approve=True), "100%"))
    for found, verb in (
        (r.status(phase=RolloutPhase.PAUSED), "seaway resume prices"),
        (r.status(spec=asks), "seaway approve prices"),
    ):
        text = printed(lambda found=found: rollouts_view.print_rollout(found, running=True))  # type: ignore[misc]
        assert text.rstrip().endswith(f"{verb}; take it back: seaway abort prices")
    done = printed(lambda: rollouts_view.print_rollout(r.status(spec=asks, approved=2), running=True))
    assert "seaway approve" not in done


def test_without_a_server_it_stands_still_and_says_so(printed: Printed) -> None:
    text = printed(lambda: rollouts_view.print_rollout(r.status(), running=False))
    assert "no server runs on this home, so the rollout stands still: seaway up" in text
    over = r.status(phase=RolloutPhase.PROMOTED, ended_s=v.NOW_S)
    assert "stands still" not in printed(lambda: rollouts_view.print_rollout(over, running=False))


@pytest.mark.parametrize("deferred", [False, True])
def test_a_move_says_what_it_did_and_what_comes_next(printed: Printed, deferred: bool) -> None:
    accepted = views.Accepted("prices", 4, v.digest(4), "prices:v4", 9, True, 12, "paused", deferred=deferred)
    text = printed(lambda: rollouts_view.print_moved(accepted, r.status(phase=RolloutPhase.PAUSED)))
    assert ("without one a rollout stands still: seaway up" in " ".join(text.split())) is deferred
    assert "waits for a person" in text


EVENTS = (
    r.event(11, EventKind.DEPLOY_REQUESTED, "revision 4 of prices is prices:v4", 300, by="ada"),
    r.event(12, EventKind.ROLLOUT_STARTED, "revision 4 against revision 3", 300, by="ada"),
    r.event(13, EventKind.ROLLOUT_STEPPED, "revision 4 takes 1 % (step 1 of 4)", 290, percent="1"),
    r.event(14, EventKind.ROLLOUT_ROLLED_BACK, "errors: 1.9 % against 1.0 %", 240),
    r.event(15, EventKind.REVISION_LIVE, "revision 3 (prices:v3) answers", 239.6, revision=3),
)


def record(*looks: Judgement, events: tuple = EVENTS) -> rollouts.RolloutRecord:  # type: ignore[type-arg]
    candidate, stable = rollouts.Arm(4, v.digest(4), "prices:v4"), rollouts.Arm(3, v.digest(3), "prices:v3")
    return rollouts.RolloutRecord("prices", candidate, stable, r.SPEC, None, events, looks)


def test_a_rollout_is_explained_from_its_events_and_looks(printed: Printed) -> None:
    failed = r.check(
        "errors",
        Verdict.FAILED,
        words="candidate 1.9 % errors against 1.0 %",
        candidate=3100,
        candidate_bad=59,
    )
    looks = [r.judgement(n, 0, (r.check("errors", words="", stable=n),)) for n in range(1, 50)]
    looks.append(r.judgement(50, 0, (failed,)))
    text = printed(lambda: rollout_explained.print_record(record(*looks)))
    assert text.splitlines()[0] == "prices/4  rolled back"
    assert "why: errors: 1.9 % against 1.0 %" in text
    assert "ada" in text and "revision 4 takes 1 % (step 1 of 4)" in text
    assert "candidate 1.9 % errors against 1.0 %" in text
    (last,) = [line for line in text.splitlines() if "failed" in line]
    assert last.split()[1:3] == ["1", "%"] and "1.9 % of 3,100" in last
    assert text.count("inconclusive") <= rollout_explained.MOST_LOOKS


def test_a_look_shows_the_share_of_its_time_also_one_set_by_hand_and_its_day_where_there_are_several(
    printed: Printed,
) -> None:
    events = (*EVENTS[:3], r.event(14, EventKind.TRAFFIC_SET, "revision 4 takes 30 %", 200, percent="30"))
    seen = r.check("errors", candidate=10)
    early = msgspec.structs.replace(r.judgement(1, 0, (seen,)), through_s=round(v.NOW_S - 250))
    late = msgspec.structs.replace(r.judgement(2, 2, (seen,)), through_s=round(v.NOW_S - 100))
    text = printed(lambda: rollout_explained.print_record(record(early, late, events=events)))
    rows = [line.split() for line in text.splitlines() if "inconclusive" in line]
    assert [row[1:3] for row in rows] == [["1", "%"], ["30", "%"]]
    days = msgspec.structs.replace(late, through_s=late.through_s + 3 * 86_400)
    text = printed(lambda: rollout_explained.print_record(record(early, days, events=events)))
    rows = [line.split() for line in text.splitlines() if "inconclusive" in line]
    assert rows[0][0] != rows[1][0] and all(len(row[0]) == len("11-22") for row in rows)


def test_the_history_names_the_check_and_leaves_the_sentence_to_explain(printed: Printed) -> None:
    told = {"percent": "1", "cause": "errors", "why": "candidate 1.9 % errors against 1.0 % on 31 requests"}
    event = msgspec.structs.replace(EVENTS[3], details=told)
    text = printed(lambda: history_view.print_history([event], None, "prices"))
    assert text.rstrip().endswith("1 %: errors")


def test_the_history_shows_the_reason_that_a_person_gave(printed: Printed) -> None:
    told = {"percent": "30", "why": "ada went on by hand, before its hold was over", "reason": "the fair"}
    event = msgspec.structs.replace(EVENTS[3], kind=EventKind.TRAFFIC_SET, details=told)
    text = printed(lambda: history_view.print_history([event], None, "prices"))
    assert text.rstrip().endswith("30 %: the fair")


def test_a_rollout_that_goes_on_and_one_without_looks(printed: Printed) -> None:
    text = printed(lambda: rollout_explained.print_record(record(events=EVENTS[:3])))
    assert text.startswith("prices/4  not over") and "no look at its evidence is kept" in text


def test_the_looks_that_are_told_are_few_and_hold_every_change() -> None:
    verdicts = [Verdict.INCONCLUSIVE] * 400 + [Verdict.PASSED] * 300 + [Verdict.FAILED] * 2
    looks = [
        r.judgement(n, min(n // 500, 2), (r.check("errors", verdict, stable=9),))
        for n, verdict in enumerate(verdicts)
    ]
    told = rollout_explained.thinned(looks, "errors")
    places = [look.looks for look in told]
    assert len(told) <= rollout_explained.MOST_LOOKS and places == sorted(places)
    assert {0, 400, 500, 700, 701} <= set(places)
    assert rollout_explained.thinned(looks, "latency") == []
    assert rollout_explained.thinned(looks[:1], "errors") == looks[:1]
    empty = r.judgement(0, 0, (r.check("errors"),))
    assert rollout_explained.thinned([empty, *looks[:1]], "errors") == looks[:1]
    assert rollout_explained.thinned([empty, empty], "errors") == [empty]


def test_changes_are_all_told_however_many() -> None:
    looks = [
        r.judgement(n, 0, (r.check("errors", (Verdict.PASSED, Verdict.ERRORED)[n % 2]),)) for n in range(30)
    ]
    assert len(rollout_explained.thinned(looks, "errors")) == 30


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("prices/5", ("prices", "5")),
        ("a-1/120", ("a-1", "120")),
        ("5f2a9c1e77b04d36-2a", None),
        ("prices/0", None),
        ("prices/", None),
        ("/5", None),
        ("prices/5x", None),
        ("Prices/5", None),
        ("a.b/5", None),
    ],
)
def test_what_names_a_rollout(text: str, found: tuple[str, str] | None) -> None:
    match = rollout_explained.ROLLOUT.match(text)
    assert (None if match is None else match.groups()) == found


def test_harm_and_rates_in_figures() -> None:
    one = r.check("errors", candidate=1000, candidate_bad=19, low=0.004)
    assert rollouts_view.rates(one) == ("1.9 % of 1,000", "-")
    assert rollouts_view.harm(one) == "+0.4 % to …"
    assert rollouts_view.harm(msgspec.structs.replace(one, low=None)) == "-"


def test_in_the_bake_an_alarm_takes_it_back_and_an_advisory_check_never(printed: Printed) -> None:
    one = r.check("errors", candidate=741, weight=0.0, gating=False, log_pass=0.0)
    baking = r.status(r.judgement(9, 3, (one,)), phase=RolloutPhase.BAKING, step=3, percent=100.0)
    text = printed(lambda: rollouts_view.print_rollout(baking, running=True))
    (row,) = [line for line in text.splitlines() if line.startswith("errors  ")]
    assert row.split()[-1] == "rollback"
    advisory = r.status(r.judgement(9, 2, (one,)))
    text = printed(lambda: rollouts_view.print_rollout(advisory, running=True))
    (row,) = [line for line in text.splitlines() if line.startswith("errors  ")]
    assert row.split()[-1] == "no"
