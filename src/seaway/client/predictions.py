"""The Python client of endpoints: `seaway.Client().predict("prices", rows)`."""

from __future__ import annotations

import http.client
import threading
import weakref
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
import numpy as np

from seaway import settings
from seaway.bundle import frames
from seaway.client import address
from seaway.client import http as exchange
from seaway.client import rows as row_bytes
from seaway.core.errors import PermanentError, SeawayError, TemporaryError, UserError
from seaway.core.feedback import FeedbackAnswer, FeedbackRow
from seaway.core.tables import Table
from seaway.wire import status

_WHO: Final = ("model_name", "model_version")
"""What a reply says of itself, beside its outputs."""


class Answer(msgspec.Struct, frozen=True):
    """Predictions with who gave them."""

    predictions: list[Any]
    revision: int
    digest: str
    request_id: str


class _Predictions(msgspec.Struct):
    predictions: list[Any]


class _Columns(msgspec.Struct):
    columns: tuple[str, ...] = ()


class _Input(msgspec.Struct):
    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: _Columns = msgspec.field(default_factory=_Columns)


class _Metadata(msgspec.Struct):
    inputs: tuple[_Input, ...]


# Made here, once: msgspec derives them when they are first used, and two threads at once must not.
_PREDICTIONS: Final = msgspec.json.Decoder(_Predictions)
_METADATA: Final = msgspec.json.Decoder(_Metadata)
_FEEDBACK: Final = msgspec.json.Decoder(FeedbackAnswer)
_ERRORS: Final = msgspec.json.Decoder(status.ErrorBody)


