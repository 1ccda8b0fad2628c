"""Checks log lines against Elastic's own table of fields (ecs_8_11.json says where it is from)."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

TABLE: dict[str, Any] = json.loads(Path(__file__).with_name("ecs_8_11.json").read_text())


def _is_time(value: object) -> bool:
    return isinstance(value, str) and datetime.datetime.fromisoformat(value).tzinfo is not None


_TYPES: dict[str, Callable[[object], bool]] = {
    "date": _is_time,
    "keyword": lambda value: isinstance(value, str),
    "wildcard": lambda value: isinstance(value, str),
    "match_only_text": lambda value: isinstance(value, str),
    "long": lambda value: type(value) is int and -(2**63) <= value < 2**63,
    "float": lambda value: type(value) is float,
}


def violations(line: bytes) -> list[str]:
    """What is wrong with a line; its own fields, under `seaway.`, are free."""
    pairs: list[tuple[str, object]] = json.loads(line, object_pairs_hook=list)
    names = [name for name, _ in pairs]
    found = [f"{name} is missing" for name in TABLE["required"] if name not in names]
    if names[: len(TABLE["first"])] != TABLE["first"]:
        found.append(f"begins with {names[:3]}")
    if len(set(names)) < len(names):
        found.append("a field stands twice")
    for name, value in pairs:
        if name.startswith("seaway."):
            continue
        field = TABLE["fields"].get(name)
        if field is None:
            found.append(f"{name} is no field of ECS")
            continue
        values = value if field.get("array") and isinstance(value, list) else [value]
        if field.get("array") and not isinstance(value, list):
            found.append(f"{name} is no array")
        for one in values:
            if not _TYPES[field["type"]](one):
                found.append(f"{name} = {one!r} is no {field['type']}")
            if one not in field.get("values", [one]):
                found.append(f"{name} = {one!r} is not allowed")
    return found
