"""`seaway serve`: one opened bundle and a routing table in a run directory of its own, for a server without control."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import msgspec

from seaway import settings
from seaway.bundle import oci, sources
from seaway.core.bundles import parse_name
from seaway.core.traffic import Route, RoutedRevision, RoutingTable
from seaway.wiring.home import Home


def prepare(configuration: settings.Configuration, source: str, name: str | None) -> tuple[Path, str]:
    """A new run directory whose table routes everything to `source`, and the endpoint's name.

    The supervisor removes the directory at its end. Raises what opening a source raises.
    """
    run = Path(tempfile.mkdtemp(prefix="seaway-serve-"))
    private = run / "bundle"
    private.mkdir()
    home = Home(configuration)
    store = home.bundles if home.paths.models.is_dir() else None
    opened = sources.open_source(source, private, store, name)
    endpoint = parse_name(name) if name else _endpoint(source, opened.manifest.name)
    manifest = Path(opened.directory) / oci.MANIFEST_FILE
    if (
        not manifest.exists()
    ):  # a bare ONNX file: from here on it is a bundle like any other, with a bundle's digest
        manifest.write_bytes(oci.canonical(opened.manifest))
        opened = msgspec.structs.replace(sources.open_directory(Path(opened.directory)), ref=opened.ref)
    revision = RoutedRevision(
        number=1, digest=opened.digest, bundle=opened.directory, ref=Path(opened.ref).name, percent=100.0
    )
    table = RoutingTable(generation=1, routes=(Route(endpoint=endpoint, revisions=(revision,)),))
    (run / "table.json").write_bytes(msgspec.json.encode(table))
    return run, endpoint


def _endpoint(source: str, model: str) -> str:
    """The model's name; for a bare file, one made from the file's."""
    path = Path(source)
    if not path.is_file():
        return model
    made = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:63]
    return made or "model"
