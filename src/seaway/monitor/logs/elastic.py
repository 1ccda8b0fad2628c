"""The index template that gives Seaway's log lines their types in Elasticsearch; `seaway monitoring` writes it out."""

from __future__ import annotations

from typing import Any, Final

from seaway.wire import ecs

PATTERNS: Final = ("logs-seaway.*",)
"""Data streams of the form TYPE-DATASET-NAMESPACE, such as `logs-seaway.request-default`."""
PRIORITY: Final = 200
"""Above the built-in template of `logs-*-*` (100), so that this one counts."""


def index_template() -> dict[str, Any]:
    """The body of `PUT _index_template/seaway` (Elasticsearch 8): a data stream with every field of `wire.ecs` mapped.

    Fields beyond them are kept but not indexed by name: strings become keywords, so that no line is refused.
    """
    properties: dict[str, Any] = {}
    for name, kind in ecs.FIELDS.values():
        *path, leaf = name.split(".")
        inside = properties
        for part in path:
            inside = inside.setdefault(part, {"properties": {}})["properties"]
        inside[leaf] = _mapping(kind)
    return {
        "index_patterns": list(PATTERNS),
        "data_stream": {},
        "priority": PRIORITY,
        "template": {
            "settings": {"index": {"codec": "best_compression"}},
            "mappings": {
                "dynamic_templates": [
                    {
                        "strings": {
                            "match_mapping_type": "string",
                            "mapping": {"type": "keyword", "ignore_above": 1024},
                        }
                    }
                ],
                "properties": properties,
            },
        },
        "_meta": {"description": "Seaway's log lines", "ecs_version": ecs.VERSION},
    }


def _mapping(kind: str) -> dict[str, Any]:
    return {"type": kind, "ignore_above": 1024} if kind == "keyword" else {"type": kind}
