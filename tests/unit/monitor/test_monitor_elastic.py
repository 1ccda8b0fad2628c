"""The index template maps every field of the log lines."""

from __future__ import annotations

from typing import Any

import msgspec

from seaway.monitor.logs import elastic
from seaway.wire import ecs


def test_every_field_of_a_line_is_mapped_with_its_type() -> None:
    template = elastic.index_template()
    for name, kind in ecs.FIELDS.values():
        inside: Any = template["template"]["mappings"]
        for part in name.split("."):
            inside = inside["properties"][part]
        assert inside["type"] == kind
    assert template["priority"] > 100
    assert template["data_stream"] == {}
    assert msgspec.json.decode(msgspec.json.encode(template)) == template


def test_each_call_gives_a_template_of_its_own() -> None:
    elastic.index_template()["template"].clear()
    assert elastic.index_template()["template"]
