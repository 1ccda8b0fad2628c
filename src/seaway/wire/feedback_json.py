"""Feedback bodies ↔ rows: a JSON object, a JSON array, or JSON lines. One row that is wrong refuses them all."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from seaway.core.errors import UserError
from seaway.core.feedback import MAX_BODY_BYTES, MAX_ROWS, NAME_PATTERN, REQUEST_ID_PATTERN, FeedbackRow

JSON: Final = "application/json"
LINES: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})
_one: Final = msgspec.json.Decoder(FeedbackRow)
_many: Final = msgspec.json.Decoder(list[FeedbackRow])
_any: Final = msgspec.json.Decoder()
_PAIR: Final = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_PATTERNS: Final = (
    (REQUEST_ID_PATTERN.removesuffix(r"\Z"), "a request id is 1 to 128 of A-Z a-z 0-9 . _ : / + = @ -"),
    (NAME_PATTERN.removesuffix(r"\Z"), "a name is a letter or _ and then up to 63 of A-Z a-z 0-9 _ . : -"),
)
_PLACE: Final = re.compile(r" - at (?:`key` in )?`\$(?:\[(\d+)\])?(.*)`\Z", re.DOTALL)


def read_rows(body: bytes, content_type: str | None) -> list[FeedbackRow]:
    """The rows of a body. Raises `UserError` (`unsupported_media_type`, `body_too_large`, `invalid_json`,
    `invalid_request`) that names the row, from 1, and its field, never a value."""
    media = media_of(content_type)
    if len(body) > MAX_BODY_BYTES:
        raise UserError(
            "body_too_large", f"the body is larger than {MAX_BODY_BYTES} bytes", "send it in parts"
        )
    try:
        if media != JSON:
            rows = _one.decode_lines(body)
        elif body.lstrip()[:1] == b"[":
            rows = _many.decode(body)
        else:
            rows = [_one.decode(body)]
    except msgspec.ValidationError as error:
        raise UserError("invalid_request", _where(str(error)), "nothing of this body was stored") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        where, part = ("the body", body) if media == JSON else _bad_line(body)
        cause = _without_text(error, part)
        raise UserError(
            "invalid_json", f"{where} is not JSON: {cause}", "nothing of this body was stored"
        ) from error
    if len(rows) > MAX_ROWS:
        raise UserError("body_too_large", f"{len(rows)} rows are more than {MAX_ROWS}", "send them in parts")
    for index, row in enumerate(rows):
        if row.outcome is None and not row.kpi:
            raise UserError(
                "invalid_request",
                f"row {index + 1}: it has neither `outcome` nor `kpi`",
                "nothing of this body was stored",
            )
    return rows


def media_of(content_type: str | None) -> str:
    """The media type that a header names, JSON where there is none. Raises `UserError("unsupported_media_type")`."""
    media = (content_type or JSON).partition(";")[0].strip().lower()
    if media != JSON and media not in LINES:
        raise UserError(
            "unsupported_media_type",
            f"{media[:100]} is not taken here",
            f"send {JSON}, or application/x-ndjson for JSON lines",
        )
    return media


def refuse_encoding(given: str | None) -> None:
    """Raises `UserError("unsupported_media_type")` for a `content-encoding` that would have to be undone."""
    if given is not None and given.strip().lower() not in ("", "identity"):
        raise UserError(
            "unsupported_media_type",
            f"content-encoding {given[:40]!r} is not taken",
            "send the body as it is",
        )


def _bad_line(body: bytes) -> tuple[str, bytes]:
    """The first of JSON lines that is no JSON, by its number among the rows."""
    for number, line in enumerate((line for line in body.split(b"\n") if line.strip()), 1):
        try:
            _any.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return f"row {number}", line
    return "the body", body


def _where(text: str) -> str:
    found = _PLACE.search(text)
    if found is None:
        return f"row 1: {text[:300]}"
    field = found[2].removeprefix(".")
    cause = next((said for sign, said in _PATTERNS if sign in text), text[: found.start()][:300])
    return f"row {int(found[1] or 0) + 1}: {cause}" + (f" (field `{field}`)" if field else "")


def _without_text(error: Exception, part: bytes) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 ({error.reason})"
    if _HALF.search(_PAIR.sub(b"", part.replace(rb"\\", b""))):
        return "a text holds half of a surrogate pair, such as \\ud800, which is no valid text"
    return str(error)[:200]
