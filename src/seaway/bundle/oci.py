"""A bundle as an OCI artefact with CNCF ModelPack media types: its manifest's bytes, and how strange ones are refused.

Called by `bundle.store`. Sources: OCI image-spec 1.1 (manifest, index, layout) and the CNCF ModelPack
model-format specification (config and layer media types, `org.cncf.model.filepath`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final, TypeVar

import msgspec

from seaway.core.bundles import BundleFile, Digest, Manifest, parse_digest
from seaway.core.errors import UserError

MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"
EMPTY: Final = b"{}"
MODEL_TYPE: Final = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE: Final = "application/vnd.cncf.model.config.v1+json"
ATTACHMENT_TYPE: Final = "application/vnd.seaway.attachment.v1"

WEIGHT_LAYER: Final = "application/vnd.cncf.model.weight.v1.raw"
SETTING_LAYER: Final = "application/vnd.cncf.model.weight.config.v1.raw"
DOC_LAYER: Final = "application/vnd.cncf.model.doc.v1.raw"
CODE_LAYER: Final = "application/vnd.cncf.model.code.v1.raw"
DATASET_LAYER: Final = "application/vnd.cncf.model.dataset.v1.raw"
_T = TypeVar("_T")
_LAYERS: Final = frozenset({WEIGHT_LAYER, SETTING_LAYER, DOC_LAYER, CODE_LAYER, DATASET_LAYER})

FILEPATH: Final = "org.cncf.model.filepath"
REF_NAME: Final = "org.opencontainers.image.ref.name"
CREATED: Final = "org.opencontainers.image.created"
KIND: Final = "io.seaway.attachment.kind"
SUBJECT: Final = "io.seaway.attachment.subject"

MANIFEST_FILE: Final = "seaway.json"
MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024
MAX_INDEX_BYTES: Final = 64 * 1024 * 1024
MAX_LAYERS: Final = 4096


class Descriptor(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """An OCI content descriptor. Other systems' extra fields are let through, since they may annotate what is ours."""

    media_type: str
    digest: str
    size: int
    artifact_type: str | None = None
    annotations: dict[str, str] = {}


class OciManifest(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """An OCI image manifest: of a bundle, or of an attachment (which has a `subject`)."""

    schema_version: int
    media_type: str
    artifact_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}


