"""The bench's judgement: medians, ratios, which peers count, targets met or missed."""

from __future__ import annotations

import pytest

from bench import catalogue, figures, targets
from bench.bodies import Form
from bench.figures import Closed, Limit, Measured, Opened

LIMIT = Limit(single_per_s=76_000, single_p50_us=12.0, rows64_per_s=3_850)


def measured(
    system: str, work: str = "small", form: Form = Form.OIP_JSON, per_s: float = 1000.0, **more: object
) -> Measured:
    closed = [Closed(c, per_s, 1.0, 2.0, 0, [per_s]) for c in (1, 64)]
    entry = Measured(system=system, work=work, form=form, command="serve", limit=LIMIT, closed=closed)
    for name, value in more.items():
        setattr(entry, name, value)
    return entry


def opened(factor: float, goodput: float = 900.0) -> Opened:
    return Opened(
        factor=factor,
        offered_per_s=factor * 1000,
        goodput_per_s=goodput,
        refused_per_s=0.0,
        p50_ms=2.0,
        p99_ms=5.0,
        refused_p99_ms=None,
        unanswered=0,
        unsent=0,
        errors=0,
        statuses={200: 1},
        client_lag_p99_ms=0.1,
    )


def test_the_limit_is_the_mean_of_the_loops_before_and_after() -> None:
    mean = figures.mean_limit([Limit(100.0, 10.0, 1000.0), Limit(200.0, 20.0, 3000.0)])
    assert mean == Limit(150.0, 15.0, 2000.0)


def test_a_peer_within_a_fifth_of_its_row_counts() -> None:
    entries = [measured("mlserver", per_s=1306 * 0.81)]
    figures.judge(entries)
    assert not entries[0].invalid and entries[0].problem is None


def test_a_peer_more_than_a_fifth_short_of_its_row_was_set_up_wrong() -> None:
    entries = [measured("mlserver", per_s=1306 * 0.79)]
    figures.judge(entries)
    assert entries[0].invalid
    assert "set up wrong" in (entries[0].problem or "")


def test_a_slower_machine_makes_no_peer_invalid() -> None:
    entry = measured("mlserver", per_s=653.0)
    entry.limit = Limit(38_000, 24.0, 1_900)
    figures.judge([entry])
    assert not entry.invalid


def test_a_peer_counts_by_the_best_of_its_forms() -> None:
    entries = [measured("pytriton", form=Form.OIP_JSON, per_s=900.0)]
    entries.append(measured("pytriton", form=Form.OIP_BINARY, per_s=2600.0))
    figures.judge(entries)
    assert not any(entry.invalid for entry in entries)


def test_grpc_has_rows_of_its_own() -> None:
    entries = [measured("pytriton", form=Form.OIP_GRPC, per_s=2900.0), measured("pytriton", per_s=10.0)]
    figures.judge(entries)
    assert [entry.invalid for entry in entries] == [False, True]


@pytest.mark.parametrize(("system", "share"), [("fastapi", 185 / 76_000), ("torchserve", 914 / 3_850)])
def test_on_heavy_a_batching_peer_is_held_against_batches(system: str, share: float) -> None:
    entry = measured(system, "heavy", per_s=185.0 if system == "fastapi" else 914.0)
    assert figures.share_of_limit(entry) == pytest.approx(share)


def test_every_peer_has_a_row_for_both_models() -> None:
    for work in ("small", "heavy"):
        assert all(figures.expected_share(peer, work, Form.INPUTS) for peer in catalogue.PEERS)


def test_the_best_peer_is_the_fastest_that_counts() -> None:
    entries = [
        measured("mlserver", per_s=1300.0),
        measured("fastapi", form=Form.INPUTS, per_s=1800.0),
        measured("torchserve", per_s=9000.0, invalid=True),
        measured("kserve", per_s=8000.0, wrong=1),
        measured("seaway", per_s=7000.0),
        measured("pytriton", form=Form.OIP_GRPC, per_s=6000.0),
    ]
    assert figures.best_peer(entries, "small", 64, targets.HTTP) == ("fastapi", 1800.0)
    assert figures.best_peer(entries, "heavy", 64, targets.HTTP) is None


def rows(entries: list[Measured]) -> dict[str, figures.Target]:
    return {target.row: target for target in targets.all_targets(entries)}


def test_nothing_measured_meets_nothing() -> None:
    made = targets.all_targets([])
    assert len(made) == 18
    assert {target.met for target in made} == {None}


def test_targets_are_compared_with_the_best_peer_and_the_loop() -> None:
    made = rows([measured("seaway", per_s=38_000.0), measured("fastapi", form=Form.INPUTS, per_s=1900.0)])
    loop = made["small, JSON, 64 connections, ÷ session.run loop"]
    assert (loop.measured, loop.met) == (0.5, True)
    best = made["small, JSON, 64 in flight, ÷ best peer (fastapi, 1,900/s)"]
    assert (best.measured, best.met) == (20.0, True)
    added = made["small, JSON, 1 connection, added latency, µs p50"]
    assert (added.measured, added.met) == (988.0, False)


def test_overload_and_tail_come_from_the_open_loops() -> None:
    made = rows([measured("seaway", opened=[opened(0.8), opened(2.0), opened(5.0, goodput=800.0)])])
    assert made["small, Poisson at 80 % of capacity, p99 ÷ p50"].met is True
    assert made["small, offered 2 × capacity, goodput ÷ peak"].met is True
    assert made["small, offered 5 × capacity, goodput ÷ peak"].met is False


def test_a_load_that_the_client_cannot_offer_judges_nobody() -> None:
    assert figures.can_offer(16_000, client_per_s=3_000), "slow because the server is"
    assert figures.can_offer(30_000, client_per_s=35_000)
    assert not figures.can_offer(70_000, client_per_s=35_000)
    made = rows([measured("seaway", opened=[opened(0.8)])])
    assert made["small, offered 5 × capacity, goodput ÷ peak"].met is None
