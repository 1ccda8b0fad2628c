"""Writes a run directory with many endpoints, each a bundle of its own, for Seaway's supervisor.

`python tables.py MODEL.onnx RUN COUNT MAX_ROWS`, in Seaway's environment. The bundles differ in their names only, so
that every endpoint has a digest and a session of its own and all give the same answers.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from seaway.bundle import oci, sources
from seaway.core.bundles import OpenedBundle
from seaway.core.traffic import Limits, Route, RoutedRevision, RoutingTable


def bundles(model: Path, count: int, folder: Path) -> Iterator[OpenedBundle]:
    """The opened bundles m0, m1, … of one ONNX file, made in `folder`."""
    first = sources.open_source(str(model), folder / "first", None, "m0")
    for number in range(count):
        directory = folder / str(number)
        shutil.copytree(first.directory, directory)
        manifest = msgspec.structs.replace(first.manifest, name=f"m{number}")
        (directory / oci.MANIFEST_FILE).write_bytes(oci.canonical(manifest))
        yield sources.open_directory(directory)


def main() -> None:
    """The process's entry."""
    model, run, count, max_rows = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    routes = []
    for number, opened in enumerate(bundles(model, count, run / "bundles")):
        revision = RoutedRevision(1, opened.digest, opened.directory, f"m{number}:v1", 100.0)
        routes.append(Route(f"m{number}", (revision,), Limits(max_rows=max_rows)))
    table = RoutingTable(generation=1, routes=tuple(routes))
    (run / "table.json").write_bytes(msgspec.json.encode(table))


if __name__ == "__main__":
    main()
