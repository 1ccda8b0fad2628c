"""What an endpoint says that it takes: asked before a data file is parsed, so that text for a string input stays text."""

from __future__ import annotations

import contextlib
from urllib.parse import quote

import msgspec

from seaway.client import http as exchange
from seaway.client.address import Address
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


def signature(server: Address, endpoint: str) -> Signature:
    """The names, datatypes, shapes and columns of an endpoint's tensors, by `GET /v2/models/{endpoint}`.

    Raises what the server answers.
    """
    with contextlib.closing(server.connection(_TIMEOUT_S)) as connection:
        answer = exchange.exchange(connection, "GET", f"/v2/models/{quote(endpoint, safe='')}")
    found = msgspec.json.decode(answer.body, type=_Metadata)
    return Signature(tuple(one.spec for one in found.inputs), tuple(one.spec for one in found.outputs))
