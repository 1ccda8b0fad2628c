"""From seconds of both arms to verdicts: what each check sees, and what is never concluded."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from judged_world import GOOD, START_S, Model, World, check

from seaway.core.checks import Verdict
from seaway.core.evidence import units
from seaway.core.evidence.streams import Look
from seaway.core.ledger import Counts, PairCounts, Second
from seaway.core.rollouts import judging
from seaway.core.rollouts.processes import LabelLook, Rates
from seaway.core.rollouts.state import RolloutPhase

ALL = ("errors", "rejections", "latency", "predictions", "confidence", "cost")
WORSE = {
    "errors": Model(errors=0.2),
    "rejections": Model(rejected=0.2),
    "latency": Model(median_s=0.1),
    "predictions": Model(classes=(0.2, 0.3, 0.5)),
    "confidence": Model(sure=0.6),
    "cost": Model(cost_s=0.002),
}


def test_a_candidate_like_the_stable_one_passes_each_check() -> None:
    world = World(ALL, rate=600)
    found = world.run(300)
    assert found.verdict is Verdict.PASSED, [(c.check, c.verdict, c.words) for c in found.checks]
    assert {c.verdict for c in found.checks} == {Verdict.PASSED}
    assert found.seen
    assert (found.cause, found.paused_by, found.guard) == (None, None, None)
    assert found.through_s == START_S + 299
    assert sum(c.weight for c in found.checks) == pytest.approx(1.0)


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("predictions", "confidence")])
def test_what_is_worse_fails_its_own_check_and_names_it(name: str) -> None:
    world = World(ALL, candidate=WORSE[name])
    found = world.run(30)
    assert (found.verdict, found.cause) == (Verdict.FAILED, name)
    assert check(found, name).verdict is Verdict.FAILED
    assert "is certain (false-alarm risk 5 % per rollout)" in check(found, name).words


@pytest.mark.parametrize("name", ["predictions", "confidence"])
def test_answers_that_moved_pause_and_never_roll_back(name: str) -> None:
    world = World(ALL, candidate=WORSE[name])
    found = world.run(60)
    assert (found.verdict, found.cause, found.paused_by) == (Verdict.INCONCLUSIVE, None, name)
    assert "moved by" in check(found, name).words
    world.state = msgspec.structs.replace(world.state, accepted=(name,))
    found = world.run(300)
    assert (found.verdict, found.paused_by) == (Verdict.PASSED, None)
    assert (check(found, name).gating, check(found, name).weight) == (False, 0.0)
    assert check(found, "errors").weight == pytest.approx(1 / 6), "an accepted check's share is lost"


def test_a_check_that_pauses_rolls_back_where_the_user_says_so() -> None:
    world = World(({"check": "predictions", "then": "rollback"},), candidate=WORSE["predictions"])
    assert world.run(60).cause == "predictions"


@pytest.mark.parametrize("model", [Model(errors=0.2), Model(invalid=0.5), Model(median_s=0.1)])
@pytest.mark.parametrize("seed", range(5))
def test_200_candidate_requests_a_look_detect_within_2_looks(model: Model, seed: int) -> None:
    assert World(candidate=model, seed=seed).run(2).verdict is Verdict.FAILED


def test_c09_a_metric_that_is_no_number_never_passes() -> None:
    world = World(("errors", "quality"), rate=600)
    good = Look(0.0, 100, 5, 100, 5)
    for _ in range(300):
        world.run(1)
        now = msgspec.structs.replace(good, at_s=float(world.now_s), stable_bad=math.nan)
        world.evidence = judging.labelled(world.evidence, world.spec, LabelLook(now))
    found = world.judge()
    assert check(found, "errors").verdict is Verdict.PASSED
    assert check(found, "quality").verdict is Verdict.ERRORED
    assert "not a number" in check(found, "quality").words
    assert (found.verdict, found.seen) == (Verdict.ERRORED, False)


def test_c09_a_source_that_fails_or_falls_silent_never_passes_and_may_come_back() -> None:
    world = World(("errors", {"check": "quality", "harm": "3%"}), rate=600)
    assert world.run(300).verdict is Verdict.INCONCLUSIVE, "no label came"
    for number in range(200):
        look = Look(world.now_s + number, 50, 5, 50, 5)
        world.evidence = judging.labelled(world.evidence, world.spec, LabelLook(look))
    assert world.judge().verdict is Verdict.PASSED
    world.evidence = judging.labelled(world.evidence, world.spec, LabelLook(fault="outcomes cannot be read"))
    found = world.judge()
    assert (found.verdict, check(found, "quality").verdict) == (Verdict.ERRORED, Verdict.ERRORED)
    assert check(found, "quality").words == "quality: not judged: outcomes cannot be read"
    world.evidence = judging.labelled(world.evidence, world.spec, LabelLook())
    assert world.judge().verdict is Verdict.PASSED
    silent = world.judge("worker 1 gives no answer")
    assert (silent.verdict, silent.seen) == (Verdict.ERRORED, False)
    assert {c.verdict for c in silent.checks} == {Verdict.ERRORED}


def test_c10_a_candidate_without_traffic_is_not_promoted() -> None:
    world = World(ALL, share=0.05)
    for _ in range(500):
        _, theirs = world.second(split=0.0)
        empty = msgspec.structs.replace(theirs, counts=Counts(), units=Counts())
        world.feed(None, empty)
    found = world.judge()
    assert found.verdict is Verdict.INCONCLUSIVE
    assert not found.seen
    assert check(found, "errors").words == "errors: no requests of both arms yet, so nothing is known"


def test_c10_one_arm_alone_says_nothing() -> None:
    world = World(("errors",))
    for _ in range(300):
        ours, _ = world.second()
        world.evidence = judging.seen(world.evidence, world.spec, ours.at_s, ours, None)
    found = world.judge()
    assert found.verdict is not Verdict.PASSED
    assert not found.seen


def test_no_request_with_a_user_key_is_said() -> None:
    world = World(("errors", "latency", "agreement"), sticky={"header": "x-user-id"}, shadow="10%")
    for _ in range(100):
        ours, theirs = world.second()
        world.feed(*(msgspec.structs.replace(one, units=Counts()) for one in (ours, theirs)))
    found = world.judge()
    assert found.verdict is Verdict.INCONCLUSIVE
    for name in ("errors", "agreement"):
        assert "no request carries the user key" in check(found, name).words


def test_harm_that_was_certain_once_stays_and_the_first_crossing_is_kept() -> None:
    world = World(("errors",), candidate=Model(errors=0.2))
    world.run(3)
    world.candidate = Model(errors=0.0)
    found = world.run(600)
    assert check(found, "errors").log_fail < math.log(20)
    assert (found.verdict, found.cause) == (Verdict.FAILED, "errors")
    assert check(found, "errors").verdict is Verdict.FAILED


def test_03_a_step_keeps_the_evidence_of_harm_and_forgets_that_of_none() -> None:
    world = World(("errors", "latency"), rate=600, share=0.25, steps=["25%", "50%", "100%"])
    before = world.run(300)
    assert before.verdict is Verdict.PASSED
    at_s = world.now_s + 2.5
    world.state = msgspec.structs.replace(world.state, step=1, percent=50.0, since_s=at_s)
    world.evidence = judging.at_step(world.evidence, 1, 0.5, at_s, longest_s=1.0)
    after = world.judge()
    assert after.verdict is Verdict.INCONCLUSIVE
    assert not after.seen
    for one, other in zip(before.checks, after.checks, strict=True):
        assert one.log_fail == other.log_fail
        assert other.log_pass == 0.0
    world.share = 0.5
    world.run(4)
    assert world.evidence.step_looks == 0, "seconds in which an older request may end are skipped"
    assert world.run(300).verdict is Verdict.PASSED
    assert world.judge().guard is None


def test_a_second_is_never_counted_twice() -> None:
    world = World(("errors",))
    ours, theirs = world.second()
    world.feed(ours, theirs)
    once = world.evidence
    world.feed(ours, theirs)
    assert world.evidence == once


def test_a_round_trip_through_json_in_the_middle_changes_nothing() -> None:
    one, other = (World((*ALL, "agreement", "quality"), shadow="10%", past_s=0) for _ in range(2))
    pairs = PairCounts(19, 1, 0, 3)
    for _ in range(40):
        one.run(1, pairs=pairs)
        other.run(1, pairs=pairs)
        look = Look(one.now_s, 10, 1, 10, 1)
        one.evidence = judging.labelled(one.evidence, one.spec, LabelLook(look))
        other.evidence = judging.labelled(other.evidence, other.spec, LabelLook(look))
        other.resumed()
    assert one.evidence == other.evidence
    assert one.judge() == other.judge()


def test_what_is_not_known_of_the_past_is_learned_from_earlier_looks_and_said() -> None:
    world = World(ALL, rate=60, past_s=0)
    found = world.run(1)
    assert check(found, "latency").verdict is Verdict.INCONCLUSIVE
    assert "is learned first" in check(found, "latency").words
    assert check(found, "errors").candidate > 0, "errors need no past"
    for _ in range(60):
        if "learned" not in check(found := world.run(1), "latency").words:
            break
    known = sum(n for _, n in world.evidence.baseline.counts.latency)
    assert known >= 200
    assert check(found, "latency").candidate == 0, "the look that it was learned from is not tested"
    world.rate = 600
    assert {c.verdict for c in world.run(300).checks} == {Verdict.PASSED}


def test_latency_leaves_the_candidates_first_seconds_out_of_both_arms() -> None:
    cold = World(("errors", "latency"), warmup="10s", candidate=Model(median_s=0.5))
    found = cold.run(10)
    assert (check(found, "latency").candidate, check(found, "latency").stable) == (0, 0)
    assert check(found, "errors").candidate > 0
    cold.candidate = GOOD
    assert cold.run(300).verdict is Verdict.PASSED


def test_at_little_traffic_a_look_waits_for_both_arms() -> None:
    """Two requests a second, of which one in twenty is the candidate's: most seconds hold one arm only."""
    world = World(("errors",), rate=2, share=0.05, candidate=Model(errors=0.9))
    found = world.run(600)
    assert found.cause == "errors"
    (kept,) = world.evidence.checks
    (part,) = kept.process.parts  # type: ignore[union-attr]
    assert part.arms.total.stable > 20 * part.arms.total.candidate / 2


