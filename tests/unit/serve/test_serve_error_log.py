"""The worker's error lines: Elastic Common Schema, with stacks and without what callers sent (W12)."""

from __future__ import annotations

import json

import ecs_validator
import pytest

from seaway.core.errors import PermanentError, SeawayError
from seaway.engine.pool import Handle
from seaway.serve import error_log
from seaway.testing.clock import VirtualClock

SECRET = "jane.doe@example.org"


class Call:
    endpoint = "prices"
    handle: Handle | None = None
    request_id = b"r-7"
    trace_id = "0123456789abcdef0123456789abcdef"


def parse(text: str) -> int:
    return int(text)


def failure() -> SeawayError:
    """A fault whose exceptions, one behind the other, quote the caller."""
    try:
        try:
            parse(SECRET)
        except ValueError as error:
            raise KeyError(SECRET) from error
    except KeyError as error:
        return error_log.fault(error)


def written(error: SeawayError, capsys: pytest.CaptureFixture[str]) -> str:
    error_log.write(error, Call(), VirtualClock())
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_line_validates_against_ecs_and_names_request_trace_and_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = written(PermanentError("execution_failed", "the model failed"), capsys)
    assert ecs_validator.violations(line.encode()) == []
    document = json.loads(line)
    del document["@timestamp"]
    assert document == {
        "log.level": "error",
        "message": "the model failed",
        "ecs.version": "8.11.0",
        "service.name": "seaway",
        "event.dataset": "seaway.worker",
        "http.request.id": "r-7",
        "trace.id": "0123456789abcdef0123456789abcdef",
        "error.code": "execution_failed",
        "seaway.endpoint": "prices",
    }


def test_w12_the_stack_tells_types_and_places_but_not_what_the_exceptions_quote(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = written(failure(), capsys)
    assert SECRET not in line
    assert ecs_validator.violations(line.encode()) == []
    document = json.loads(line)
    assert document["error.type"] == "KeyError"
    stack = document["error.stack_trace"]
    assert stack.index("builtins.KeyError") < stack.index("builtins.ValueError")
    assert "in parse\n    return int(text)" in stack


def test_a_chain_of_exceptions_that_leads_back_to_itself_ends(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert len(json.loads(written(error_log.fault(first), capsys))["error.stack_trace"]) < 1000
