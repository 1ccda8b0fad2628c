"""The doors over HTTP: each turns a request's bytes into tensors, and outputs into bytes. One file and one line each."""

from __future__ import annotations

from typing import Final

from seaway.serve.door import Door
from seaway.serve.doors.generate import GENERATE
from seaway.serve.doors.oip import OIP
from seaway.serve.doors.predict import PREDICT

DOORS: Final[tuple[Door, ...]] = (OIP, PREDICT, GENERATE)