def test_a_split_that_is_not_the_wanted_one_makes_all_errored() -> None:
    world = World(("errors",), share=0.05)
    found = world.run(200, split=0.10)
    assert found.verdict is Verdict.ERRORED
    assert found.guard is not None
    assert "should have got 5.0 %" in found.guard
    assert {c.verdict for c in found.checks} == {Verdict.ERRORED}


def test_what_is_seen_after_a_wrong_split_is_not_believed() -> None:
    world = World(("errors",), share=0.05)
    world.run(200, split=0.10)
    world.candidate = Model(errors=0.5)
    found = world.run(60, split=0.10)
    assert (found.verdict, found.cause) == (Verdict.ERRORED, None)


def test_a_candidate_that_suddenly_takes_seconds_is_judged_though_its_share_lacked_for_them() -> None:
    """Units count when they end: for two seconds none of the candidate's do, then each is two seconds late."""
    world = World(("errors", "latency"))
    assert world.run(2).verdict is not Verdict.FAILED
    world.candidate = Model(median_s=2.0)
    for _ in range(2):
        _, theirs = world.second()
        world.feed(None, theirs)
    assert world.judge().guard is not None
    found = world.run(40)
    assert (found.verdict, found.cause, found.guard) == (Verdict.FAILED, "latency", None)


