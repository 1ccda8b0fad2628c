"""Feedback through the control API: taken when durable, refused whole, authorised; live quality asked back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest
from control_fakes import Answer, Plane, call, exchange

from seaway.control import api, doors, routes
from seaway.control.bell import Bell
from seaway.control.effects import Effects
from seaway.control.feedback import Feedback
from seaway.control.rollouts.metrics import RolloutMetrics
from seaway.control.workers import Workers
from seaway.core.feedback import MAX_BODY_BYTES, FeedbackAnswer
from seaway.core.provenance import SLICES, AnsweredBy, Joined
from seaway.core.quality import Quality
from seaway.monitor.feedback import schema as outcomes_schema
from seaway.monitor.feedback.outcomes import OutcomeRules, Outcomes
from seaway.monitor.feedback.writer import OutcomeWriter

OWNER = os.geteuid()
SOCKET = doors.SocketDoor(owner=OWNER)
ME = (str(OWNER), 1)
JSON = {"content-type": "application/json"}


def everything_yes(at_s: float) -> object:
    """A lookup to which every request was answered with "yes"."""

    def lookup(ids: Sequence[bytes]) -> Joined:
        n = len(ids)
        return Joined(
            subjects=(AnsweredBy("prices", 1, "sha256:" + "a" * 64),),
            texts=("yes",),
            by=np.zeros(n, np.int32),
            at_s=np.full(n, at_s),
            rate=np.ones(n),
            units=np.zeros(n, np.bool_),
            first=np.arange(n, dtype=np.int64),
            rows=np.ones(n, np.int64),
            numbers=np.full(n, np.nan),
            classes=np.zeros(n, np.int32),
            confidences=np.full(n, np.nan, np.float32),
            slices=np.full((n, SLICES), -1, np.int32),
        )

    return lookup


class Service:
    """A control plane that keeps outcomes in a directory."""

    def __init__(self, records: Path) -> None:
        self.plane = Plane(records)
        lookup = everything_yes(self.plane.clock.now_s() - 60)
        self.rules = OutcomeRules(most_bytes=60 * 4096)
        outcomes = Outcomes(records, lookup, self.rules)  # type: ignore[arg-type]
        self.feedback = Feedback(OutcomeWriter(outcomes, self.plane.clock), records, self.plane.clock)
        call(self.plane, SOCKET, "PUT", "/endpoints/prices", b'{"bundle": "prices:v1"}', JSON, ME)

    def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        uid: int = OWNER,
    ) -> Answer:
        async def run() -> Answer:
            plane, bell, nowhere = self.plane, Bell(), Path("/nonexistent")
            effects = Effects(
                plane.store, plane.bundles, Workers(nowhere), nowhere / "table", plane.clock, bell.ring
            )
            with ThreadPoolExecutor(2) as deploying:
                known = (plane.deployments, plane.rollouts, effects, bell, deploying, plane.records)
                metrics = RolloutMetrics(plane.store, plane.records, plane.clock)
                parts = routes.Parts(*known, plane.clock, metrics, self.feedback)
                app = api.create_app(parts, SOCKET)
                return await exchange(app, method, path, body, headers or {}, (str(uid), 1))

        return asyncio.run(run())

    def send(self, body: bytes, **headers: str) -> Answer:
        return self.call("POST", "/feedback", body, {**JSON, **headers})


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.feedback.close()


def test_feedback_is_kept_and_asked_back(service: Service) -> None:
    body = b'[{"request_id": "a", "outcome": "yes"}, {"request_id": "b", "outcome": "no", "kpi": {"eur": 2}}]'
    answer = service.send(body)
    assert answer.status == 200
    assert msgspec.json.decode(answer.body, type=FeedbackAnswer) == FeedbackAnswer(2, 3, 0, 0, 0)
    again = msgspec.json.decode(service.send(body).body, type=FeedbackAnswer)
    assert again == FeedbackAnswer(2, 0, 3, 0, 0)
    asked = service.call("GET", "/endpoints/prices/quality?since=1h&by=revision")
    found = msgspec.json.decode(asked.body, type=Quality)
    assert found.groups[0].classes is not None
    assert (found.groups[0].classes.accuracy, found.groups[0].kpis[0].mean) == (0.5, 2.0)


def test_one_bad_row_refuses_all(service: Service, tmp_path: Path) -> None:
    answer = service.send(b'[{"request_id": "a", "outcome": 1}, {"request_id": "b", "outcome": []}]')
    assert (answer.status, answer.json()["code"]) == (400, "invalid_request")
    assert "row 2" in str(answer.json()["error"])
    assert not outcomes_schema.path_of(tmp_path).exists()


def test_an_empty_array_is_nothing(service: Service) -> None:
    answer = service.send(b"[]")
    assert (answer.status, msgspec.json.decode(answer.body, type=FeedbackAnswer)) == (200, FeedbackAnswer())


def test_r07_a_body_over_the_limit_is_refused(service: Service) -> None:
    answer = service.send(b" " * (MAX_BODY_BYTES + 1))
    assert (answer.status, answer.json()["code"]) == (413, "body_too_large")


def test_c01_what_a_pages_form_sends_is_refused(service: Service) -> None:
    answer = service.send(b'{"request_id":"a","outcome":1}', **{"content-type": "text/plain"})
    assert (answer.status, answer.json()["code"]) == (403, "cross_origin")


def test_a_stranger_is_refused_and_leaves_one_event(service: Service) -> None:
    answer = service.call("POST", "/feedback", b'{"request_id":"a","outcome":1}', JSON, uid=OWNER + 4242)
    assert (answer.status, answer.json()["code"]) == (403, "forbidden")
    assert service.plane.kinds().count("action_refused") == 1


def test_f10_a_full_disk_acknowledges_nothing_and_later_it_works(service: Service) -> None:
    def body(rows: int) -> bytes:
        return msgspec.json.encode([{"request_id": f"r{i}", "outcome": 1} for i in range(rows)])

    full = service.send(body(10_000))
    assert (full.status, full.json()["code"]) == (507, "disk_full")
    small = msgspec.json.decode(service.send(body(10)).body, type=FeedbackAnswer)
    assert (small.accepted, small.duplicates) == (10, 0)


@pytest.mark.parametrize(
    "query",
    ["since=yesterday", "revision=x", "by=", "slice=region", "until=2026-99-01", f"since={'9' * 400}d"],
)
def test_a_question_that_cannot_be_read(service: Service, query: str) -> None:
    answer = service.call("GET", f"/endpoints/prices/quality?{query}")
    assert (answer.status, answer.json()["code"]) == (400, "invalid_request")


def test_quality_of_an_unknown_endpoint(service: Service) -> None:
    assert service.call("GET", "/endpoints/unknown/quality").json()["code"] == "endpoint_not_found"


def test_a_process_without_outcomes_says_so(tmp_path: Path) -> None:
    answer = call(Plane(tmp_path), SOCKET, "POST", "/feedback", b"{}", JSON, ME)
    assert (answer.status, answer.json()["code"]) == (501, "not_available")


def test_after_close_feedback_is_sent_to_the_next_process(service: Service) -> None:
    service.feedback.close()
    answer = service.send(b'{"request_id":"a","outcome":1}')
    assert (answer.status, answer.json()["code"]) == (503, "draining")
    assert "retry-after" in answer.headers


def test_a_compressed_body_is_refused(service: Service) -> None:
    answer = service.send(b'{"request_id":"a","outcome":"yes"}', **{"content-encoding": "gzip"})
    assert answer.status == 415 and b"send the body as it is" in answer.body


def test_a_bad_time_names_all_forms(service: Service) -> None:
    answer = service.call("GET", "/endpoints/prices/quality?since=24x")
    hint = msgspec.json.decode(answer.body)["hint"]
    assert answer.status == 400 and all(form in hint for form in ("24h", "7d", "2026-11-22T09:00:00Z"))
