"""Attack row C08: what is wrong in the rollout of an endpoint file is refused with its place, by the file and by the API."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec
import pytest
from control_fakes import Plane, call

from seaway.control import doors, endpoint_file
from seaway.core.errors import UserError
from seaway.core.rollouts.spec import Rollout
from seaway.wire import status

BASE = "version: 1\nendpoint: prices\nserve: {bundle: 'prices:v1'}\n"
SOCKET = doors.SocketDoor(owner=os.geteuid())
ME = (str(os.geteuid()), 1)

WRONG = [
    # what the attack row names
    ("steps: [101%, 100%]", "line 4, column 19: rollout.steps[0]"),
    ("steps: [-5%, 100%]", "line 4, column 19: rollout.steps[0]"),
    ("steps: [5, 100%]", "line 4, column 19: rollout.steps[0]"),
    ("steps: [.nan, 100%]", "line 4, column 19: '.nan' is no number"),
    ("steps: [{to: 200%}, 100%]", "line 4, column 24: rollout.steps[0].to"),
    ("steps: [5%, 50%]", "line 4, column 10: rollout: steps must rise and end with 100%"),
    ("steps: [50%, 50%, 100%]", "line 4, column 10: rollout: steps must rise"),
    ("checks: [{check: errors, harm: .nan}]", "line 4, column 42: '.nan' is no number"),
    ("checks: [{check: errors, harm: -10%}]", "line 4, column 42: rollout.checks[0].harm"),
    (
        "checks: [{check: errors, harm: 0%}]",
        "line 4, column 20: rollout.checks[0]: harm must be more than 0%",
    ),
    ("checks: [{check: errors, plus: nan}]", "line 4, column 42: rollout.checks[0].plus"),
    ("checks: [p99_of_something]", "line 4, column 20: rollout.checks[0]"),
    ("checks: [{check: p99_of_something}]", "line 4, column 28: rollout.checks[0].check"),
    ("checks: [errors, errors]", "line 4, column 10: rollout: a check is named twice"),
    ("hold: 0s", "line 4, column 10: rollout: hold must be more than 0"),
    ("steps: [{to: 5%, hold: 0s}, 100%]", "line 4, column 10: rollout: hold must be more than 0"),
    ("hold: -1s", "line 4, column 17: rollout.hold"),
    ("hold: .inf", "line 4, column 17: '.inf' is no number"),
    ("min_samples: 0", "line 4, column 11: unknown key 'rollout.min_samples'"),
    ("alpha: 0%", "line 4, column 10: rollout: alpha must be more than 0%"),
    ("alpha: 100%", "line 4, column 10: rollout: alpha must be more than 0%"),
    # its own relations
    ("checks: [agreement]", "line 4, column 10: rollout: the check agreement needs a shadow share"),
    (
        "steps: [0%, 100%], checks: [quality, errors, latency]",
        "quality, latency would never be judged: no step is",
    ),
    ("checks: [cost], steps: [100%]", "cost would never be judged: no step is between 0% and 100%"),
    (
        "steps: [100%], shadow: 5%, checks: [agreement]",
        "agreement would never be judged: put a step before 100%",
    ),
    ("checks: [shadow_quality]", "line 4, column 10: rollout: the check shadow_quality needs a shadow share"),
    (
        "checks: [{check: shadow_quality, harm: 100%}]",
        "harm of shadow_quality must be less than 100%",
    ),
    ("checks: [outcome]", "line 4, column 10: rollout: the check outcome needs good"),
    ("checks: [{check: outcome}]", "line 4, column 20: rollout.checks[0]: the check outcome needs good"),
    (
        "checks: [{check: outcome, good: a, kpi: b}]",
        "the check outcome needs good (the outcome that is wanted) or kpi",
    ),
    ("checks: [{check: outcome, kpi: 'a b'}]", "rollout.checks[0].kpi"),
    ("checks: [{check: outcome, good: a, cap: 3}]", "better and cap are options of a kpi"),
    ("checks: [{check: outcome, good: a, better: lower}]", "better and cap are options of a kpi"),
    ("checks: [{check: outcome, kpi: a, better: best}]", "rollout.checks[0].better"),
    ("checks: [{check: outcome, kpi: a, cap: 0}]", "rollout.checks[0].cap"),
    ("checks: [{check: outcome, kpi: a, cap: .inf}]", "is no number"),
    ("checks: [{check: outcome, kpi: a, gain: 1%, harm: 1%}]", "gain stands in place of harm and strict"),
    ("checks: [{check: quality, gain: 1%, strict: true}]", "gain stands in place of harm and strict"),
    ("checks: [{check: quality, gain: 0%}]", "gain must be more than 0% and less than 100%"),
    ("checks: [{check: errors, gain: 1%}]", "gain is an option of quality, outcome, not of errors"),
    (
        "checks: [{check: cost, plus: 1%}]",
        "rollout.checks[0]: plus is an option of errors, rejections, latency",
    ),
    ("checks: [{check: predictions, strict: true}]", "rollout.checks[0]: predictions has no strict form"),
    (
        "steps: [{to: 5%, checks: [quality]}, 100%]",
        "rollout: the step to 5% names quality, which is not among",
    ),
    ("sticky: {header: a, cookie: b}", "line 4, column 19: rollout.sticky: exactly one of header and cookie"),
    ("sticky: {cookie: 'a b'}", "line 4, column 28: rollout.sticky.cookie"),
    ("inconclusive: {after: 1s}", "line 4, column 10: rollout: inconclusive.after is shorter than hold"),
    ("inconclusive: {then: hope}", "line 4, column 32: rollout.inconclusive.then"),
    ("flags: [{to: candidate, equals: []}]", "rollout.flags[0]"),
    (
        "flags: [{to: candidate, equals: [beta]}]",
        "rollout.flags[0]: exactly one of header, cookie and language",
    ),
    ("flags: [{to: other, header: x-tier, equals: [beta]}]", "line 4, column 24: rollout.flags[0].to"),
    ("freeze: [{}]", "line 4, column 20: rollout.freeze[0]: say when"),
    ("freeze: [{start: '25:00', end: '26:00'}]", "line 4, column 28: rollout.freeze[0].start"),
    ("freeze: [{start: '16:00'}]", "rollout.freeze[0]: start and end belong together"),
    ("freeze: [{days: [sunday]}]", "rollout.freeze[0].days[0]"),
    ("start: 2026-11-23T09:00:00", "rollout"),
    ("start: tomorrow", "line 4, column 18: rollout.start"),
]


def fragment(text: str) -> str:
    return f"{BASE}rollout: {{{text}}}\n"


@pytest.mark.parametrize(("text", "says"), WRONG, ids=[text for text, _ in WRONG])
def test_c08_a_wrong_rollout_is_refused_with_its_place(text: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        endpoint_file.parse(fragment(text).encode(), "endpoint.yaml")
    assert (caught.value.code, status.STATUS["invalid_spec"].exit_code) == ("invalid_spec", 2)
    assert caught.value.message.startswith("endpoint.yaml, line 4, column ")
    assert says in caught.value.message


@pytest.mark.parametrize(
    "rollout",
    [
        {"steps": ["101%", "100%"]},
        {"steps": ["-5%", "100%"]},
        {"steps": ["5%", "50%"]},
        {"checks": [{"check": "errors", "harm": "nan%"}]},
        {"checks": ["p99_of_something"]},
        {"hold": "0s"},
        {"min_samples": 0},
        {"alpha": "0%"},
        {"checks": ["agreement"]},
        {"checks": ["outcome"]},
    ],
    ids=str,
)
def test_c08_the_api_answers_422(rollout: dict[str, object]) -> None:
    plane = Plane()
    spec = {"version": 1, "endpoint": "prices", "serve": {"bundle": "prices:v1"}, "rollout": rollout}
    body = msgspec.json.encode({"spec": spec})
    answer = call(plane, SOCKET, "PUT", "/endpoints/prices", body, client=ME)
    assert (answer.status, answer.json()["code"]) == (422, "invalid_spec")
    assert "$.spec.rollout" in str(answer.json()["error"])
    assert plane.store.states() == ()


WHOLE = """
rollout:
  steps:
    - {to: 0%, checks: [agreement]}
    - 1%
    - {to: 25%, hold: 10m, approve: true}
    - 100%
  shadow: 10%
  sticky: {cookie: uid}
  checks:
    - errors
    - rejections
    - {check: latency, harm: 15%}
    - {check: predictions, then: rollback}
    - {check: confidence, advisory: true}
    - {check: agreement, by: tolerance, tolerance: 1%}
    - quality
    - {check: outcome, good: bought}
    - cost
  warmup: 10s
  fallback: none
  flags:
    - {to: candidate, header: x-tier, equals: [beta]}
    - {to: stable, language: true, equals: [de, de-AT]}
  freeze:
    - {days: [fri, sat], start: "16:00", end: "08:00", utc_offset: 1}
    - {since: 2026-12-23, until: 2027-01-02}
  start: 2026-11-23T09:00:00Z
