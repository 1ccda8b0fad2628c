"""The one table of statuses is whole, and error bodies have their form."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest

from seaway.core import errors
from seaway.wire import status

GRPC = {
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
}


def test_every_code_has_a_status_and_every_status_a_code() -> None:
    assert set(status.STATUS) == set(errors.CODES)


@pytest.mark.parametrize("code", sorted(status.STATUS))
def test_a_status_is_one_that_exists(code: str) -> None:
    found = status.STATUS[code]
    # 499 is no standard status, but what is widely counted where the client went away; it is never sent.
    assert found.http == 499 or HTTPStatus(found.http) >= 400
    assert found.grpc in GRPC
    assert found.exit_code in (1, 2, 3, 4, 130)


@pytest.mark.parametrize(
    ("code", "http", "exit_code"),
    [
        ("gate_failed", 409, 3),
        ("invalid_json", 400, 2),
        ("internal", 500, 1),
        ("control_unavailable", 503, 4),
    ],
)
def test_some_rows_of_the_contract(code: str, http: int, exit_code: int) -> None:
    assert (status.STATUS[code].http, status.STATUS[code].exit_code) == (http, exit_code)


def test_the_body_names_cause_fix_and_request() -> None:
    body = json.loads(
        status.error_body(errors.UserError("wrong_shape", "it is \ud800 odd", "send [1]"), "r-1")
    )
    assert body == {"error": "it is ? odd", "code": "wrong_shape", "request_id": "r-1", "hint": "send [1]"}
    assert "hint" not in json.loads(status.error_body(errors.UserError("wrong_shape", "odd"), "r"))
