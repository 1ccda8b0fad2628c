"""Writes a run directory with many endpoints, each a bundle of its own, for Seaway's supervisor.

`python tables.py MODEL.onnx RUN COUNT MAX_ROWS`, in Seaway's environment. The bundles differ in a text that no
computation reads, so that every endpoint has a session of its own and all give the same answers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import onnx

from seaway.bundle import oci, sources
from seaway.core.bundles import OpenedBundle
from seaway.core.traffic import Limits, Route, RoutedRevision, RoutingTable


def bundle(model: Path, number: int, folder: Path) -> OpenedBundle:
    """The opened bundle of the `number`-th variant, from `folder` or made there."""
    made = sorted(folder.glob(f"*/{oci.MANIFEST_FILE}"))
    if made:
        return sources.open_directory(made[0].parent)
    folder.mkdir(parents=True, exist_ok=True)
    variant = onnx.load(str(model))
    variant.doc_string = f"variant {number}"
    file = folder / "variant.onnx"
    onnx.save(variant, str(file))
    opened = sources.open_source(str(file), folder, None, f"m{number}")
    file.unlink()
    directory = Path(opened.directory)
    (directory / oci.MANIFEST_FILE).write_bytes(oci.canonical(opened.manifest))
    return sources.open_directory(directory)


def main() -> None:
    """The process's entry."""
    model, run, count, max_rows = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    routes = []
    for number in range(count):
        opened = bundle(model, number, run.parent / f"{model.stem}-bundles" / str(number))
        revision = RoutedRevision(1, opened.digest, opened.directory, f"m{number}:v1", 100.0)
        routes.append(Route(f"m{number}", (revision,), Limits(max_rows=max_rows)))
    run.mkdir(parents=True, exist_ok=True)
    table = RoutingTable(generation=1, routes=tuple(routes))
    (run / "table.json").write_bytes(msgspec.json.encode(table))


if __name__ == "__main__":
    main()
