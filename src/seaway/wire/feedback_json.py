"""Feedback bodies ↔ rows: a JSON object, a JSON array, or JSON lines. One row that is wrong refuses them all."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from seaway.core.errors import UserError
from seaway.core.feedback import MAX_BODY_BYTES, MAX_ROWS, FeedbackRow

JSON: Final = "application/json"
LINES: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})
_one: Final = msgspec.json.Decoder(FeedbackRow)
_many: Final = msgspec.json.Decoder(list[FeedbackRow])
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
        raise UserError("invalid_json", f"the body is not JSON: {_without_text(error)}") from error
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


def _where(text: str) -> str:
    found = _PLACE.search(text)
    if found is None:
        return f"row 1: {text[:300]}"
    field = found[2].removeprefix(".")
    cause = text[: found.start()][:300]
    return f"row {int(found[1] or 0) + 1}: {cause}" + (f" (field `{field}`)" if field else "")


def _without_text(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
