"""Resuming equals going on; pages merge in any order; more harm is more evidence; no data, no verdict."""

from __future__ import annotations

import itertools
import math
import random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from seaway.core import ledger
from seaway.core.checks import Verdict
from seaway.core.evidence import arms, combining, pairs, predictions, units, wealth
from seaway.core.evidence.combining import Standing
from seaway.core.evidence.streams import Look
from seaway.core.ledger import Counts, Page, Second

SIZES = st.tuples(st.integers(0, 40), st.integers(0, 400), st.floats(0, 1), st.floats(0, 1))
LOOKS = st.lists(SIZES, min_size=1, max_size=12)
RULES = st.builds(
    arms.Rule,
    strict=st.booleans(),
    cluster=st.sampled_from([1.0, 8.0]),
    rate=st.sampled_from([0.0, 0.001, 0.05, 0.7, 1.0]),
    interval=st.booleans(),
)


def looks_of(drawn: list[tuple[int, int, float, float]]) -> list[Look]:
    return [
        Look(1.0 + 7 * place, n_c, round(n_c * bad_c), n_s, round(n_s * bad_s))
        for place, (n_c, n_s, bad_c, bad_s) in enumerate(drawn)
    ]


@given(RULES, LOOKS, st.integers(0, 12))
@settings(max_examples=60)
def test_resuming_from_what_was_kept_equals_going_on(
    rule: arms.Rule, drawn: list[tuple[int, int, float, float]], cut: int
) -> None:
    whole = resumed = arms.begin(rule, 0.0)
    for place, look in enumerate(looks_of(drawn)):
        whole = arms.seen(whole, look)
        if place == cut:
            resumed = msgspec.json.decode(msgspec.json.encode(resumed), type=arms.Arms)
        resumed = arms.seen(resumed, look)
    assert resumed == whole
    assert all(math.isfinite(log) for row in (*whole.fail.logs, *whole.passing.logs) for log in row)


@given(RULES, SIZES.filter(lambda s: s[0] > 0 and s[1] > 0))
def test_more_bad_answers_of_the_candidate_are_never_less_evidence_of_harm(
    rule: arms.Rule, drawn: tuple[int, int, float, float]
) -> None:
    fresh, (n_c, n_s, _, bad_s) = arms.begin(rule, 0.0), drawn
    found = [arms.seen(fresh, Look(1.0, n_c, bad, n_s, round(n_s * bad_s))) for bad in range(n_c + 1)]
    fails, passes = [one.log_fail for one in found], [one.log_pass for one in found]
    assert all(a <= b + 1e-9 for a, b in itertools.pairwise(fails))
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(passes))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50), st.integers(0, 9)), max_size=12), st.randoms()
)
def test_the_order_in_which_workers_pages_come_changes_no_evidence(
    drawn: list[tuple[int, int, int]], chance: random.Random
) -> None:
    pages = [
        Page("e", revision, "sha256:1", (Second(at_s, Counts(finished=n + bad, failed=bad)),))
        for at_s, n, bad in drawn
        for revision in (1, 2)
    ]
    shuffled = pages[:]
    chance.shuffle(shuffled)
    assert _evidence(pages) == _evidence(shuffled)


def _evidence(pages: list[Page]) -> arms.Arms:
    found = arms.begin(arms.Rule(), 0.0)
    merged = ledger.merge_pages(pages)
    if not merged:
        return found
    stable, candidate = merged
    for one, other in zip(candidate.seconds, stable.seconds, strict=True):
        found = arms.seen(found, units.errors(one.at_s + 1, one.counts, other.counts))
    return found


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), max_size=10))
def test_without_traffic_in_both_arms_nothing_is_decided(drawn: list[tuple[int, int]]) -> None:
    found = arms.begin(arms.Rule(), 0.0)
    for place, (n, bad) in enumerate(drawn):
        n_c, n_s = (n, 0) if place % 2 else (0, n)
        found = arms.seen(found, Look(place + 1, n_c, min(bad, n_c), n_s, min(bad, n_s)))
    assert found.log_fail <= 1e-9
    assert found.peak_pass == 0.0
    assert found.dropped == len(drawn)
    stand = Standing("errors", 1.0, found.log_fail, found.peak_pass, found.step.candidate)
    assert combining.verdict_of(stand, 0.05, 0.05) is Verdict.INCONCLUSIVE


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 300)), max_size=8), st.randoms()
)
def test_pairs_give_the_same_evidence_in_any_order(
    drawn: list[tuple[int, int, int]], chance: random.Random
) -> None:
    shuffled = drawn[:]
    chance.shuffle(shuffled)
    found = []
    for order in (drawn, shuffled):
        one = pairs.begin(pairs.Labelled(), 0.0, late=False)
        for place, numbers in enumerate(order):
            one = pairs.seen(one, pairs.PairLook(place + 1, *numbers))
        found.append(one)
    assert math.isclose(found[0].log_fail, found[1].log_fail, rel_tol=1e-9, abs_tol=1e-9)
    assert math.isclose(found[0].log_pass, found[1].log_pass, rel_tol=1e-9, abs_tol=1e-9)


@given(st.lists(st.tuples(*[st.integers(0, 20)] * 6), max_size=8), st.booleans())
def test_predictions_resume_and_stay_finite(drawn: list[tuple[int, ...]], ordered: bool) -> None:
    cuts = (5,) if ordered else None
    groups = predictions.Groups((0.5, 0.3, 0.2), classes=() if ordered else ("a", "b"), cuts=cuts)
    whole = resumed = predictions.begin(groups, 0.0)
    for place, counts in enumerate(drawn):
        whole = predictions.seen(whole, place + 1, counts[:3], counts[3:])
        again = msgspec.json.decode(msgspec.json.encode(resumed), type=predictions.Predictions)
        resumed = predictions.seen(again, place + 1, counts[:3], counts[3:])
    assert resumed == whole
    assert math.isfinite(whole.log_fail)
    assert math.isfinite(whole.log_pass)


@given(
    st.lists(st.tuples(st.floats(-50, 50), st.floats(0, 50), st.booleans(), st.integers(0, 9)), max_size=6)
)
def test_a_verdict_follows_its_rules_for_any_evidence(drawn: list[tuple[float, float, bool, int]]) -> None:
    stands = [
        Standing(f"c{place}", 1 / len(drawn), fail, peak, units_, "dead" if broken else None)
        for place, (fail, peak, broken, units_) in enumerate(drawn)
    ]
    for one in stands:
        verdict = combining.verdict_of(one, 0.05, 0.05)
        if verdict is Verdict.PASSED:
            assert one.units > 0 and one.fault is None
        if verdict is Verdict.FAILED:
            assert combining.log_sum(stands) >= math.log(20) - 1e-9, "what fails alone fails the rollout"
        assert combining.verdict_of(one, 0.05, 0.05, "sample ratio") is Verdict.ERRORED


@given(st.lists(st.floats(-5000, 5000), min_size=1, max_size=9))
def test_the_mean_of_exponentials_never_leaves_the_logarithms(logs: list[float]) -> None:
    row = wealth.Wealth((tuple(logs),), 3)
    value = float(wealth.log_values(row)[0])
    assert math.isfinite(value)
    assert value <= max(*logs, 0.0) + math.log(2) + 1e-9
