"""Paths to doors: exact names only, whatever a client makes of them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from seaway.core.errors import UserError
from seaway.core.tensors import Signature
from seaway.serve.door import Decoded
from seaway.serve.routes import Routes


class Infer:
    name = "oip"
    paths = ("/v2/models/{endpoint}/infer", "/v2/models/{endpoint}/versions/{version}/infer")
    media_types = (b"application/json",)
    streams = False

    def aside(self, headers: Mapping[bytes, bytes], size: int, signature: Signature) -> bool:
        raise AssertionError("a route decodes nothing")

    def decode(self, headers: Mapping[bytes, bytes], body: bytes, signature: Signature) -> Decoded:
        raise AssertionError("a route decodes nothing")


def test_a_path_names_endpoint_and_revision() -> None:
    door = Infer()
    routes = Routes([door])
    for _ in range(2):  # matched, then remembered
        assert routes.find(b"/v2/models/prices/infer") == (door, "prices", None)
        assert routes.find(b"/v2/models/prices/versions/12/infer") == (door, "prices", 12)


@pytest.mark.parametrize(
    "path",
    [
        b"/v2/models/..%2f/infer",
        b"/v2/models//infer",
        b"/v2/models/a;b/infer",
        b"/v2/models/a%00/infer",
        b"/v2/models/" + b"a" * 4096 + b"/infer",
        "/v2/models/prіces/infer".encode(),
        b"/v2/models/x/../../admin",
        b"/v2/models/prices/infer/",
        b"/v2/models/Prices/infer",
        b"/v2/models/prices/infer\n",
        b"/v2/models/prices/versions/1/2/infer",
        b"//v2/models/prices/infer",
    ],
)
def test_r17_other_spellings_are_other_routes(path: bytes) -> None:
    assert Routes([Infer()]).find(path) is None


@pytest.mark.parametrize("version", [b"-1", b"1234567890", b"v3", b"1.0"])
def test_r20_a_version_that_is_no_number_is_not_there(version: bytes) -> None:
    with pytest.raises(UserError) as refused:
        Routes([Infer()]).find(b"/v2/models/prices/versions/%b/infer" % version)
    assert refused.value.code == "revision_not_found"


def test_a_flood_of_paths_is_not_remembered_for_ever() -> None:
    routes = Routes([Infer()])
    for number in range(10_000):
        assert routes.find(b"/v2/models/m%d/infer" % number) is not None
    assert len(routes._known) <= 4096
