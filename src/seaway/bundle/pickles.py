"""Recognises pickles of every protocol by parsing their opcodes, never by loading them. Used by `bundle.scan`."""

from __future__ import annotations

import pickletools
import re
from typing import BinaryIO, Final

_IMPORTS: Final = frozenset({"GLOBAL", "INST", "STACK_GLOBAL"})
_NAMES: Final = frozenset(
    {"SHORT_BINUNICODE", "BINUNICODE", "UNICODE", "SHORT_BINSTRING", "BINSTRING", "STRING"}
)
_TORCH_MAGIC: Final = 0x1950A86A20F9469CFC6C
_MODULE: Final = re.compile(r"[A-Za-z_][\w.]*\Z")
_MAX_OPCODES: Final = 50_000_000
# what the parser raises on bytes that are no pickle
_FAULTS: Final = (
    ValueError,
    KeyError,
    IndexError,
    OverflowError,
    MemoryError,
    UnicodeDecodeError,
    AttributeError,
)


def scan(file: BinaryIO) -> str | None:
    """`torch`, `joblib` or `pickle` where the bytes from here on are a pickle, else None.

    Bytes count as one if they parse up to STOP, or begin with a protocol mark, or import something before they
    stop making sense: an unpickler runs what comes before the fault. Blocks for the length of the pickle.
    """
    start = file.tell()
    marked = _marked(file.read(2))
    file.seek(start)
    kind, opcodes, imports, last = "pickle", 0, False, ""
    try:
        for opcode, argument, _ in pickletools.genops(file):
            opcodes += 1
            if opcode.name in _IMPORTS:
                name = str(argument).partition(" ")[0] if argument is not None else last
                imports = imports or bool(_MODULE.match(name))
                kind = _kind(name, kind)
            elif opcode.name in _NAMES:
                last = str(argument)
                kind = _kind(last, kind)
            elif argument == _TORCH_MAGIC:
                kind = "torch"
            if opcode.name == "STOP":
                return kind if marked or imports or opcodes > 1 else None
            if opcodes > _MAX_OPCODES:
                return kind
    except _FAULTS:
        return kind if (marked and opcodes > 1) or imports else None
    return None


def _marked(head: bytes) -> bool:
    return len(head) == 2 and head[0] == 0x80 and head[1] <= 5


def _kind(name: str, kind: str) -> str:
    root = name.partition(".")[0]
    return root if root in ("torch", "joblib") and kind == "pickle" else kind
