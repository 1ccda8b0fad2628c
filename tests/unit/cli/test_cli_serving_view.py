"""What `seaway status` says of how revisions run: it fits in 100 columns, piped and on a terminal."""

from __future__ import annotations

import re

import pytest
import watch_values

from seaway.cli import endpoints_view, serving_view
from seaway.control import views
from seaway.core.bundles import Digest
from seaway.core.deployments import Phase
from seaway.wire.worker_admin import Execution, LoadedRevision

LONG = "a-name-as-long-as-names-may-be-" + "x" * 32
HEADS = "revision lane requests open batch queue ms run ms refused late memory"


def loaded(endpoint: str, lane: str, *, isolated: bool = False, number: int = 1) -> LoadedRevision:
    execution = Execution(lane, 98_765_432, 87_654_321, 987_654_321, 9e8, 9e8, 123_456, 12_345, 1e-3, 1e-4)
    return LoadedRevision(
        endpoint=endpoint,
        number=number,
        digest=Digest("sha256:" + "a" * 64),
        ready=True,
        in_flight=1000,
        verify_s=12.3456,
        load_s=123.456,
        warm_s=1.5,
        memory_bytes=1000 << 20,
        isolated=isolated,
        execution=execution,
    )


def status(*of_workers: tuple[LoadedRevision, ...]) -> views.Status:
    workers = tuple(
        views.WorkerStatus(slot, 4_194_304, True, False, 1, 1 << 30, loaded=found)
        for slot, found in enumerate(of_workers)
    )
    return views.Status((), workers)


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("terminal", [False, True], ids=["piped", "terminal"])
@pytest.mark.parametrize("endpoint", [None, LONG])
def test_it_fits_in_100_columns(
    endpoint: str | None, terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TTY_COMPATIBLE", "1" if terminal else "0")
    found = (loaded("prices", "inline"), loaded(LONG, "thread", isolated=True, number=123))
    serving_view.print_serving(status(found, found), endpoint)
    lines = shown(capsys)
    assert max(map(len, lines)) <= 100
    assert lines[1].split() == HEADS.split()
    if endpoint is None:
        assert len(lines) == 4  # an empty one, heads, and one for each revision
        assert lines[2].startswith(LONG[:17] + "… 123  apart ") and lines[3].startswith("prices 1  ")
    else:
        assert len(lines) == 7
        assert lines[4].split() == [
            "revision",
            "worker",
            "verify",
            "ms",
            "load",
            "ms",
            "warm",
            "ms",
            "memory",
        ]
        assert lines[5].split()[2:6] == ["0", "12346", "123456", "1500"]


@pytest.mark.parametrize(
    ("lanes", "said"),
    [
        ((("inline", False), ("inline", False)), "inline"),
        ((("thread", False),), "thread"),
        ((("thread", True), ("inline", True)), "apart"),
        ((("thread", False), ("inline", False)), "mixed"),
    ],
)
def test_the_lanes_of_all_workers_are_one_word(
    lanes: tuple[tuple[str, bool], ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    serving_view.print_serving(status(*((loaded("e", n, isolated=apart),) for n, apart in lanes)), None)
    line = shown(capsys)[2].split()
    assert line[:3] == ["e", "1", said]
    assert line[3] == str(98_765_432 * len(lanes)) and line[4] == str(1000 * len(lanes))


def test_an_endpoint_whose_bundle_is_being_opened_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    found = watch_values.status(revisions=(3, 4), desired=4, opening=("prices:v4",), phase=Phase.PROGRESSING)
    endpoints_view.print_status(views.Status((found,), ()), None, "http://127.0.0.1:9000")
    assert "opening prices:v4" in " ".join(capsys.readouterr().out.split())