class Client:
    """Calls the endpoints of a server. Thread-safe: every thread keeps a connection of its own, until the thread ends.

    `url` such as `http://127.0.0.1:8080` or `https://models.example:8443`; when omitted, the server that runs on `home`
    (else `SEAWAY_HOME`, else `~/.seaway`). Over HTTPS the server's certificate is checked: against `ca`, a PEM file, else
    the certificates that the system trusts; without `url`, against the certificate that the home's server shows, as it
    was when the client was made. A request is sent a second time, once, where it went over a kept connection that ended before a
    byte of the answer came. Nearly always the server had closed that connection as idle and never read the request;
    a worker that was killed after it read the request looks the same, and then the model may have run twice. That
    does no harm: a prediction changes nothing. Over a new connection a request is sent once.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        home: str | Path | None = None,
        timeout_s: float = 30.0,
        ca: str | Path | None = None,
    ) -> None:
        self.address = address.of_home(settings.load(home), ca) if url is None else address.of_url(url, ca)
        self._timeout_s = timeout_s
        self._local = threading.local()
        self._kept: weakref.WeakSet[_Kept] = weakref.WeakSet()
        self._keeping = threading.Lock()

    def close(self) -> None:
        """Close the connections of all threads; the next call opens a new one. Also done when the client is dropped."""
        with self._keeping:
            kept = list(self._kept)
        for item in kept:
            item.connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def predict(self, endpoint: str, rows: object) -> list[Any]:
        """One prediction per row.

        `rows`: a list of dicts (by feature name) or of lists, a numpy array `(batch, n_features)`, or a DataFrame,
        whose columns map by name (others are left out), or in order where the endpoint's features have no names.
        A prediction is a plain value where the model has one output, else a dict by output name.
        NaN and None are missing values. Values and arrays of numpy may stand in rows.
        Raises `UserError` for rows that do not fit or hold an infinity, `TemporaryError` where the server cannot
        answer now.
        """
        return self.answer(endpoint, rows).predictions

    def answer(self, endpoint: str, rows: object, *, request_id: str | None = None) -> Answer:
        """As `predict`, with the revision and digest that answered."""
        body = row_bytes.encode(self._instances(endpoint, rows))
        headers = {"content-type": "application/json"}
        if request_id is not None:
            headers["x-request-id"] = request_id
        response = self._send("POST", f"/predict/{quote(endpoint, safe='')}", body, headers)
        return Answer(
            predictions=_PREDICTIONS.decode(response.body).predictions,
            revision=int(response.headers["seaway-revision"]),
            digest=response.headers["seaway-digest"],
            request_id=response.headers["x-request-id"],
        )

    def stream(
        self, endpoint: str, row: object, *, request_id: str | None = None
    ) -> Generator[dict[str, Any], None, None]:
        """The replies to one row while the model makes them, each a dict by output name.

        `row`: a dict by input name, or the value of the one input. The request goes out, over a connection of its own,
        when the first reply is asked for; closing the iterator ends the connection, and so the model's work. Waits
        `timeout_s` for each reply. Raises as `predict`, also after some replies.
        """
        headers = {"content-type": "application/json"}
        if request_id is not None:
            headers["x-request-id"] = request_id
        path = f"/v2/models/{quote(endpoint, safe='')}/generate_stream"
        connection = self.address.connection(self._timeout_s)
        body = row_bytes.encode([row])
        for kind, data in exchange.server_sent_events(connection, "POST", path, body, headers, whole=True):
            if kind == "error":
                raise _failure(data)
            if kind == "":
                reply = msgspec.json.decode(data, type=dict[str, Any])
                yield {name: value for name, value in reply.items() if name not in _WHO}

    def feedback(self, rows: Sequence[FeedbackRow | Mapping[str, object]]) -> FeedbackAnswer:
        """Tell what became of predictions; when this returns, all the rows are durable. Idempotent.

        A row is a `FeedbackRow`, or a dict of its fields: `request_id` and `outcome`, `kpi` or both. Values of numpy may
        stand in it. Raises `UserError` that names the row that is wrong, and then none was taken; `TemporaryError` where
        it is not known whether they were taken: send them again.
        """
        response = self._send(
            "POST", "/feedback", row_bytes.encode_list(rows), {"content-type": "application/json"}
        )
        return _FEEDBACK.decode(response.body)

    def _instances(self, endpoint: str, rows: object) -> object:
        if isinstance(rows, list | tuple | np.ndarray):
            return rows
        response = self._send("GET", f"/v2/models/{quote(endpoint, safe='')}", None, {})
        inputs = _METADATA.decode(response.body).inputs
        return _rows_of(frames.table_from(rows), inputs)

    def _send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> exchange.Response:
        connection = self._connection()
        fresh = connection.sock is None
        try:
            return exchange.exchange(connection, method, path, body, headers)
        except TemporaryError as error:
            unanswered = isinstance(error.__cause__, http.client.RemoteDisconnected | BrokenPipeError)
            if fresh or not unanswered:
                raise
            return exchange.exchange(connection, method, path, body, headers)

    def _connection(self) -> http.client.HTTPConnection:
        kept: _Kept | None = getattr(self._local, "kept", None)
        if kept is None:
            kept = _Kept(self.address.connection(self._timeout_s))
            self._local.kept = kept
            with self._keeping:
                self._kept.add(kept)
        return kept.connection


class _Kept:
    """A thread's hold on its connection: gone with the thread or the client, and then the connection is closed."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self.connection = connection
        weakref.finalize(self, connection.close)


def _failure(data: bytes) -> SeawayError:
    """The error that ended a stream whose status had left already."""
    body = _ERRORS.decode(data)
    code = body.code if body.code in status.STATUS else "internal"
    number = status.STATUS[code].http
    if number in (429, 503, 504):
        return TemporaryError(code, body.error, body.hint)
    family = PermanentError if number >= 500 else UserError
    return family(code, body.error, body.hint)


def _rows_of(table: Table, inputs: Sequence[_Input]) -> Sequence[object]:
    """A table's rows as the endpoint takes them: by feature name, or in order where no name fits one (batch, k) input."""
    columns = inputs[0].parameters.columns if len(inputs) == 1 else ()
    kinds = dict.fromkeys(columns, inputs[0].datatype) or {spec.name: spec.datatype for spec in inputs}
    # A column of true and false is 1 and 0 to a model that was trained on numbers.
    table = Table(
        {
            name: column.astype(np.int64)
            if column.dtype == np.bool_ and kinds.get(name) != "BOOL"
            else column
            for name, column in table.columns.items()
        }
    )
    features = columns or tuple(spec.name for spec in inputs)
    rows = (table.row(index) for index in range(table.rows))
    wide = len(inputs) == 1 and len(inputs[0].shape) == 2 and inputs[0].shape[1] == len(table.names)
    if wide and not set(features) & set(table.names):
        return [list(row.values()) for row in rows]
    return [{name: value for name, value in row.items() if name in features} for row in rows]
