"""Writes docs/errors.md from the two tables in the code: `python docs/make_errors.py`."""

from __future__ import annotations

from pathlib import Path

from seaway.core import errors
from seaway.wire import status

HEAD = """# Errors

Every error has a stable code, a message that names the cause, and mostly a hint that names the fix. The body over
HTTP is `{"error": MESSAGE, "code": CODE, "hint": …, "request_id": …}`; 429 and 503 carry `Retry-After`. The command
line prints the same on stderr (one JSON document with `--json`) and exits with

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | internal fault, or the operator must act |
| 2 | bad input |
| 3 | refused by a gate or a policy |
| 4 | temporary: the same command may work later |
| 130 | interrupted |

This page is written by `python docs/make_errors.py`; a test fails where it is out of date.

| code | HTTP | gRPC | exit | meaning |
|---|---|---|---|---|
"""


def render() -> str:
    """The page."""
    rows = []
    for code, meaning in errors.CODES.items():
        found = status.STATUS[code]
        rows.append(f"| `{code}` | {found.http} | {found.grpc} | {found.exit_code} | {meaning} |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    Path(__file__).with_name("errors.md").write_text(render(), "utf-8")
