"""Packages versions until it is killed: `python bundle_writer.py HOME FIRST`. Run by test_bundle_crash.py.

Prints a line after each acknowledged version.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from seaway.bundle import oci
from seaway.bundle.store import Attachment, BundleStore
from seaway.core.bundles import BundleFile, Manifest, Source, Task
from seaway.core.tensors import DType, Signature, TensorSpec


class SystemClock:
    """The machine's clock."""

    def now_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic()


def main() -> None:
    home, number = Path(sys.argv[1]), int(sys.argv[2])
    store = BundleStore(home / "models", home / "opened", SystemClock())
    signature = Signature((TensorSpec("x", DType.FP32, (-1, 3)),), (TensorSpec("y", DType.FP32, (-1, 1)),))
    while True:
        files = {"model.onnx": b"%012d" % number * 50_000, "README.md": b"# card %d\n" % number}
        listed = tuple(BundleFile(path, oci.sha256(data), len(data)) for path, data in sorted(files.items()))
        manifest = Manifest("crash", Task.OTHER, "model.onnx", signature, Source("onnx"), listed)
        version, _ = store.add(
            dict(files), manifest, [Attachment("parity", "application/json", b"%d" % number)]
        )
        store.open(version)
        print(version.number, version.digest, flush=True)
        number += 1


if __name__ == "__main__":
    main()
