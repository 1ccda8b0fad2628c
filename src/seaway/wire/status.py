"""Error code → HTTP status, gRPC status and exit code: the one table that every door and the command line read."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import msgspec

from seaway.core.errors import SeawayError, TemporaryError


class Status(NamedTuple):
    """`grpc` is the name of a grpc.StatusCode. Exit codes: 1 fault, 2 bad input, 3 refused, 4 temporary, 130 interrupted."""

    http: int
    grpc: str
    exit_code: int


_BAD: Final = Status(400, "INVALID_ARGUMENT", 2)
_UNPROCESSABLE: Final = Status(422, "INVALID_ARGUMENT", 2)
_NOT_FOUND: Final = Status(404, "NOT_FOUND", 2)
_CONFLICT: Final = Status(409, "ABORTED", 3)
_REFUSED: Final = Status(409, "FAILED_PRECONDITION", 3)
_TAKEN: Final = Status(409, "FAILED_PRECONDITION", 2)
_FORBIDDEN: Final = Status(403, "PERMISSION_DENIED", 3)
_AWAY: Final = Status(503, "UNAVAILABLE", 4)
_FAULT: Final = Status(500, "INTERNAL", 1)

STATUS: Final[dict[str, Status]] = {
    # requests
    "invalid_json": _BAD,
    "invalid_request": _BAD,
    "unknown_input": _BAD,
    "missing_input": _BAD,
    "duplicate_input": _BAD,
    "wrong_dtype": _BAD,
    "wrong_shape": _BAD,
    "invalid_value": _BAD,
    "body_too_large": Status(413, "RESOURCE_EXHAUSTED", 2),
    "unsupported_media_type": Status(415, "INVALID_ARGUMENT", 2),
    "route_not_found": Status(404, "UNIMPLEMENTED", 2),
    "method_not_allowed": Status(405, "UNIMPLEMENTED", 2),
    "endpoint_not_found": _NOT_FOUND,
    "revision_not_found": _NOT_FOUND,
    "not_ready": _AWAY,
    "overloaded": Status(503, "RESOURCE_EXHAUSTED", 4),
    "deadline_exceeded": Status(504, "DEADLINE_EXCEEDED", 4),
    "draining": _AWAY,
    "execution_failed": _FAULT,
    "engine_crashed": _AWAY,
    "quarantined": _UNPROCESSABLE,
    "stream_only": _BAD,
    "cancelled": Status(499, "CANCELLED", 4),
    # the transport
    "invalid_http": _BAD,
    "head_too_large": Status(431, "RESOURCE_EXHAUSTED", 2),
    "request_timeout": Status(408, "DEADLINE_EXCEEDED", 4),
    "expectation_failed": Status(417, "INVALID_ARGUMENT", 2),
    "too_many_connections": _AWAY,
    # packaging and the registry
    "file_not_found": _NOT_FOUND,
    "format_not_allowed": Status(422, "INVALID_ARGUMENT", 3),
    "unparseable": Status(422, "INVALID_ARGUMENT", 3),
    "unknown_format": _UNPROCESSABLE,
    "unsafe_path": Status(422, "INVALID_ARGUMENT", 3),
    "invalid_model": _UNPROCESSABLE,
    "too_large": Status(413, "RESOURCE_EXHAUSTED", 2),
    "unsupported_model": _UNPROCESSABLE,
    "missing_extra": Status(501, "UNIMPLEMENTED", 2),
    "sample_required": _UNPROCESSABLE,
    "conversion_refused": Status(422, "FAILED_PRECONDITION", 3),
    "invalid_data": _UNPROCESSABLE,
    "invalid_name": _BAD,
    "invalid_reference": _BAD,
    "invalid_steps": _UNPROCESSABLE,
    "invalid_requirement": _BAD,
    "model_not_found": _NOT_FOUND,
    "version_not_found": _NOT_FOUND,
    "digest_invalid": _BAD,
    "digest_mismatch": Status(500, "DATA_LOSS", 1),
    "manifest_invalid": _BAD,
    "blob_missing": Status(404, "DATA_LOSS", 1),
    "version_conflict": _CONFLICT,
    "lock_unavailable": _AWAY,
    "invalid_query": _BAD,
    "image_unavailable": _AWAY,
    # gates and control
    "record_not_found": _NOT_FOUND,
    "nothing_captured": _NOT_FOUND,
    "not_replayable": _UNPROCESSABLE,
    "records_unreadable": _FAULT,
    "gate_failed": _REFUSED,
    "revision_failed": _REFUSED,
    "no_rollout": _REFUSED,
    "rollout_not_found": _NOT_FOUND,
    "rollout_not_ready": _AWAY,
    "rollout_rolled_back": _REFUSED,
    "nothing_to_roll_back": _REFUSED,
    "invalid_spec": _UNPROCESSABLE,
    "not_available": Status(501, "UNIMPLEMENTED", 2),
    "invalid_config": _BAD,
    "generation_conflict": _CONFLICT,
    "idempotency_conflict": Status(422, "FAILED_PRECONDITION", 2),
    "already_running": _TAKEN,
    "address_in_use": _TAKEN,
    "open_bind_refused": Status(403, "PERMISSION_DENIED", 2),
    "control_unavailable": _AWAY,
    "unauthenticated": Status(401, "UNAUTHENTICATED", 3),
    "forbidden": _FORBIDDEN,
    "cross_origin": _FORBIDDEN,
    "store_unavailable": _AWAY,
    "store_too_new": Status(500, "FAILED_PRECONDITION", 3),
    "disk_full": Status(507, "RESOURCE_EXHAUSTED", 4),
    "interrupted": Status(503, "CANCELLED", 130),
    "internal": _FAULT,
}


def retry_after_s(error: SeawayError) -> int | None:
    """What Retry-After says: whole seconds with 429 and 503, None with every other status."""
    if isinstance(error, TemporaryError) and STATUS[error.code].http in (429, 503):
        return max(1, math.ceil(error.retry_after_s))
    return None


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """What every refused request gets; `error` is a sentence, as the Open Inference Protocol asks."""

    error: str
    code: str
    request_id: str
    hint: str | None = None


def error_body(error: SeawayError, request_id: str) -> bytes:
    """The JSON body of an error's answer. Lone surrogates, which JSON cannot carry, become `?`."""
    body = ErrorBody(
        _sendable(error.message),
        error.code,
        request_id,
        None if error.hint is None else _sendable(error.hint),
    )
    return msgspec.json.encode(body)


def _sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
