"""docs/control-api.md says what the control API is: every route, bodies that it takes, the fields that it answers, statuses."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from seaway.control import api, views
from seaway.control.rollouts import views as rollouts
from seaway.core.events import Event
from seaway.core.feedback import FeedbackAnswer, FeedbackRow
from seaway.core.rollouts.state import RolloutState
from seaway.wire import status

PAGE = (Path(__file__).parents[3] / "docs" / "control-api.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line[:1] == "|"
]
ROUTES = {row[0].strip("`"): row[1] for row in ROWS if re.match(r"`(GET|PUT|POST|DELETE) /", row[0])}
BODIES: dict[str, type[msgspec.Struct]] = {
    "PUT /endpoints/{name}": views.DeployRequest,
    "POST /endpoints/{name}/rollback": views.RollbackRequest,
    "POST /feedback": FeedbackRow,
    "POST /erase": views.EraseRequest,
    **{f"POST /endpoints/{{name}}/rollout/{word}": kind for kind, word in rollouts.WORDS.items()},
}
ANSWERS = (
    views.Accepted,
    views.EndpointStatus,
    views.Erased,
    rollouts.RolloutStatus,
    rollouts.RolloutRecord,
    RolloutState,
    Event,
    FeedbackAnswer,
)


def test_every_route_is_on_the_page_and_no_other() -> None:
    assert set(ROUTES) == {f"{r.method} {r.path.replace(':path', '')}" for r in api.ROUTES}


@pytest.mark.parametrize("route", BODIES)
def test_the_example_of_a_body_is_taken_and_names_what_it_may_hold(route: str) -> None:
    text = re.fullmatch(r"`(\{.*\})`", ROUTES[route])
    assert text is not None
    kind = BODIES[route]
    msgspec.json.decode(text[1], type=kind)
    if kind not in (views.DeployRequest, FeedbackRow):  # those are told of by themselves
        assert set(msgspec.json.decode(text[1])) == set(kind.__struct_fields__)


def test_the_body_of_a_deploy_is_told_whole() -> None:
    (example,) = re.findall(r'^    (\{"spec".*)$', PAGE, re.MULTILINE)
    msgspec.json.decode(example, type=views.DeployRequest)
    told = PAGE.partition("**The body of a deploy**")[2].partition("\n\n")[0]
    assert all(f"`{field}`" in told for field in views.DeployRequest.__struct_fields__)


@pytest.mark.parametrize("value", ANSWERS, ids=lambda value: value.__name__)
def test_every_field_of_an_answer_is_named(value: type[msgspec.Struct]) -> None:
    (fields,) = (row[1] for row in ROWS if row[0] == f"`{value.__name__}`")
    outside = re.sub(r"\(.*?\)", "", fields)
    assert set(re.findall(r"`(\w+)`", outside)) == set(value.__struct_fields__)


def test_the_status_of_every_error_is_right() -> None:
    told = PAGE.partition("## Errors")[2]
    groups = re.findall(r"((?:`\w+`(?:, )?)+) (\d{3})", told)
    assert len(groups) > 10
    for codes, number in groups:
        for code in re.findall(r"`(\w+)`", codes):
            assert status.STATUS[code].http == int(number), code
