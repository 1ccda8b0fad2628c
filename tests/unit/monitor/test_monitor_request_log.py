"""The request log: which requests get a line, what stands in it, and what a full or damaged disk does to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ecs_validator
import provenance_fakes as fakes
import pytest

from seaway.core.errors import CODES
from seaway.core.records import RecordRules
from seaway.monitor.logs import erasing
from seaway.monitor.logs.request_log import Logged, RequestLogSink
from seaway.monitor.sinks import RecordPaths
from seaway.wire import trace_context

TRACE = b"00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


def sink(directory: Path, logged: Logged = Logged.ALL, pid: int = 7, **bounds: int) -> RequestLogSink:
    return RequestLogSink(directory, RecordPaths(str(directory), 0, pid), logged, **bounds)


def lines(directory: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(directory.glob("requests-*.jsonl"), key=lambda p: p.stat().st_mtime_ns):
        assert path.read_bytes().endswith(b"\n")
        found += [json.loads(line) for line in path.read_bytes().splitlines()]
    return found


def test_log_lines_validate_against_ecs(tmp_path: Path) -> None:
    codes = ["200", "OK", "404", *CODES]
    requests = [
        fakes.Ended(b"r-%d" % n, code=code, door=door, traceparent=TRACE if n % 2 else None)
        for n, code in enumerate(codes)
        for door in ("predict", "grpc")
    ]
    with_log = sink(tmp_path)
    with_log.take(fakes.block(requests))
    with_log.close()
    (path,) = tmp_path.iterdir()
    written = path.read_bytes().splitlines()
    assert len(written) == len(requests)
    assert [found for line in written if (found := ecs_validator.violations(line))] == []


def test_a_line_says_who_answered_what_and_how_fast(tmp_path: Path) -> None:
    request = fakes.number(b"r-1", 1.5, 2.5, traceparent=TRACE)
    log = sink(tmp_path)
    log.take(fakes.block([request], rate=0.5))
    (line,) = lines(tmp_path)
    own = trace_context.child(trace_context.parse_traceparent(TRACE), b"r-1", 10.0)  # type: ignore[arg-type]
    assert line.pop("span.id") == own.span_id
    assert line.pop("seaway.digest") == f"sha256:{3:064x}"
    assert line == {
        "@timestamp": "2023-11-14T22:13:30.250Z",
        "log.level": "info",
        "message": "prices r3 answered 200 after 250.000 ms",
        "ecs.version": "8.11.0",
        "service.name": "seaway",
        "event.dataset": "seaway.request",
        "event.kind": "event",
        "event.category": ["web"],
        "event.type": ["access"],
        "event.outcome": "success",
        "event.duration": 250_000_000,
        "http.request.id": "r-1",
        "http.response.status_code": 200,
        "trace.id": "0123456789abcdef0123456789abcdef",
        "seaway.endpoint": "prices",
        "seaway.revision": 3,
        "seaway.version": "prices:v3",
        "seaway.door": "predict",
        "seaway.chosen": "only",
        "seaway.worker": 0,
        "seaway.caller": "ada",
        "seaway.rows": 2,
        "seaway.batch_rows": 4,
        "seaway.queue_s": 0.0625,
        "seaway.run_s": 0.125,
        "seaway.cpu_s": 0.03125,
        "seaway.sample_rate": 0.5,
    }


@pytest.mark.parametrize(
    ("code", "door", "level", "outcome", "http", "grpc"),
    [
        ("OK", "grpc", "info", "success", None, "OK"),
        ("404", "predict", "warn", "failure", 404, None),
        ("wrong_dtype", "predict", "warn", "failure", 400, None),
        ("wrong_dtype", "grpc", "warn", "failure", None, "INVALID_ARGUMENT"),
        ("deadline_exceeded", "predict", "error", "failure", 504, None),
        ("cancelled", "predict", "warn", "unknown", 499, None),
    ],
)
def test_a_code_decides_level_outcome_and_status(
    tmp_path: Path, code: str, door: str, level: str, outcome: str, http: int | None, grpc: str | None
) -> None:
    sink(tmp_path).take(fakes.block([fakes.Ended(code=code, door=door)]))
    (line,) = lines(tmp_path)
    assert (line["log.level"], line["event.outcome"]) == (level, outcome)
    assert line.get("http.response.status_code") == http
    assert line.get("seaway.grpc_status") == grpc
    assert line.get("error.code") == (code if code in CODES else None)


@pytest.mark.parametrize(
    ("logged", "takes", "written"),
    [
        (Logged.FAILURES, "failures", ["r-2"]),
        (Logged.SAMPLE, "sample and failures", ["r-1", "r-2", "r-3"]),
        (Logged.ALL, "all", ["r-1", "r-2", "r-3"]),
    ],
)
def test_the_choice_decides_which_requests_get_a_line(
    tmp_path: Path, logged: Logged, takes: str, written: list[str]
) -> None:
    log = sink(tmp_path / "log", logged)
    codes = ("200", "internal", "wrong_shape")
    block = fakes.block([fakes.Ended(b"r-%d" % (n + 1), code=code) for n, code in enumerate(codes)])
    assert log.take(block) == len(written)
    log.close()
    assert log.takes == takes
    assert log.wants(RecordRules()) == (takes == "all")
    assert [line["http.request.id"] for line in lines(tmp_path / "log")] == written


def test_the_files_of_a_slot_stay_within_their_bounds_over_restarts(tmp_path: Path) -> None:
    """Four workers follow one another in the slot; the last lines are all there, whole and in order."""
    number = 0
    for pid in range(4):
        log = sink(tmp_path, pid=pid, file_bytes=4000, files=3)
        for _ in range(20):
            log.take(fakes.block([fakes.Ended(b"r-%d" % number), fakes.Ended(b"r-%d" % (number + 1))]))
            number += 2
        log.close()
    files = list(tmp_path.iterdir())
    assert len(files) == 3
    assert all(path.stat().st_size <= 4000 for path in files)
    kept = [int(line["http.request.id"][2:]) for line in lines(tmp_path)]
    assert kept == list(range(number - len(kept), number))
    assert len(kept) >= 8


def test_f10_a_torn_last_line_is_cut_off_and_the_log_goes_on(tmp_path: Path) -> None:
    log = sink(tmp_path)
    log.take(fakes.block([fakes.Ended(b"r-1")]))
    log.close()
    (path,) = tmp_path.iterdir()
    with path.open("ab") as file:
        file.write(b'{"@timestamp":"20')
    again = sink(tmp_path)
    again.take(fakes.block([fakes.Ended(b"r-2")]))
    again.close()
    assert [line["http.request.id"] for line in lines(tmp_path)] == ["r-1", "r-2"]


def test_f10_a_log_that_somebody_moved_away_is_begun_anew(tmp_path: Path) -> None:
    log = sink(tmp_path)
    log.take(fakes.block([fakes.Ended(b"r-1")]))
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / "moved")
    log.tick(0.0)
    log.take(fakes.block([fakes.Ended(b"r-2")]))
    log.close()
    assert [line["http.request.id"] for line in lines(tmp_path)] == ["r-2"]


_FULL_DISK = """
import resource, sys
sys.path[:0] = sys.argv[2:]
import provenance_fakes as fakes
from pathlib import Path
from seaway.monitor.logs import erasing
from seaway.monitor.logs.request_log import Logged, RequestLogSink
from seaway.monitor.sinks import RecordPaths
directory = Path(sys.argv[1])
log = RequestLogSink(directory, RecordPaths(str(directory), 0, 1), Logged.ALL)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
failed = 0
for n in range(60):
    if n == 40:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    try:
        log.take(fakes.block([fakes.Ended(b"r-%d" % n)]))
    except OSError:
        failed += 1
