"""Keeps requests away from a model whose process they have ended before: `jobs.Screen`, one per isolated model."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np

from seaway.core.bundles import Digest
from seaway.core.errors import UserError
from seaway.core.tensors import Tensors
from seaway.engine.jobs import Job

_STRIKES: Final = 3
_REMEMBERED: Final = 4096


class Quarantines:
    """The Screen of every model that a process holds, kept for the process's life."""

    def __init__(self) -> None:
        self._by_digest: dict[Digest, Quarantine] = {}

    def of(self, digest: Digest) -> Quarantine:
        """The one Screen of a model, whichever endpoint asks."""
        return self._by_digest.setdefault(digest, Quarantine())


class Quarantine:
    """Counts crashes by the content of the request. Any thread; costs nothing while there are no suspects.

    The jobs of a crashed batch are all suspects and run alone from then on: the innocent ones among them never crash
    alone, so only the one that does comes to three. The least recently seen suspects are forgotten first.
    """

    def __init__(self) -> None:
        self._crashes: OrderedDict[bytes, int] = OrderedDict()
        self._counting = threading.Lock()

    def admit(self, job: Job) -> None:
        """Raises `UserError("quarantined")`; sets `job.alone` for a suspect."""
        if not self._crashes:
            return
        key = fingerprint(job.tensors)
        with self._counting:
            count = self._crashes.get(key)
            if count is None:
                return
            self._crashes.move_to_end(key)
        if count >= _STRIKES:
            raise UserError(
                "quarantined",
                f"this very request has ended the model's process {count} times",
                "send other values, or deploy a version that can take these",
            )
        job.alone = True

    def crashed(self, jobs: Sequence[Job]) -> None:
        """The model's process ended while it ran these jobs as one batch."""
        keys = {fingerprint(job.tensors) for job in jobs}
        with self._counting:
            for key in keys:
                self._crashes[key] = self._crashes.get(key, 0) + 1
                self._crashes.move_to_end(key)
            while len(self._crashes) > _REMEMBERED:
                self._crashes.popitem(last=False)


def fingerprint(tensors: Tensors) -> bytes:
    """BLAKE2b over names, datatypes, shapes and values: the same for the same request through any door."""
    found = hashlib.blake2b(digest_size=16, person=b"seaway-request")
    for name in sorted(tensors):
        array = tensors[name]
        found.update(repr((name, array.dtype.str, array.shape)).encode())
        if array.dtype == object:
            for text in array.ravel():
                value = text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogatepass")
                found.update(len(value).to_bytes(8, "little"))
                found.update(value)
        else:
            found.update(np.ascontiguousarray(array).data)
    return found.digest()
