"""Bundles that were packaged elsewhere become versions of this store: `seaway package DIRECTORY`, called by wiring."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from seaway.bundle import blobs, layouts, verify_onnx
from seaway.bundle.build import PackageResult
from seaway.bundle.layouts import Artefact
from seaway.bundle.store import BundleStore
from seaway.core.steps import Steps, check_steps


def holds_bundle(source: Path) -> bool:
    """Whether `source` is an OCI image layout or a bundle directory."""
    return layouts.is_layout(source) or layouts.is_directory(source)


def take(source: Path, name: str, store: BundleStore) -> PackageResult:
    """Take the bundle in `source` as a version of `name`, byte for byte, so under the digest that it has there.

    Nothing in it is trusted: every byte is checked against its digest, and the model as a new one would be.
    Idempotent. Raises what `layouts`, `verify_onnx` and `check_steps` raise; then nothing is stored.
    """
    read = layouts.read_layout if layouts.is_layout(source) else layouts.read_directory
    artefact = read(source)
    _check_model(artefact)
    version, created = store.take(artefact, name)
    return PackageResult(version, created, None, artefact.manifest)


def _check_model(artefact: Artefact) -> None:
    if isinstance(artefact.manifest.steps, Steps):
        check_steps(artefact.manifest.steps)
    with tempfile.TemporaryDirectory(prefix="seaway-import-") as scratch:
        laid_out, cleaned = Path(scratch) / "bundle", Path(scratch) / "cleaned"
        cleaned.mkdir()
        with blobs.disk_errors(laid_out):
            for path, where in artefact.files.items():
                target = laid_out / path
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(where, target)
        verify_onnx.verify_onnx(laid_out / artefact.manifest.entry, cleaned)