print(failed)
"""


def test_f10_a_full_disk_drops_whole_lines_and_says_so_each_time(tmp_path: Path) -> None:
    """RLIMIT_FSIZE is the full disk: a write that goes beyond is cut short, the next is refused."""
    here = str(Path(__file__).parent)
    out = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path), here],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ},
    )
    dropped = int(out.stdout)
    kept = [line["http.request.id"] for line in lines(tmp_path)]
    assert 5 < dropped < 40
    assert len(kept) + dropped == 60
    assert kept[-20:] == [f"r-{n}" for n in range(40, 60)]


def test_w12_no_text_of_a_caller_reaches_the_log(tmp_path: Path) -> None:
    secret = "jane.doe@example.org"
    request = fakes.labels(b"r-1", secret, cities=[secret])
    failed = fakes.Ended(b"r-2", code="internal", tensors=request.tensors, traceparent=secret.encode())
    log = sink(tmp_path)
    log.take(fakes.block([request, failed], fakes.subject(fakes.CLASSIFIER, slices=("city",))))
    log.close()
    assert len(lines(tmp_path)) == 2
    assert all(secret.encode() not in path.read_bytes() for path in tmp_path.iterdir())


def test_erased_lines_leave_no_byte_while_the_worker_writes_on(tmp_path: Path) -> None:
    log = sink(tmp_path, file_bytes=4096)
    log.take(fakes.block([fakes.number(b"other-%d" % n, 1.0) for n in range(20)]))
    log.take(fakes.block([fakes.number(b"jane-1", 1.0), fakes.number(b"other-20", 1.0)]))
    assert erasing.erase(tmp_path, ["jane-1", "jane-2", ""]) == 1
    assert erasing.erase(tmp_path, ["jane-1"]) == 0
    log.take(fakes.block([fakes.number(b"other-21", 1.0)]))
    log.close()
    assert b"jane" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    kept = {line["http.request.id"] for line in lines(tmp_path) if line}
    assert kept and kept <= {f"other-{n}" for n in range(22)} and {"other-20", "other-21"} <= kept
