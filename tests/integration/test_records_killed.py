"""Kill -9 of workers and of the control process while every sink writes: the verbs read on, and lose nothing that was read."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from control_process import gone, until
from recorded_server import Traffic, ask, body, recorded, run

from seaway.monitor.provenance import files as provenance_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


ALL = ("--limit", "100000", "--json")


def test_kills_cost_the_last_flush_and_no_verb(tmp_path: Path) -> None:
    home, chance = tmp_path / "home", random.Random(9)
    with recorded(home) as server, Traffic(server) as traffic:
        safe: list[str] = []
        captured: list[str] = []
        for turn in range(4):
            ids = [f"kept-{turn}-{n}" for n in range(8)]
            for each in ids:
                assert ask(server, body(1.0), x_user_id="jane", x_request_id=each)[0] == 200
            captured += ids
            until(lambda ids=ids: set(ids) <= set(_all_ids(server)))  # type: ignore[misc]
            # A busy machine's recorder draws some of them.
            until(lambda ids=ids: _explained(home, ids))  # type: ignore[misc]
            safe += _explained(home, ids)
            time.sleep(chance.uniform(0, 1.0))  # a random point of the workers' second
            until(lambda: None not in server.record()["workers"])  # the one that did not answer the last time
            record = server.record()
            slots = record["workers"]
            pids = [*slots, record["control"]] if turn % 2 else [chance.choice(slots)]
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            until(lambda pids=pids: all(gone(pid) for pid in pids))  # type: ignore[misc]
            until(lambda: server.control_answers() and _answers(server))
            for one in safe:
                code, said = run(server, "explain", one)
                assert code == 0, said
            code, said = run(server, "records", "people", "--sql", "SELECT request_id FROM records", *ALL)
            assert code == 0, said
            found = [row[0] for row in _rows(said)]
            assert set(captured) <= set(_all_ids(server)) and len(found) == len(set(found))
            code, said = run(server, "profile", "people", "--json")
            assert code == 0, said
        assert traffic.asked > 100


def _rows(said: str) -> list[list[str]]:
    """Of what the verb printed: the document, and after it a warning that a worker was killed."""
    found: list[list[str]] = json.JSONDecoder().raw_decode(said)[0]["rows"]
    return found


def _explained(home: Path, ids: list[str]) -> list[str]:
    return [each for each in ids if provenance_files.find(home / "records", each.encode())]


def _all_ids(server: object) -> list[str]:
    """Of what is captured; none while there is nothing."""
    sql = "SELECT request_id FROM records WHERE subject = 'jane'"
    code, said = run(server, "records", "people", "--sql", sql, *ALL)  # type: ignore[arg-type]
    if "nothing was captured" in said:
        return []
    assert code == 0, said
    return [row[0] for row in _rows(said)]


def _answers(server: object) -> bool:
    try:
        return ask(server, body(1.0))[0] == 200  # type: ignore[arg-type]
    except OSError:
        return False