class Index(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """`index.json` of one model: versions carry a ref name, attachments do not."""

    schema_version: int
    media_type: str = INDEX_TYPE
    manifests: tuple[Descriptor, ...] = ()


def sha256(data: bytes) -> Digest:
    """The digest of some bytes."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def canonical(value: object) -> bytes:
    """JSON with sorted keys and no white space: equal values give equal bytes."""
    return msgspec.json.encode(value, order="sorted")


def safe_path(text: str) -> str:
    """A path that stays inside a bundle, or `UserError("unsafe_path")`."""
    path = PurePosixPath(text)
    plain = text and "\\" not in text and "\0" not in text and str(path) == text
    if not plain or path.is_absolute() or any(part in ("..", ".") for part in path.parts) or ":" in text:
        raise UserError("unsafe_path", f"the path {text[:200]!r} leads outside the bundle, or is not plain")
    return text


def layer_type(path: str, manifest: Manifest) -> str:
    """The ModelPack media type of one file of a bundle."""
    if path in (MANIFEST_FILE, manifest.profile):
        return SETTING_LAYER
    if path == manifest.environment:
        return CODE_LAYER
    if path == manifest.sample or (manifest.golden is not None and path == manifest.golden.path):
        return DATASET_LAYER
    return DOC_LAYER if path.endswith(".md") else WEIGHT_LAYER


def model_config(manifest: Manifest, files: tuple[BundleFile, ...]) -> bytes:
    """The ModelPack config: `descriptor`, `config` and the digests of the raw layers in order."""
    return canonical(
        {
            "descriptor": {"name": manifest.name, "title": manifest.name},
            "config": {"format": manifest.format, "architecture": manifest.source.kind},
            "modelfs": {"type": "layers", "diffIds": [file.digest for file in files]},
        }
    )


def bundle_manifest(manifest: Manifest, files: tuple[BundleFile, ...], config: bytes) -> bytes:
    """The OCI manifest of a bundle, one raw layer per file; its digest is the bundle's digest."""
    layers = tuple(
        Descriptor(layer_type(f.path, manifest), f.digest, f.size_bytes, annotations={FILEPATH: f.path})
        for f in files
    )
    return canonical(
        OciManifest(
            schema_version=2,
            media_type=MANIFEST_TYPE,
            artifact_type=MODEL_TYPE,
            config=Descriptor(CONFIG_TYPE, sha256(config), len(config)),
            layers=layers,
        )
    )


def attachment_manifest(subject: Descriptor, kind: str, media_type: str, data: bytes) -> bytes:
    """The OCI manifest of one artefact that refers to a bundle by `subject`."""
    return canonical(
        OciManifest(
            schema_version=2,
            media_type=MANIFEST_TYPE,
            artifact_type=ATTACHMENT_TYPE,
            config=Descriptor(EMPTY_TYPE, sha256(EMPTY), len(EMPTY)),
            layers=(Descriptor(media_type, sha256(data), len(data)),),
            subject=Descriptor(subject.media_type, subject.digest, subject.size),
            annotations={KIND: kind},
        )
    )


def parse_manifest(data: bytes) -> OciManifest:
    """An OCI manifest from untrusted bytes. Raises `UserError` (`too_large`, `manifest_invalid`, `digest_invalid`)."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise UserError(
            "too_large", f"the manifest has {len(data):,} bytes; {MAX_MANIFEST_BYTES:,} are allowed"
        )
    found = _decode(data, OciManifest, "the manifest")
    if found.schema_version != 2 or found.media_type != MANIFEST_TYPE:
        raise UserError("manifest_invalid", f"the manifest is of type {found.media_type[:100]!r}")
    if len(found.layers) > MAX_LAYERS:
        raise UserError(
            "too_large", f"the manifest has {len(found.layers):,} layers; {MAX_LAYERS:,} are allowed"
        )
    for descriptor in (found.config, *found.layers):
        _check(descriptor)
    return found


def parse_bundle_manifest(data: bytes) -> tuple[OciManifest, tuple[BundleFile, ...]]:
    """The OCI manifest of a bundle and the files that it lays out, from untrusted bytes."""
    found = parse_manifest(data)
    if found.artifact_type != MODEL_TYPE or found.config.media_type != CONFIG_TYPE:
        raise UserError("manifest_invalid", "the manifest is not that of a model artefact")
    files: dict[str, BundleFile] = {}
    for layer in found.layers:
        if layer.media_type not in _LAYERS:
            raise UserError("manifest_invalid", f"a layer is of type {layer.media_type[:100]!r}")
        path = safe_path(layer.annotations.get(FILEPATH, ""))
        if path in files:
            raise UserError("manifest_invalid", f"two layers are the file {path[:200]!r}")
        files[path] = BundleFile(path, Digest(layer.digest), layer.size)
    if any(str(parent) in files for path in files for parent in PurePosixPath(path).parents):
        raise UserError("manifest_invalid", "one layer's file is another's directory")
    if MANIFEST_FILE not in files:
        raise UserError("manifest_invalid", f"the artefact has no {MANIFEST_FILE}")
    return found, tuple(files.values())


def parse_index(data: bytes) -> Index:
    """`index.json` from untrusted bytes. Raises `UserError` (`too_large`, `manifest_invalid`, `digest_invalid`)."""
    if len(data) > MAX_INDEX_BYTES:
        raise UserError("too_large", f"index.json has {len(data):,} bytes")
    found = _decode(data, Index, "index.json")
    for descriptor in found.manifests:
        if descriptor.media_type != MANIFEST_TYPE:
            raise UserError("manifest_invalid", f"index.json names a {descriptor.media_type[:100]!r}")
        _check(descriptor)
    return found


def parse_seaway_manifest(data: bytes) -> Manifest:
    """`seaway.json` from untrusted bytes. Raises `UserError` (`too_large`, `manifest_invalid`)."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise UserError("too_large", f"{MANIFEST_FILE} has {len(data):,} bytes")
    found = _decode(data, Manifest, MANIFEST_FILE)
    if found.manifest_version != 1:
        raise UserError(
            "manifest_invalid",
            f"{MANIFEST_FILE} is of version {found.manifest_version}",
            "this Seaway reads version 1: upgrade Seaway",
        )
    for file in found.files:
        safe_path(file.path)
        parse_digest(file.digest)
    if found.entry not in {file.path for file in found.files}:
        raise UserError(
            "manifest_invalid", f"{MANIFEST_FILE} names {found.entry[:200]!r}, which it does not list"
        )
    return found


def check_files(manifest: Manifest, files: Mapping[str, BundleFile]) -> None:
    """Refuse an artefact whose layers are not exactly `seaway.json` and the files that it lists."""
    listed = {file.path: file for file in manifest.files}
    actual = {path: file for path, file in files.items() if path != MANIFEST_FILE}
    if listed != actual:
        strange = sorted({*listed.items()} ^ {*actual.items()}, key=lambda item: item[0])
        raise UserError("manifest_invalid", f"the layers and {MANIFEST_FILE} differ in {strange[0][0]!r}")


def _check(descriptor: Descriptor) -> None:
    parse_digest(descriptor.digest)
    if descriptor.size < 0:
        raise UserError("manifest_invalid", f"{descriptor.digest} has the size {descriptor.size}")


def _decode(data: bytes, kind: type[_T], what: str) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError("manifest_invalid", f"{what} cannot be read: {error}") from error
