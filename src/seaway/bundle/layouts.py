"""Foreign OCI image layouts, read without trust. Called by `bundle.store` when it imports one."""

from __future__ import annotations

from pathlib import Path

from seaway.bundle import blobs, oci
from seaway.core.errors import UserError


def read_layout(path: Path) -> tuple[bytes, list[tuple[str, int, bytes | Path]]]:
    """The manifest of the only bundle in a layout, and its blobs as (digest, size, where), all checked.

    Raises `UserError` (`manifest_invalid`, `blob_missing`, `unsafe_path`, `too_large`, `digest_invalid`) and
    `PermanentError("digest_mismatch")`.
    """
    index = oci.parse_index(_read(path / "index.json", oci.MAX_INDEX_BYTES))
    bundles = [d for d in index.manifests if d.artifact_type in (None, oci.MODEL_TYPE)]
    if len(bundles) != 1:
        raise UserError("manifest_invalid", f"{path} holds {len(bundles)} bundles, not one")
    directory = path / "blobs" / "sha256"
    encoded = _foreign_blob(directory, bundles[0], oci.MAX_MANIFEST_BYTES)
    found, files = oci.parse_bundle_manifest(encoded)
    own = next(file for file in files if file.path == oci.MANIFEST_FILE)
    inner = oci.Descriptor(oci.SETTING_LAYER, own.digest, own.size_bytes)
    manifest = oci.parse_seaway_manifest(_foreign_blob(directory, inner, oci.MAX_MANIFEST_BYTES))
    oci.check_files(manifest, {file.path: file for file in files})
    config = _foreign_blob(directory, found.config, oci.MAX_MANIFEST_BYTES)
    if oci.bundle_manifest(manifest, files, config) != encoded:
        # The digest of an opened bundle is computed from its files: so its manifest must have the one form there is.
        raise UserError("manifest_invalid", f"{path} holds a bundle that is not in Seaway's canonical form")
    contents: list[tuple[str, int, bytes | Path]] = []
    for descriptor in (found.config, *found.layers):
        blob = directory / descriptor.digest.removeprefix("sha256:")
        if not blob.is_file() or blob.is_symlink():
            raise UserError("blob_missing", f"{path} names {descriptor.digest}, which is not there")
        blobs.check_file(blob, descriptor.digest, descriptor.size, str(path))
        contents.append((descriptor.digest, descriptor.size, blob))
    return encoded, contents


def _read(path: Path, limit: int) -> bytes:
    try:
        if path.stat().st_size > limit:
            raise UserError(
                "too_large", f"{path.name} has {path.stat().st_size:,} bytes; {limit:,} are allowed"
            )
        return path.read_bytes()
    except OSError as error:
        raise UserError("manifest_invalid", f"{path} cannot be read: {error.strerror}") from error


def _foreign_blob(directory: Path, descriptor: oci.Descriptor, limit: int) -> bytes:
    path = directory / descriptor.digest.removeprefix("sha256:")
    if not path.is_file() or path.is_symlink():
        raise UserError("blob_missing", f"{descriptor.digest} is named, but not there")
    data = _read(path, limit)
    if oci.sha256(data) != descriptor.digest or len(data) != descriptor.size:
        raise UserError("digest_invalid", f"the bytes of {descriptor.digest} are others, or of another size")
    return data
