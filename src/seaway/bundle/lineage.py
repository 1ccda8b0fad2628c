"""Lineage as a user gives it, `KEY=VALUE`; called by the command line and the Python API before packaging."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from seaway.bundle import blobs
from seaway.core.bundles import Lineage
from seaway.core.errors import UserError


def parse_lineage(pairs: Mapping[str, str]) -> Lineage:
    """What a model was made of.

    `data=PATH` also hashes the file, if there is one; `data=NAME` alone is a reference, and `data_digest=…` may
    go with it. `code=REVISION`, `param.X=VALUE` and `metric.X=NUMBER` have places of their own; other keys are
    kept as they are. Raises `UserError`: `invalid_data` for a metric that is no finite number, `file_not_found` for a
    path that leads nowhere.
    """
    parameters: dict[str, str] = {}
    metrics: dict[str, float] = {}
    extra: dict[str, str] = {}
    for key, value in pairs.items():
        group, _, name = key.partition(".")
        if group == "param" and name:
            parameters[name] = value
        elif group == "metric" and name:
            metrics[name] = _number(key, value)
        elif key not in ("data", "data_digest", "code"):
            extra[key] = value
    data, digest = pairs.get("data"), pairs.get("data_digest")
    if data is not None and digest is None and "/" in data and "://" not in data and not Path(data).is_file():
        raise UserError(
            "file_not_found", f"data={data} names a file that does not exist", "or give a name, or a URL"
        )
    if data is not None and digest is None and Path(data).is_file():
        digest, _ = blobs.hash_file(Path(data))
        data = Path(data).name  # where it lay on this machine would make the bundle differ on another
    return Lineage(data, digest, pairs.get("code"), parameters, metrics, extra)


def split_pair(text: str) -> tuple[str, str]:
    """`KEY=VALUE` in two. Raises `UserError("invalid_data")`."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError("invalid_data", f"{text!r} is no lineage", "write KEY=VALUE, such as code=3f2a91c")
    return key.strip(), value


def _number(key: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError as error:
        raise UserError("invalid_data", f"{key}={value!r} is no number") from error
    if not math.isfinite(number):
        raise UserError("invalid_data", f"{key}={value!r} is not finite")
    return number
