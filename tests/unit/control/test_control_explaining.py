"""GET /requests/ID."""

from __future__ import annotations

import os
from pathlib import Path

import provenance_fakes as fakes
from control_fakes import Plane, call

from seaway.control import doors
from seaway.monitor.provenance.sink import ProvenanceSink
from seaway.monitor.sinks import RecordPaths
from seaway.testing.clock import VirtualClock


def test_the_control_api_explains_a_request_also_one_with_slashes_in_its_id(tmp_path: Path) -> None:
    sink = ProvenanceSink(RecordPaths(str(tmp_path), 0, 1), VirtualClock())
    sink.take(fakes.block([fakes.number(b"r/1", 1.5)]))
    plane, door = Plane(tmp_path), doors.SocketDoor(owner=os.geteuid())
    me = (str(os.geteuid()), 1)
    answer = call(plane, door, "GET", "/requests/r/1", client=me)
    assert answer.status == 200
    (found,) = answer.json()["requests"]  # type: ignore[misc]  # one request
    assert (found["request_id"], found["answers"][0]["answer"]) == ("r/1", 1.5)
    missing = call(plane, door, "GET", "/requests/r-3", client=me)
    assert (missing.status, missing.json()["code"]) == (404, "record_not_found")
