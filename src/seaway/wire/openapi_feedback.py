"""What `openapi` says of POST /feedback: made of the very types that read a body and write its answer."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from seaway.core.feedback import MAX_ROWS, FeedbackAnswer, FeedbackRow
from seaway.wire.openapi_schemas import Json

_EXAMPLE: Final = ({"request_id": "order-17", "outcome": 1, "kpi": {"revenue": 24.9}},)
_TELLS_SOMETHING: Final = (
    {"required": ["outcome"], "properties": {"outcome": {"not": {"type": "null"}}}},
    {"required": ["kpi"], "properties": {"kpi": {"minProperties": 1}}},
)


def operation(headers: Json, refused: Json) -> Json:
    """The operation; `headers` are those of every answer, `refused` is what an error looks like."""
    row = _schema(FeedbackRow) | {"anyOf": _TELLS_SOMETHING}
    rows: Json = {"type": "array", "items": row, "maxItems": MAX_ROWS}
    answer: Json = {"application/json": {"schema": _schema(FeedbackAnswer)}}
    return {
        "summary": "Tell what became of predictions",
        "description": "By the request id of each. Durable when it is answered; sending it again is safe. Also taken: "
        "JSON lines (application/x-ndjson).",
        "tags": ["feedback"],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"anyOf": [row, rows]}, "example": _EXAMPLE}},
        },
        "responses": {
            "200": {"description": "OK", "headers": headers, "content": answer},
            "default": refused,
        },
    }


def _schema(kind: type[msgspec.Struct]) -> Json:
    """Of one struct that holds no others. Python's end of a text, `\\Z`, is `$` in the regular expressions of JSON Schema."""
    _, found = msgspec.json.schema_components([kind])
    text = msgspec.json.encode(found[kind.__name__]).replace(rb"\\Z", b"$")
    schema: Any = msgspec.json.decode(text)
    return dict(schema)
