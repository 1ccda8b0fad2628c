"""The built-in adapters, by the name of what they do; imported when first asked for and by nobody else.

Third parties' adapters come by entry points (group `seaway.<kind>`); the built-in ones use the same door in form:
`module:attribute`.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

from seaway.core.errors import UserError
from seaway.core.ports import Converter, Runtime, TableReader

RUNTIMES: Final[dict[str, str]] = {
    "onnx": "seaway.adapters.runtimes.onnxruntime:OnnxRuntime",
}
"""Bundle format → the class of its Runtime, made without arguments."""

CONVERTERS: Final = ("seaway.adapters.converters.sklearn:SklearnConverter",)
"""Classes of Converters, made without arguments, in the order in which they are asked."""

TABLE_READERS: Final = ("seaway.adapters.tables.parquet:ParquetReader",)


def attribute(target: str) -> object:
    """What `module:attribute` names; imports the module."""
    module, _, name = target.partition(":")
    found: object = getattr(importlib.import_module(module), name)
    return found


def runtime(model_format: str) -> Runtime:
    """A new Runtime for bundles of this format. Raises `UserError("unknown_format")`."""
    target = RUNTIMES.get(model_format)
    if target is None:
        raise UserError(
            "unknown_format",
            f"nothing here runs models of format {model_format!r}",
            f"known: {sorted(RUNTIMES)}",
        )
    found: Runtime = _made(target)
    return found


def converters() -> tuple[Converter, ...]:
    """A new one of every Converter."""
    return tuple(_made(target) for target in CONVERTERS)


def table_readers() -> tuple[TableReader, ...]:
    """A new one of every TableReader."""
    return tuple(_made(target) for target in TABLE_READERS)


def _made(target: str) -> Any:
    kind = attribute(target)
    assert callable(kind)
    return kind()
