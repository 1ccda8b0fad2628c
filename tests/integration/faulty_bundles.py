"""Bundles of the format `faulty`, written by hand, and the environment in which processes find its runtime."""

from __future__ import annotations

import os
from pathlib import Path

from seaway.bundle import oci, sources
from seaway.core.bundles import BundleFile, Manifest, OpenedBundle, Source, Task
from seaway.core.tensors import DType, Signature, TensorSpec

RUNTIME = Path(__file__).resolve().parents[1] / "faulty_runtime"
SIGNATURE = Signature((TensorSpec("x", DType.FP32, (-1,)),), (TensorSpec("y", DType.FP32, (-1,)),))


def environment() -> dict[str, str]:
    """This process's environment, none of the user's settings, and the faulty runtime."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SEAWAY_")}
    return {**kept, "PYTHONPATH": str(RUNTIME)}


def write(directory: Path, name: str, words: str = "") -> OpenedBundle:
    """A bundle directory; `words` may hold `streams` and `crash-at-load`."""
    directory.mkdir(parents=True)
    entry = f"{name} {words}".encode()
    (directory / "model.txt").write_bytes(entry)
    files = (BundleFile("model.txt", oci.sha256(entry), len(entry)),)
    manifest = Manifest(name, Task.OTHER, "model.txt", SIGNATURE, Source("faulty"), files, format="faulty")
    (directory / oci.MANIFEST_FILE).write_bytes(oci.canonical(manifest))
    return sources.open_directory(directory)