def test_harm_before_a_wrong_split_stays() -> None:
    world = World(("errors",), share=0.05, candidate=Model(errors=0.5))
    assert world.run(20).cause == "errors"
    found = world.run(200, split=0.10)
    assert (found.verdict, found.cause, found.guard) == (Verdict.FAILED, "errors", None)


def test_a_pause_holds_where_its_check_does_not_gate_the_step() -> None:
    steps = [{"to": "50%", "checks": ["errors"]}, "100%"]
    world = World(("errors", "predictions"), rate=600, steps=steps, candidate=WORSE["predictions"])
    found = world.run(300)
    assert check(found, "errors").verdict is Verdict.PASSED
    assert (found.verdict, found.paused_by) == (Verdict.INCONCLUSIVE, "predictions")


def test_shadow_answers_that_differ_fail_and_those_that_were_dropped_are_no_pairs() -> None:
    world = World(("agreement",), share=0.0, steps=["0%", "100%"], shadow="100%")
    found = world.run(200, pairs=PairCounts(20, 0, 0, 30))
    assert (found.verdict, check(found, "agreement").candidate) == (Verdict.PASSED, 4000)
    assert "6,000 more were not run" in check(found, "agreement").words
    for pairs in (PairCounts(15, 5, 0, 0), PairCounts(15, 0, 5, 0)):
        bad = World(("agreement",), share=0.0, steps=["0%", "100%"], shadow="100%")
        assert bad.run(30, pairs=pairs).cause == "agreement"


def test_labels_that_are_worse_roll_back() -> None:
    world = World(("errors", "quality"))
    for number in range(400):
        look = Look(START_S + number, 20, 4, 20, 2)
        world.evidence = judging.labelled(world.evidence, world.spec, LabelLook(look))
    found = world.judge()
    assert (found.verdict, found.cause) == (Verdict.FAILED, "quality")
    assert "wrong answers against 10 % on 8,000 and 8,000 labelled requests" in check(found, "quality").words