"""


def test_a_rollout_with_everything_parses_and_survives_its_json() -> None:
    spec = endpoint_file.parse((BASE + WHOLE).encode(), "endpoint.yaml")
    assert spec.rollout.steps_percent == (0, 1, 25, 100)
    assert [check.check for check in spec.rollout.gating(0)] == ["agreement"]
    assert spec.rollout.all_steps[2].approve and spec.rollout.hold_s(2) == 600
    assert msgspec.json.decode(msgspec.json.encode(spec), type=type(spec)) == spec


def test_the_docs_begin_with_a_whole_file_and_name_every_option_with_its_default() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "rollouts.md").read_text("utf-8")
    whole, block, *more = re.findall(r"```yaml\n(.*?)```", page, re.S)
    assert endpoint_file.parse(whole.encode(), "docs/rollouts.md").rollout.steps_percent == (5, 50, 100)
    said = endpoint_file.parse((BASE + block).encode(), "docs/rollouts.md").rollout
    default = Rollout(steps=said.steps)
    assert said.all_checks == default.all_checks
    assert msgspec.structs.replace(said, checks=None) == default
    assert all(re.search(rf"\b{name}\b", block) for name in Rollout.__struct_fields__)
    assert [endpoint_file.parse((BASE + one).encode(), "docs/rollouts.md").endpoint for one in more]


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("1", "1"),
        ("1.0", "1"),
        ("'1'", "1"),
        ("true", "true"),
        ("'True'", "true"),
        ("-2.5", "-2.5"),
        ("bought", "bought"),
    ],
)
def test_the_wanted_outcome_is_written_as_feedback_writes_outcomes(written: str, text: str) -> None:
    said = f"rollout: {{steps: [50%, 100%], checks: [{{check: outcome, good: {written}}}]}}\n"
    spec = endpoint_file.parse(f"{BASE}{said}".encode(), "e.yaml")
    (check,) = spec.rollout.all_checks
    assert check.good == text
    assert msgspec.convert(msgspec.to_builtins(spec), type(spec)) == spec


def test_a_number_where_text_is_wanted_is_told_its_quotes() -> None:
    said = "rollout: {steps: [5%, 100%], flags: [{to: candidate, header: x, equals: [1]}]}\n"
    with pytest.raises(UserError) as caught:
        endpoint_file.parse(f"{BASE}{said}".encode(), "e.yaml")
    assert caught.value.hint == "it is text: write '1' with its quotes"
