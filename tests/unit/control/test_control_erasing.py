"""The erasure of a subject: what goes with its captured requests, what history tells, and what a kill leaves to do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from control_fakes import Plane
from provenance_fakes import subject

from seaway.control import views
from seaway.control.auth import Principal, Role
from seaway.control.erasing import Erasing
from seaway.control.feedback import Feedback
from seaway.core.deployments import DeploymentState, Phase
from seaway.core.errors import PermanentError, UserError
from seaway.core.events import Event
from seaway.core.ports import Change
from seaway.core.records import MirroredAnswer
from seaway.monitor.capture import files as capture_files
from seaway.monitor.capture import gone
from seaway.monitor.capture.segments import Done
from seaway.monitor.recording import mirrored
from seaway.monitor.recording.mirrored import MirroredAnswers
from seaway.monitor.sinks import RecordPaths
from seaway.wiring.feedback import open_feedback

ME = Principal("me", Role.OWNER)
TOLD = b'[{"request_id": "jane-1", "outcome": 1}, {"request_id": "bob-1", "outcome": 1}]'


class Captured:
    """Captured requests whose erasure finds two of jane's, and may be stopped half way."""

    def __init__(self, records: Path) -> None:
        self.place = capture_files.directory(records, "prices")
        self.place.mkdir(parents=True)
        self.stops = False
        self.asked: list[tuple[str | None, str]] = []

    def __call__(self, endpoint: str | None, subject: str) -> Done:
        self.asked.append((endpoint, subject))
        gone.add(self.place, ["jane-1", "jane-2"])
        if self.stops:
            raise PermanentError("internal", "killed")
        return Done(erased_rows=3, erased_ids=("jane-1", "jane-2"))


class Service:
    def __init__(self, home: Path) -> None:
        self.plane = Plane(home / "records")
        self.captured = Captured(home / "records")
        self.feedback: Feedback = open_feedback(home / "records", self.plane.clock)
        self.log = home / "log"
        self.log.mkdir()
        (self.log / "requests-0-1.jsonl").write_bytes(
            b'{"http.request.id":"jane-1"}\n{"http.request.id":"bob-1"}\n'
        )
        plane = self.plane
        self.erasing = Erasing(
            self.captured,
            self.feedback,
            plane.deployments,
            plane.store,
            home / "records",
            self.log,
            plane.clock,
        )
        asyncio.run(self.feedback.take(ME, TOLD, "application/json"))
        self.records = home / "records"
        shadow = MirroredAnswers(RecordPaths(str(self.records), 0, 1), plane.clock, 4 * 2**20)
        for name in (b"jane-1", b"bob-1"):
            shadow.put(subject(), MirroredAnswer(name, 1, {"y": np.ones((1, 1), np.float32)}))
        for block in shadow.take()[0]:
            shadow.write(block)
        shadow.close()

    def erase(self, subject: str, endpoint: str | None = None, who: Principal = ME) -> views.Erased:
        return asyncio.run(self.erasing.erase(who, views.EraseRequest(subject, endpoint)))

    def events(self) -> list[Event]:
        return list(self.plane.store.events(after=0, limit=100))

    def mirrored(self) -> list[bool]:
        """Whether the candidate's answers to jane-1 and bob-1 are kept."""
        found = mirrored.lookup(self.records, [b"jane-1", b"bob-1"])
        return (found.by >= 0).tolist()

    def logged(self) -> bytes:
        return (self.log / "requests-0-1.jsonl").read_bytes()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.feedback.close()


def test_all_records_of_the_requests_go_and_one_event_names_nobody(service: Service) -> None:
    found = service.erase("jane", "prices")
    assert (found.requests, found.rows, found.outcomes, found.log_lines) == (2, 3, 1, 1)
    assert service.captured.asked == [("prices", "jane")]
    assert b"jane" not in service.logged() and b"bob-1" in service.logged()
    assert service.mirrored() == [False, True]
    assert gone.read(service.captured.place) == ()
    (event,) = service.events()
    assert (event.kind, event.principal, event.endpoint) == ("data_erased", "me", "prices")
    assert event.details == {
        "requests": "2",
        "rows": "3",
        "explained": "0",
        "outcomes": "1",
        "log lines": "1",
    }
    assert "jane" not in str(event)
    assert service.feedback.erase(ME, ["bob-1"]) == 1, "others stay"


def test_a_killed_erasure_is_finished_later(service: Service) -> None:
    service.captured.stops = True
    with pytest.raises(PermanentError):
        service.erase("jane")
    assert b"jane" in service.logged() and service.events() == []
    service.erasing.finish()
    assert b"jane" not in service.logged() and gone.read(service.captured.place) == ()
    assert service.mirrored() == [False, True]
    assert service.feedback.erase(ME, ["jane-1"]) == 0
    service.erasing.finish()  # nothing is left to do


@pytest.mark.parametrize(
    ("subject", "endpoint", "who", "code"),
    [
        ("jane", None, Principal("eve", Role.STRANGER), "forbidden"),
        (" ", None, ME, "invalid_request"),
        ("jane", "houses", ME, "endpoint_not_found"),
        ("jane", "costs", ME, "nothing_captured"),
        ("jane", "../prices", ME, "invalid_name"),
    ],
)
def test_a_refusal_erases_nothing_and_leaves_one_event(
    service: Service, subject: str, endpoint: str | None, who: Principal, code: str
) -> None:
    service.plane.store.apply(Change((), DeploymentState("costs", 1, Phase.PROGRESSING)))
    with pytest.raises(UserError) as error:
        service.erase(subject, endpoint, who)
    assert error.value.code == code and service.captured.asked == []
    (event,) = service.events()
    assert event.kind == "action_refused" and event.details == {"action": "erase", "code": code}
    assert "jane" not in str(event)