def test_an_outcome_that_fell_rolls_back() -> None:
    world = World(({"check": "outcome", "good": "bought", "harm": "2%"},))
    for number in range(600):
        look = Look(START_S + number, 20, 16, 20, 14)
        world.evidence = judging.labelled(world.evidence, world.spec, LabelLook(outcome=look))
    assert "without 'bought'" in check(world.judge(), "outcome").words
    assert world.judge().cause == "outcome"


def test_a_kpi_is_judged_and_told_on_its_own_scale() -> None:
    world = World(({"check": "outcome", "kpi": "revenue", "gain": "5%"},))
    before = check(world.judge(), "outcome")
    assert (before.means, before.margin) == (None, pytest.approx(-0.05))
    assert "its first values above 0 tell how large one usually is" in before.words
    draw = np.random.default_rng(1)
    for number in range(300):
        arms = (1 - np.minimum(draw.exponential(mean, 40), 100) / 100 for mean in (24.0, 20.0))
        look = units.labels(START_S + number, *(one.tolist() for one in arms))
        told = LabelLook(outcome=look, cap=100.0, below=2)
        world.evidence = judging.labelled(world.evidence, world.spec, told)
    found = check(world.judge(), "outcome")
    assert found.verdict is Verdict.PASSED
    assert found.means == pytest.approx((24.0, 20.0), rel=0.05)
    assert found.high is not None
    assert found.high <= -0.05
    assert "a gain of more than 5.0 % is certain" in found.words
    assert found.words.endswith("; 2 values below 0 counted as 0")


def test_what_labels_it_still_takes_is_told_in_labels() -> None:
    world = World(({"check": "outcome", "kpi": "revenue"},))
    draw = np.random.default_rng(1)
    for number in range(90):
        lacking = (1 - np.minimum(draw.exponential(20.0, 10), 100) / 100).tolist()
        look = units.labels(START_S + number, lacking, lacking)
        told = LabelLook(outcome=look, cap=100.0, below=1)
        world.evidence = judging.labelled(world.evidence, world.spec, told)
    words = check(world.judge(), "outcome").words
    assert " more candidate requests with revenue" in words
    assert words.endswith("; 1 value below 0 counted as 0")


def test_costs_are_weighed_one_by_one() -> None:
    """They vary far less than a yes or no of the same mean, so little of them says much."""
    world = World(("cost",), candidate=Model(cost_s=0.0013))
    world.run(30)
    (kept,) = world.evidence.checks
    assert isinstance(kept.process, Rates)
    mean = next(part for part in kept.process.parts if part.name == "mean")
    assert mean.arms.total.variance < 0.2
    assert mean.arms.variance < 0.2
    assert world.judge().cause == "cost"


def test_strict_fails_on_harm_that_is_within_the_margin() -> None:
    slower = Model(median_s=0.020 * 1.06)
    mild, strict = (
        World(({"check": "latency", "strict": is_strict},), rate=2000, candidate=slower)
        for is_strict in (False, True)
    )
    assert mild.run(200).verdict is not Verdict.FAILED
    assert strict.run(200).cause == "latency"


def test_an_advisory_check_is_shown_and_decides_nothing() -> None:
    checks = ("errors", {"check": "latency", "advisory": True})
    world = World(checks, rate=600, candidate=Model(median_s=0.1))
    found = world.run(300)
    assert found.verdict is Verdict.PASSED
    shown = check(found, "latency")
    assert (shown.verdict, shown.weight, shown.gating) == (Verdict.FAILED, 0.0, False)
    assert check(found, "errors").weight == 1.0


def test_only_the_steps_own_checks_gate_and_all_can_fail() -> None:
    steps = [{"to": "50%", "checks": ["errors"]}, "100%"]
    world = World(("errors", "quality"), rate=600, steps=steps)
    assert world.run(300).verdict is Verdict.PASSED
    for number in range(200):
        look = Look(world.now_s + number, 20, 10, 20, 2)
        world.evidence = judging.labelled(world.evidence, world.spec, LabelLook(look))
    assert world.judge().cause == "quality"


def test_many_weak_signs_are_harm_together() -> None:
    """The weighted sum may reach the limit though no check does alone."""
    world = World(("errors", "rejections"), candidate=Model(errors=0.035, rejected=0.02), rate=100)
    for _ in range(400):
        found = world.run(1)
        if found.verdict is Verdict.FAILED:
            break
    assert found.verdict is Verdict.FAILED
    assert found.log_evidence >= math.log(20)


