"""The rollout in the picture of `seaway watch`, with fixed values."""

from __future__ import annotations

import msgspec
import pytest
import rollout_values as r
import watch_values as v
from rich.text import Text

from seaway.cli import watch_rollout
from seaway.cli.watch_model import Watch
from seaway.cli.watch_view import render
from seaway.control.rollouts.views import RolloutStatus
from seaway.core.checks import Verdict
from seaway.core.rollouts.state import RolloutPhase

AT_100_BY_34 = """\
ROLLOUT  revision 4 against 3 · running · step 3 of 4 · held 41 s of 1 min
  candidate  25 % wanted, 25.0 % came, next 100 %  ████████████
  errors       passed          4 of 3,100  0.102 % of 58.9k          ·····━━━━━━━━━━━━···┃··········
  latency      inconclusive  1 % of 3,100  0.985 % of 58.9k  ~8 min  ━━━━━━━━━━━━━━━┃━━━━━━━━━━━━···
  predictions  inconclusive         3,100             58.9k   ~70 s  of passed ██████████▋
! agreement    errored                  -                 -          no pair for 3 looks
  waits for its hold, 19 s more, and latency (about 8 min at today's traffic), predictions (about 7…"""


def traffic(requests: int) -> object:
    return lambda ago: v.counts(requests, 4.0, (("up", requests),))


def watched(rollout: RolloutStatus) -> Watch:
    pages = [v.page(3, 300, traffic(60)), v.page(4, 120, traffic(20))]  # type: ignore[arg-type]
    workers = [v.worker(0, v.loaded(3, v.execution()), v.loaded(4, v.execution()))]
    status = v.status(live=3, revisions=(3, 4), desired=4)
    told = msgspec.structs.replace(v.told(*pages, endpoint=status, workers=workers), rollout=rollout)
    return Watch.from_pages(told, pages, v.EVENTS)


def drawn(rollout: RolloutStatus, width: int, height: int | None) -> list[str]:
    lines = v.drawn(render(watched(rollout), width, height), width)
    assert height is None or len(lines) <= height
    assert all(Text(line).cell_len <= width for line in lines)
    return lines


def section(lines: list[str]) -> list[str]:
    start = next(place for place, line in enumerate(lines) if line.startswith("ROLLOUT"))
    rest = lines[start + 1 :]
    end = next(place for place, line in enumerate(rest) if not line.startswith((" ", "!")))
    return lines[start : start + 1 + end]


def test_at_100_by_34_the_split_the_step_and_every_check_are_there() -> None:
    assert "\n".join(section(drawn(r.status(r.judgement()), 100, 34))) == AT_100_BY_34


