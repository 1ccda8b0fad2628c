"""What can go wrong, told by who has to act next; raised everywhere, turned into a status only in `wire.status`."""

from __future__ import annotations

from typing import Final

# Every code that a user can meet, with what it means. `docs/errors.md` is written from this table and
# `wire.status` maps each code to HTTP, gRPC and an exit code; a test fails where the tables differ.
CODES: Final[dict[str, str]] = {
    # requests
    "invalid_json": "The body is not JSON (or not UTF-8, empty, nested too deeply, or holds NaN or Infinity).",
    "invalid_request": "The body is JSON, but not of the form that this route takes.",
    "unknown_input": "The request names an input or feature that the Signature does not have.",
    "missing_input": "The request lacks an input or feature that the Signature asks for.",
    "duplicate_input": "The request names the same input twice.",
    "wrong_dtype": "An input has another datatype than the Signature.",
    "wrong_shape": "An input has another shape than the Signature, or its data does not fill its shape.",
    "invalid_value": "A value cannot be represented in the input's datatype, or is missing where none may be.",
    "body_too_large": "The body is larger than the endpoint's limit.",
    "unsupported_media_type": "The content type or content encoding is not one that this route takes.",
    "route_not_found": "There is no such route.",
    "method_not_allowed": "The route exists, but not with this method.",
    "endpoint_not_found": "There is no endpoint of that name.",
    "revision_not_found": "The endpoint has no such revision, or it is not loaded.",
    "not_ready": "The endpoint exists, but nothing behind it can answer yet.",
    "overloaded": "More requests wait than the endpoint's queue limit allows.",
    "deadline_exceeded": "The answer was not ready within the endpoint's deadline.",
    "draining": "The server is shutting down and takes no new requests.",
    "execution_failed": "The model itself failed on this request.",
    "engine_crashed": "The model's own process ended while it worked on this request; it is being started again.",
    "quarantined": "This request has ended the model's process three times, so it is refused.",
    "stream_only": "This model answers piece by piece, or does not: call the other route.",
    "cancelled": "The client went away before the answer was complete.",
    # the transport
    "invalid_http": "The bytes are not a request that HTTP/1.1 allows.",
    "head_too_large": "The request's head is larger than the server's limit.",
    "request_timeout": "The head or the body of the request did not come in time.",
    "expectation_failed": "The request expects something other than 100-continue.",
    "too_many_connections": "The server holds as many connections as it may.",
    # packaging and the registry
    "file_not_found": "A named file or directory does not exist or cannot be read.",
    "format_not_allowed": "The file's format can run code when it is loaded; Seaway does not load it.",
    "unparseable": "The file is damaged or built to confuse a scanner, so it is refused.",
    "unknown_format": "The file is of no format that Seaway can package.",
    "unsafe_path": "A path inside the model leads outside its own directory.",
    "invalid_model": "The model file is of a known format, but not a valid model.",
    "too_large": "A file, or what it unpacks to, is over the limit.",
    "unsupported_model": "No converter can turn this model into ONNX.",
    "missing_extra": "This needs an optional dependency that is not installed.",
    "sample_required": "This source needs a sample of its inputs.",
    "conversion_refused": "The converted model does not answer like the source.",
    "invalid_data": "A data file cannot be read as a table, or does not match the inputs.",
    "invalid_name": "A name must match [a-z0-9][a-z0-9-]{0,62}.",
    "invalid_reference": "A version is written NAME:vN or NAME@sha256:HEX.",
    "invalid_steps": "The description of a model's steps is of the wrong form, or does not fit the model.",
    "invalid_requirement": "A requirement is written METRIC>=NUMBER (or >, <=, <).",
    "model_not_found": "There is no model of that name.",
    "version_not_found": "The model has no such version.",
    "digest_invalid": "A digest is not of the form sha256:<64 lower-case hexadecimal digits>, or its bytes differ.",
    "digest_mismatch": "Stored bytes no longer match their digest: the store is damaged.",
    "manifest_invalid": "A manifest is not one that Seaway reads.",
    "blob_missing": "A manifest names a blob that is not there.",
    "version_conflict": "The version exists with other bytes; versions never change.",
    "lock_unavailable": "The environment lock could not be made, since no package index answered.",
    "invalid_query": "The SQL over captured requests cannot run, or is not one SELECT.",
    "image_unavailable": "The build context could not be made whole.",
    # gates and control
    "record_not_found": "Nothing is kept of a request of this id: it is too old, was not drawn, or never came.",
    "nothing_captured": "The endpoint exists, and none of its requests was captured.",
    "not_replayable": "The recorded requests cannot be run on this version, or there are none.",
    "records_unreadable": "The directory of what is kept of requests, or one in it, cannot be read.",
    "gate_failed": "The version's gate did not pass, so it may not take traffic.",
    "revision_failed": "The revision could not be loaded or did not answer its first prediction; traffic stayed where it was.",
    "no_rollout": "The endpoint has no rollout on which this could act.",
    "rollout_not_found": "The endpoint, or its revision of this number, has had no rollout to show.",
    "rollout_not_ready": "Not every worker has the new revision ready yet, so it cannot get a share of the traffic.",
    "rollout_rolled_back": "The rollout did not end with the new revision: it was rolled back, aborted or superseded.",
    "nothing_to_roll_back": "The endpoint has no earlier revision to return to.",
    "invalid_spec": "The endpoint file has an unknown key, a duplicate key or a value of the wrong form.",
    "not_available": "The setting is known, but this version of Seaway does not build it yet.",
    "invalid_config": "The configuration has an unknown key or a value of the wrong form.",
    "generation_conflict": "Somebody else changed the endpoint meanwhile.",
    "idempotency_conflict": "The same Idempotency-Key was used with another body.",
    "already_running": "Another Seaway runs on this home.",
    "address_in_use": "The address is taken by another process.",
    "open_bind_refused": "The address is open to others and nothing protects it.",
    "control_unavailable": "The control process does not answer.",
    "unauthenticated": "The call carries no valid token.",
    "forbidden": "The caller may not do this.",
    "cross_origin": "The call comes from a page or a host name that is not this server's.",
    "store_unavailable": "The state store does not answer.",
    "store_too_new": "The state store was written by a newer Seaway.",
    "disk_full": "There is no space left on the disk.",
    "interrupted": "The command was interrupted.",
    "internal": "A fault in Seaway itself.",
}


class SeawayError(Exception):
    """Base of all errors that Seaway raises on purpose; never raised itself.

    `code` is a key of CODES and stable; `message` says what was found and where; `hint` says what to do.
    """

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        if code not in CODES:
            raise KeyError(f"error code {code!r} is not in core.errors.CODES")
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class UserError(SeawayError):
    """The caller must change something: the input, the command or the version."""


class TemporaryError(SeawayError):
    """The same call may work later; `retry_after_s` says when."""

    def __init__(
        self, code: str, message: str, hint: str | None = None, *, retry_after_s: float = 1.0
    ) -> None:
        super().__init__(code, message, hint)
        self.retry_after_s = retry_after_s


class PermanentError(SeawayError):
    """The operator must act: a damaged store, a broken model, a fault in Seaway."""
