"""Bundles that need no store: `seaway serve` opens an ONNX file, a bundle directory or a version with this."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Final

from seaway.bundle import blobs, layouts, oci, scan, signatures, verify_onnx
from seaway.bundle.store import BundleStore
from seaway.core.bundles import BundleFile, Digest, Manifest, ModelRef, OpenedBundle, Source
from seaway.core.errors import UserError

_UNNAMED: Final = "model"


def open_source(
    source: str, private: Path, store: BundleStore | None = None, name: str | None = None
) -> OpenedBundle:
    """What SOURCE stands for: a path to an ONNX file or to a bundle directory, or NAME:vN in `store`.

    An ONNX file is checked and copied into `private`, with its external data, so that nobody changes it under
    a running server; its digest is that of its content. Raises what `BundleStore.open`, `scan.identify` and
    `verify_onnx` raise, and `UserError("file_not_found")`.
    """
    path = Path(source)
    if path.is_dir() and (path / oci.MANIFEST_FILE).exists():
        return open_directory(path)
    if path.exists():
        return _open_onnx(path, private, name)
    if store is not None and (":" in source or "@" in source) and "/" not in source:
        return store.open(store.resolve(ModelRef.parse(source)))
    raise UserError(
        "file_not_found", f"there is no file {source!r}", "name an ONNX file, a bundle directory or NAME:v3"
    )


def open_directory(path: Path) -> OpenedBundle:
    """A directory with `seaway.json` and the files that it lists, every byte checked.

    Its digest is that of the OCI artefact which the store would make of it, so it is the version's own. Raises what
    `layouts.read_directory` raises.
    """
    found = layouts.read_directory(path)
    size = len(found.encoded) + sum(size for _, size, _ in found.contents)
    return OpenedBundle(oci.sha256(found.encoded), found.manifest, str(path.absolute()), str(path), size)


def _open_onnx(path: Path, private: Path, name: str | None) -> OpenedBundle:
    kind = scan.identify(path)
    if kind != scan.ONNX:
        raise UserError(
            "unsupported_model",
            f"{path} is a {kind} file: it must be converted, and the conversion proved, before it serves",
            f"seaway package {path} --name NAME --sample FILE",
        )
    private.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=blobs.TEMPORARY, dir=private))
    try:
        report = verify_onnx.verify_onnx(path, scratch)
        listed = []
        for file in sorted({verify_onnx.ENTRY, *report.external}):
            digest, size = blobs.hash_file(scratch / file)
            listed.append(BundleFile(file, digest, size))
        content = "\n".join(f"{file.digest} {file.path}" for file in listed)
        digest = Digest("sha256:" + hashlib.sha256(content.encode()).hexdigest())
        directory = private / digest.removeprefix("sha256:")
        if directory.exists():
            shutil.rmtree(directory)
        scratch.replace(directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    signature = signatures.infer_signature(report)
    manifest = Manifest(
        name=name or _UNNAMED,
        task=signatures.infer_task(signature),
        entry=verify_onnx.ENTRY,
        signature=signature,
        source=Source("onnx", f"ONNX by {report.producer}" if report.producer else "ONNX"),
        files=tuple(listed),
        classes=tuple(report.classes),
    )
    return OpenedBundle(digest, manifest, str(directory), str(path), sum(file.size_bytes for file in listed))
