"""Kill -9 of workers and of the control process while every sink writes: the verbs read on, and lose a flush at most."""

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

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
LOST_S = 2.0
"""What ended longer than this before a kill is on the disk: a block waits a second, and the next look writes it."""


def test_kills_cost_the_last_flush_and_no_verb(tmp_path: Path) -> None:
    home, chance = tmp_path / "home", random.Random(9)
    with recorded(home) as server, Traffic(server) as traffic:
        safe: list[str] = []
        for turn in range(4):
            request_id = f"kept-{turn}"
            assert ask(server, body(1.0), x_user_id="jane", x_request_id=request_id)[0] == 200
            safe.append(request_id)
            time.sleep(LOST_S + chance.uniform(0, 0.5))  # the stated time, and a random point after it
            record = server.record()
            slots = record["workers"]
            pids = [*slots, record["control"]] if turn % 2 else [chance.choice(slots)]
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            until(lambda pids=pids: all(gone(pid) for pid in pids))  # type: ignore[misc]
            until(lambda: server.control_answers() and _answers(server), 60.0)
            for one in safe:
                code, said = run(server, "explain", one)
                assert code == 0, said
            code, said = run(server, "records", "people", "--sql", "SELECT request_id FROM records", "--json")
            assert code == 0, said
            found = [row[0] for row in json.loads(said)["rows"]]
            assert set(safe) <= set(_all_ids(server)) and len(found) == len(set(found))
            code, said = run(server, "profile", "people", "--json")
            assert code == 0, said
        assert traffic.asked > 100


def _all_ids(server: object) -> list[str]:
    sql = "SELECT request_id FROM records WHERE subject = 'jane'"
    code, said = run(server, "records", "people", "--sql", sql, "--json")  # type: ignore[arg-type]
    assert code == 0, said
    return [row[0] for row in json.loads(said)["rows"]]


def _answers(server: object) -> bool:
    try:
        return ask(server, body(1.0))[0] == 200  # type: ignore[arg-type]
    except OSError:
        return False
