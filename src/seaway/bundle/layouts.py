"""Foreign OCI image layouts and bundle directories, read without trust; called by `bundle.imports` and `bundle.sources`."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from seaway.bundle import blobs, oci
from seaway.core.bundles import BundleFile, Manifest
from seaway.core.errors import UserError

Contents: TypeAlias = list[tuple[str, int, "bytes | Path"]]
"""Blobs as (digest, size in bytes, the bytes or where they are)."""
_LAYOUT_FILE: Final = "oci-layout"


class Artefact(msgspec.Struct, frozen=True):
    """A bundle as bytes: its OCI manifest, all blobs, and where the manifest's files lie by their paths in the bundle."""

    manifest: Manifest
    encoded: bytes
    contents: Contents
    files: dict[str, Path]


def is_layout(path: Path) -> bool:
    """Whether a directory says that it is an OCI image layout."""
    return (path / _LAYOUT_FILE).is_file()


def is_directory(path: Path) -> bool:
    """Whether a directory is a bundle laid out as files."""
    return (path / oci.MANIFEST_FILE).is_file()


def read_directory(path: Path) -> Artefact:
    """A directory with `seaway.json` and the files that it lists, every byte checked; other files are left out.

    Raises `UserError` (`manifest_invalid`, `unsafe_path`, `blob_missing`, `too_large`) and
    `PermanentError("digest_mismatch")`.
    """
    own = _read(path / oci.MANIFEST_FILE, oci.MAX_MANIFEST_BYTES)
    manifest = oci.parse_seaway_manifest(own)
    listed = (BundleFile(oci.MANIFEST_FILE, oci.sha256(own), len(own)), *manifest.files)
    config = oci.model_config(manifest, listed)
    encoded = oci.bundle_manifest(manifest, listed, config)
    oci.parse_bundle_manifest(encoded)  # refuses what it would refuse of a stranger's artefact
    contents: Contents = [
        (oci.sha256(config), len(config), config),
        (listed[0].digest, listed[0].size_bytes, own),
    ]
    for file in manifest.files:
        found = path / file.path
        if not found.resolve().is_relative_to(path.resolve()):
            raise UserError("unsafe_path", f"{file.path!r} in {path} leads outside the bundle")
        if not found.is_file():
            raise UserError("blob_missing", f"{path} lists {file.path!r}, which is not there")
        blobs.check_file(found, file.digest, file.size_bytes, str(path))
        contents.append((file.digest, file.size_bytes, found))
    return Artefact(manifest, encoded, contents, {file.path: path / file.path for file in manifest.files})


def read_layout(path: Path) -> Artefact:
    """The only bundle in a layout, every byte checked.

    Raises `UserError` (`manifest_invalid`, `blob_missing`, `unsafe_path`, `too_large`, `digest_invalid`) and
    `PermanentError("digest_mismatch")`.
    """
    index = oci.parse_index(_read(path / "index.json", oci.MAX_INDEX_BYTES))
    bundles = [d for d in index.manifests if d.artifact_type in (None, oci.MODEL_TYPE)]
    if len(bundles) != 1:
        raise UserError(
            "manifest_invalid",
            f"{path} holds {len(bundles)} bundles, not one",
            f"copy the one you mean into a layout of its own: skopeo copy oci:{path}:v1 oci:ANOTHER:v1",
        )
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
    contents: Contents = []
    for descriptor in (found.config, *found.layers):
        blob = directory / descriptor.digest.removeprefix("sha256:")
        if not blob.is_file() or blob.is_symlink():
            raise UserError("blob_missing", f"{path} names {descriptor.digest}, which is not there")
        blobs.check_file(blob, descriptor.digest, descriptor.size, str(path))
        contents.append((descriptor.digest, descriptor.size, blob))
    return Artefact(
        manifest,
        encoded,
        contents,
        {file.path: directory / file.digest.removeprefix("sha256:") for file in manifest.files},
    )


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
