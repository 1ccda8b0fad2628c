"""Reading a request's body: what is refused by its headers, and never more bytes than the endpoint's limit."""

from __future__ import annotations

from starlette.requests import Request

from seaway.core.errors import UserError

_JSON_HINT = "send JSON with the header content-type: application/json"


async def read_json(request: Request, max_bytes: int) -> bytes:
    """The body of a JSON request. Raises `UserError` (`unsupported_media_type`, `body_too_large`).

    A body announced as too large is refused unread; one without a length as soon as it passes the limit.
    """
    headers = request.headers
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UserError(
            "unsupported_media_type",
            f"content-encoding {encoding[:40]!r} is not taken",
            "send the body as it is",
        )
    if "inference-header-content-length" in headers:
        raise UserError(
            "unsupported_media_type", "binary tensor data is not taken", "send JSON (binary_data=False)"
        )
    media_type = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UserError(
            "unsupported_media_type", f"content-type {media_type[:80]!r} is not taken", _JSON_HINT
        )
    announced = headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(max_bytes)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(max_bytes: int) -> UserError:
    return UserError(
        "body_too_large", f"the body is larger than {max_bytes:,} bytes", "send fewer rows at once"
    )