def test_at_80_by_24_every_check_has_its_line_and_lesser_sections_go() -> None:
    lines = section(drawn(r.status(r.judgement()), 80, 24))
    assert [line.split()[:2] for line in lines[2:6]] == [
        ["errors", "passed"],
        ["latency", "inconclusive"],
        ["predictions", "inconclusive"],
        ["!", "agreement"],
    ]


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (120, 40), (200, 60), (40, 10), (20, 5), (1, 1)])
def test_it_fits_any_terminal(size: tuple[int, int]) -> None:
    many = tuple(
        r.check(name, verdict, words="\x1b[2J" * 99, fault="why\r\n" * 50, candidate=1e15, stable=1e15, low=-9e9, high=9e9, margin=0.1)
        for name in ("errors", "rejections", "latency", "predictions", "confidence", "agreement", "quality", "outcome", "cost")
        for verdict in (Verdict.FAILED,)
    )  # fmt: skip
    odd = r.status(r.judgement(checks=many), phase=RolloutPhase.PAUSED, why="\x1b]0;no\x07 because " * 40)
    lines = drawn(odd, *size)
    assert lines
    assert not {char for char in "\n".join(lines) if not char.isprintable()} - {"\n"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"phase": RolloutPhase.WAITING, "step": -1, "percent": 0.0, "since_s": None},
            "waits for every worker",
        ),
        (
            {"phase": RolloutPhase.PAUSED, "why": "answers moved"},
            "waits for a person: it is paused: answers moved",
        ),
        (
            {"phase": RolloutPhase.BAKING, "step": 3, "percent": 100.0},
            "revision 3 stays warm until 08:06:03 UTC",
        ),
        (
            {"phase": RolloutPhase.ROLLED_BACK, "why": "errors: too many", "ended_s": v.NOW_S - 9},
            "why: errors: too many",
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_each_phase(changes: dict[str, object], says: str) -> None:
    lines = section(drawn(r.status(r.judgement(), **changes), 100, 40))
    assert any(says in line for line in lines)
    wanted = {RolloutPhase.BAKING: "100 %", RolloutPhase.PAUSED: "25 %"}.get(changes["phase"], "0 %")  # type: ignore[call-overload]
    assert lines[1].startswith(f"  candidate  {wanted} wanted")


def test_the_end_is_told_whole_and_once_and_nothing_is_awaited_any_more() -> None:
    why = "candidate 22 % errors against 0 % on 32 and 285 requests (4.2 to 63 points above 1.2 × the stable's rate); certain"
    over = r.status(r.judgement(), phase=RolloutPhase.ROLLED_BACK, why=why, ended_s=v.NOW_S - 9)
    view = msgspec.structs.replace(watched(over), failed=4, reason=why)
    lines = v.drawn(render(view, 100, None), 100)
    text = " ".join(" ".join(lines).split())
    assert text.count("candidate 22 % errors") == 1 and why in text
    assert "~8 min" not in text
    other = v.drawn(render(msgspec.structs.replace(view, failed=2), 100, None), 100)
    assert any(line.startswith("! revision 2 failed") for line in other)


def test_before_data_and_in_the_bake_no_verdict_is_shown_that_is_none() -> None:
    unseen = section(drawn(r.status(r.judgement(checks=(r.check("errors"),))), 100, 40))
    assert unseen[2] == "  errors  nothing seen yet"
    bake = r.judgement(step=3, checks=(r.check("errors", weight=0.0, gating=False, candidate=500),))
    lines = section(drawn(r.status(bake, phase=RolloutPhase.BAKING, step=3, percent=100.0), 100, 40))
    assert lines[2].split()[:3] == ["errors", "no", "alarm"]


def test_what_ended_long_ago_is_not_shown() -> None:
    over = r.status(phase=RolloutPhase.PROMOTED, ended_s=v.NOW_S - watch_rollout.ENDED_S - 1)
    assert not any(line.startswith("ROLLOUT") for line in drawn(over, 100, 40))
    just = r.status(phase=RolloutPhase.PROMOTED, ended_s=v.NOW_S - 1)
    assert any(line.startswith("ROLLOUT") for line in drawn(just, 100, 40))


def test_the_candidate_is_not_told_twice() -> None:
    assert not any("is on its way" in line for line in drawn(r.status(), 100, 40))


@pytest.mark.parametrize(
    ("low", "high", "bar"),
    [
        (None, None, "━━━━━━┃━━"),
        (-0.001, 0.001, "·━━━━·┃··"),
        (0.003, None, "······┃━━"),
        (None, -0.0005, "━━━···┃··"),
    ],
)
def test_an_interval_shrinks_towards_what_is_known(low: float | None, high: float | None, bar: str) -> None:
    assert watch_rollout.interval(r.check("errors", low=low, high=high, margin=0.002), 9) == bar


def test_evidence_grows_towards_the_verdict_that_is_nearer() -> None:
    nothing = r.check("agreement", log_pass=-3.0, log_fail=-2.0)
    assert watch_rollout.evidence(nothing, 0.05, 10)[0] == ""
    near = r.check("agreement", log_pass=1.5, log_fail=-2.0)
    assert watch_rollout.evidence(near, 0.05, 10) == ("█████▏", "passed")
    harmful = r.check("agreement", log_pass=-3.0, log_fail=9.0)
    assert watch_rollout.evidence(harmful, 0.05, 10) == ("█" * 10, "failed")


def test_it_is_a_part_of_the_document_of_json() -> None:
    view = watched(r.status(r.judgement()))
    found = msgspec.json.decode(msgspec.json.encode(view))["rollout"]
    assert found["state"]["percent"] == 25.0 and found["judgement"]["checks"][0]["check"] == "errors"
