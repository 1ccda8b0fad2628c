"""`seaway records --erase` on a real server: afterwards no byte of the subject is anywhere in the home."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from pathlib import Path

import pytest
from control_process import until
from recorded_server import Traffic, ask, body, holding, kept, recorded, run

from seaway.monitor.provenance import files as provenance_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SUBJECT = "jane-4711"
VALUE = 37.40625
IDS = [f"visit-{number}" for number in range(20)]
PAYLOAD = [struct.pack(form, number) for form in ("<f", ">f", "<d", ">d") for number in (VALUE, 2 * VALUE)]


def explained(home: Path, ids: Iterable[str]) -> list[str]:
    """Those of which provenance is kept: all but where the recorder's budget makes it draw, on a busy machine."""
    return [each for each in ids if provenance_files.find(home / "records", each.encode())]


def logged(home: Path) -> int:
    """Lines of the subject's requests in the log, which a block reaches last."""
    return sum(data.count(b'"visit-') for name, data in kept(home).items() if name.startswith("log/"))


def rows(server: object, subject: str) -> int:
    """How many are captured; none while the workers have not kept their first block."""
    sql = f"SELECT count(*) AS n FROM records WHERE subject = '{subject}'"
    code, said = run(server, "records", "people", "--sql", sql, "--json")  # type: ignore[arg-type]
    if "nothing was captured" in said:
        return 0
    assert code == 0, said
    return int(json.loads(said)["rows"][0][0])


def test_an_erased_subject_is_in_no_file_of_the_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with recorded(home) as server, Traffic(server) as traffic:
        for number, request_id in enumerate(IDS):
            assert ask(server, body(VALUE), x_user_id=SUBJECT, x_request_id=request_id)[0] == 200
            told = json.dumps({"request_id": request_id, "outcome": 8.5, "id": f"told-{number}"}).encode()
            assert ask(server, told, "/feedback")[0] == 200
        until(lambda: rows(server, SUBJECT) == len(IDS))
        until(lambda: logged(home) == len(IDS))
        drawn = explained(home, IDS)
        assert drawn and len(holding(home, drawn[-1].encode())) >= 4  # capture, provenance, outcomes, log
        assert any(holding(home, each) for each in PAYLOAD) and holding(home, SUBJECT.encode())

        code, said = run(server, "records", "--erase", SUBJECT, "--yes", "--json")
        assert code == 0, said
        done = json.loads(said)
        assert (done["requests"], done["rows"], done["log_lines"]) == (20, 20, 20)
        assert done["explained"] == len(drawn)
        assert done["outcomes"] == 20 and done["pending"] == 0
        for needle in (SUBJECT.encode(), b"visit-", b"told-", *PAYLOAD):
            assert holding(home, needle) == [], needle
        assert run(server, "explain", drawn[0])[0] == 2
        erased_at = traffic.asked

        (event,) = [event for event in server.client.history() if event.kind == "data_erased"]
        assert event.details["requests"] == "20" and SUBJECT not in str(event)
        assert rows(server, "somebody-else") > 0
        until(lambda: explained(home, [f"other-{n}" for n in range(erased_at + 1, traffic.asked)]))
    assert traffic.failures == []


def test_without_a_server_the_verb_erases_as_well(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with recorded(home) as server:
        assert ask(server, body(VALUE), x_user_id=SUBJECT, x_request_id=IDS[0])[0] == 200
        assert ask(server, json.dumps({"request_id": IDS[0], "outcome": 8.5}).encode(), "/feedback")[0] == 200
        assert server.down() == 0
        code, said = run(server, "records", "people", "--erase", SUBJECT, "--yes", "--json")
        assert code == 0, said
        done = json.loads(said)
        assert (done["requests"], done["explained"], done["outcomes"], done["log_lines"]) == (1, 1, 1, 1)
        assert holding(home, SUBJECT.encode()) == holding(home, IDS[0].encode()) == []
        code, said = run(server, "history", "--json")
        assert code == 0 and '"data_erased"' in said and SUBJECT not in said
