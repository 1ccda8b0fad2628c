"""Log lines: their form, their times, and Elastic's own table of fields."""

from __future__ import annotations

import datetime
import json

import ecs_validator
import msgspec
import pytest

from seaway.wire import ecs


def line(**fields: object) -> ecs.Line:
    given = {"at": ecs.Timestamps().text(0.0), "level": "info", "message": "m", **fields}
    return ecs.Line(version=ecs.VERSION, service=ecs.SERVICE, dataset="seaway.test", **given)  # type: ignore[arg-type]


FULL = line(
    level="error",
    kind="event",
    category=("web",),
    type=("access", "error"),
    outcome="failure",
    duration_ns=12,
    request_id="r",
    status_code=504,
    trace_id="a" * 32,
    span_id="b" * 16,
    error_code="deadline_exceeded",
    error_type="ValueError",
    error_stack_trace="x",
    endpoint="e",
    revision=1,
    queue_s=0.5,
)


def test_lines_validate_against_ecs_with_all_fields_and_with_the_fewest() -> None:
    for one in (line(), FULL):
        assert ecs_validator.violations(ecs.encode(one)) == []


@pytest.mark.parametrize(
    ("broken", "wrong"),
    [
        ({"outcome": "fine"}, "event.outcome = 'fine' is not allowed"),
        ({"status_code": "504"}, "http.response.status_code = '504' is no long"),
        ({"category": "web"}, "event.category is no array"),
    ],
)
def test_the_validator_finds_what_is_wrong(broken: dict[str, object], wrong: str) -> None:
    assert ecs_validator.violations(ecs.encode(line(**broken))) == [wrong]


def test_the_validator_finds_a_strange_field_and_a_wrong_order() -> None:
    document = {"url": "x", **json.loads(ecs.encode(line()))}
    found = ecs_validator.violations(json.dumps(document).encode())
    assert found == ["begins with ['url', '@timestamp', 'log.level']", "url is no field of ECS"]


def test_every_field_has_the_type_that_ecs_gives_it() -> None:
    assert set(ecs.FIELDS) == set(msgspec.structs.asdict(FULL))
    for name, kind in ecs.FIELDS.values():
        if not name.startswith("seaway."):
            assert ecs_validator.TABLE["fields"][name]["type"] == kind
    assert ecs_validator.TABLE["version"] == ecs.VERSION


@pytest.mark.parametrize("at_s", [0.0, 0.9996, 1_700_000_000.25, 1_700_000_000.9999, 1_700_000_001.0])
def test_times_are_to_the_millisecond(at_s: float) -> None:
    times = ecs.Timestamps()
    for _ in range(2):  # the second time from what it remembers
        text = times.text(at_s)
        assert abs(datetime.datetime.fromisoformat(text).timestamp() - at_s) <= 0.0005001
        assert len(text) == len("2026-11-22T09:00:00.250Z")


def test_a_message_with_a_lone_surrogate_is_still_a_line() -> None:
    assert json.loads(ecs.encode(line(message="a\ud800b")))["message"] == "a?b"
