"""What an endpoint says that it takes: asked before a data file is parsed, so that text for a string input stays text."""

from __future__ import annotations

import contextlib
import http.client
from urllib.parse import quote, urlsplit

import msgspec

from seaway import settings
from seaway.client import http as exchange
from seaway.client import predictions
from seaway.core.tensors import DType, Signature, TensorSpec

_TIMEOUT_S = 30.0


class _Parameters(msgspec.Struct):
    columns: tuple[str, ...] = ()


class _Tensor(msgspec.Struct):
    name: str
    datatype: DType
    shape: tuple[int, ...]
    parameters: _Parameters = msgspec.field(default_factory=_Parameters)

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec(self.name, self.datatype, self.shape, columns=self.parameters.columns)


class _Metadata(msgspec.Struct):
    inputs: tuple[_Tensor, ...]
    outputs: tuple[_Tensor, ...]


def signature(url: str | None, configuration: settings.Configuration, endpoint: str) -> Signature:
    """The names, datatypes, shapes and columns of an endpoint's tensors, by `GET /v2/models/{endpoint}`.

    `url` is one that `predictions.Client` takes; None means the server of the home. Raises what the server answers.
    """
    parts = urlsplit(url or f"http://{predictions.server_address(configuration)}")
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=_TIMEOUT_S)
    with contextlib.closing(connection):
        answer = exchange.exchange(connection, "GET", f"/v2/models/{quote(endpoint, safe='')}")
    found = msgspec.json.decode(answer.body, type=_Metadata)
    return Signature(tuple(one.spec for one in found.inputs), tuple(one.spec for one in found.outputs))