def test_nothing_asked_passes_and_says_that_it_saw_nothing_broken() -> None:
    found = World((), share=0.0, steps=["0%", "100%"]).judge()
    assert (found.verdict, found.checks) == (Verdict.PASSED, ())


def test_a_known_number_of_rows_in_each_request_divides_the_evidence() -> None:
    """Twenty rows of one request are one piece of evidence, not twenty."""
    shares = {1: 0, 20: 0}
    for rows in shares:
        world = World(("predictions",), seed=3, rate=40, past_s=100)
        for second in range(60):
            arms_ = []
            for moved in (4, 0):
                answers = (("c0", (10 - moved) * rows), ("c1", (6 + moved) * rows), ("c2", 4 * rows))
                counts = Counts(finished=20, rows=20 * rows, answers=answers)
                arms_.append(Second(START_S + second, counts, counts))
            world.feed(*arms_)
        shares[rows] = check(world.judge(), "predictions").log_fail  # type: ignore[assignment]
    assert shares[20] < 1.5 * shares[1]


def test_a_look_that_waits_keeps_the_size_of_its_largest_requests() -> None:
    """Fifty rows of one request, and the other arm a second later with a request of one row."""
    many = Counts(finished=1, rows=50, answers=(("c0", 50),))
    one = Counts(finished=1, rows=1, answers=(("c1", 1),))
    world = World(("predictions",), past_s=100)
    for number in range(100):
        at_s = START_S + 2 * number
        world.feed(Second(at_s, many, many), None)
        world.feed(None, Second(at_s + 1, one, one))
    (kept,) = world.evidence.checks
    assert kept.process.found.step_weight < 3  # type: ignore[union-attr]


def bake(world: World, looks: int, model: Model) -> None:
    world.state = msgspec.structs.replace(
        world.state, phase=RolloutPhase.BAKING, step=1, percent=100.0, since_s=float(world.now_s)
    )
    world.evidence = judging.at_step(world.evidence, 1, 1.0, float(world.now_s))
    for _ in range(looks):
        counts = world.counts(model, 400)
        second = Second(world.now_s, counts)
        world.evidence = judging.baked(world.evidence, world.spec, world.now_s, second)
        world.now_s += 1


def test_a_bake_alarms_where_errors_rise_above_the_past_and_else_never() -> None:
    world = World(("errors",))
    world.run(60)
    bake(world, 600, GOOD)
    calm = world.judge()
    assert (calm.verdict, calm.cause) == (Verdict.INCONCLUSIVE, None)
    world.resumed()
    bake(world, 10, Model(errors=0.05))
    found = world.judge()
    assert (found.verdict, found.cause) == (Verdict.FAILED, "errors")
    assert "have risen above it" in found.checks[0].words
    assert found.step == 1


def test_a_bake_without_a_past_has_no_alarm() -> None:
    world = World((), share=0.0, steps=["0%", "100%"], past_s=0)
    bake(world, 30, Model(errors=0.5))
    assert world.judge().verdict is Verdict.INCONCLUSIVE
    assert "too little is known" in world.judge().checks[0].words


def test_words_of_each_check_name_rates_counts_and_what_lacks() -> None:
    found = World((*ALL, "agreement"), share=0.05, shadow="10%", rate=200).run(5, pairs=PairCounts(9, 0))
    said = {c.check: c.words for c in found.checks}
    assert said["errors"].startswith("candidate ")
    assert " ms against " in said["latency"] and " of the stable's over " in said["latency"]
    assert "of processor time a request" in said["cost"] or "cost: " in said["cost"]
    assert "10 % is tolerated" in said["predictions"]
    assert "confidences moved by" in said["confidence"]
    assert "both answer differently" in said["agreement"]
    undecided = [c for c in found.checks if c.verdict is Verdict.INCONCLUSIVE and c.more is not None]
    assert undecided
    for one in undecided:
        assert one.more_s is not None and one.more_s > 0
        assert "seldom over 6 times that" in one.words


def test_07_a_check_of_two_tests_passes_only_where_both_do() -> None:
    world = World(("latency",), rate=600)
    found = world.run(6)
    (kept,) = world.evidence.checks
    p50, p99 = (part.arms for part in kept.process.parts)  # type: ignore[union-attr]
    assert p99.peak_pass < math.log(20) < p50.peak_pass, "the median is known sooner"
    shown = check(found, "latency")
    assert (shown.verdict, shown.log_pass) == (Verdict.INCONCLUSIVE, p99.peak_pass)
    assert shown.words.startswith("p99: ")
    assert shown.log_fail == pytest.approx(np.logaddexp(p50.log_fail, p99.log_fail) - math.log(2))
