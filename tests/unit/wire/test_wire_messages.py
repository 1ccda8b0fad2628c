"""The generated protobuf modules are what their .proto files say."""

from __future__ import annotations

import make_messages
import pytest


@pytest.mark.parametrize("source", sorted(make_messages.SOURCES))
def test_generating_again_gives_the_same_bytes(source: str) -> None:
    module = make_messages.WIRE / make_messages.SOURCES[source]
    assert make_messages.generate(source) == module.read_text()
