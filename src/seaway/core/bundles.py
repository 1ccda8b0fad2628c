"""The Bundle: what decides a version's predictions and how they are judged; and how versions are named."""

from __future__ import annotations

import enum
import re
from typing import NewType

import msgspec

from seaway.core.errors import UserError
from seaway.core.steps import Steps
from seaway.core.tensors import Signature

Digest = NewType("Digest", str)
"""`sha256:` and 64 lower-case hexadecimal digits."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_NUMBER = re.compile(r"v([1-9][0-9]{0,8})\Z")


def parse_name(text: str) -> str:
    """A valid name of a model or an endpoint, or `UserError("invalid_name")`."""
    if not _NAME.match(text):
        raise UserError(
            "invalid_name", f"{text!r} is not a name", "lower-case letters, digits and hyphens, at most 63"
        )
    return text


def parse_digest(text: str) -> Digest:
    """A valid digest, or `UserError("digest_invalid")`."""
    if not _DIGEST.match(text):
        raise UserError(
            "digest_invalid", f"{text[:80]!r} is not a digest", "sha256: and 64 lower-case hexadecimal digits"
        )
    return Digest(text)


class ModelRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`NAME:vN` or `NAME@sha256:…`: exactly one of `number` and `digest` is set."""

    name: str
    number: int | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """Raises `UserError("invalid_reference")`."""
        if "@" in text:
            name, _, digest = text.partition("@")
            return cls(name=parse_name(name), digest=parse_digest(digest))
        name, colon, tag = text.partition(":")
        match = _NUMBER.match(tag)
        if not colon or match is None:
            raise UserError(
                "invalid_reference", f"{text!r} is not a version", "write NAME:v3 or NAME@sha256:…"
            )
        return cls(name=parse_name(name), number=int(match.group(1)))

    def __str__(self) -> str:
        return f"{self.name}:v{self.number}" if self.number is not None else f"{self.name}@{self.digest}"


class Task(enum.StrEnum):
    """What the golden metrics measure."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"
    OTHER = "other"


class BundleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a bundle: its path inside the bundle, its bytes' digest and size."""

    path: str
    digest: Digest
    size_bytes: int


class Tolerance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far an answer may be from the source's: |a-b| <= absolute + relative*|b|; labels must agree in this share."""

    absolute: float = 1e-5
    relative: float = 1e-4
    label_agreement: float = 1.0


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the weights came from: `kind` is the source format, `versions` the libraries that made and converted it."""

    kind: str
    description: str = ""
    versions: dict[str, str] = {}


class Lineage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the model was made of. Keys `data`, `data_digest`, `code` and free ones; `parameters`, `metrics` as given."""

    data: str | None = None
    data_digest: str | None = None
    code: str | None = None
    parameters: dict[str, str] = {}
    metrics: dict[str, float] = {}
    extra: dict[str, str] = {}


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The golden set: a JSON-lines file inside the bundle, the column that holds the truth, and the rows in it."""

    path: str
    target: str
    rows: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`seaway.json` of a bundle. With the files it names it decides predictions and how they are judged.

    `steps` is set where the format is `onnx-steps`. Left out of the bytes where it is not, as is all that came after
    the first version of this file, so that the same input keeps giving the same bytes.
    """

    name: str
    task: Task
    entry: str
    signature: Signature
    source: Source
    files: tuple[BundleFile, ...]
    classes: tuple[str | int, ...] = ()
    tolerance: Tolerance = Tolerance()
    lineage: Lineage = Lineage()
    requirements: tuple[str, ...] = ()
    golden: Golden | None = None
    sample: str | None = None
    profile: str | None = None
    environment: str | None = None
    format: str = "onnx"
    manifest_version: int = 1
    steps: Steps | msgspec.UnsetType = msgspec.UNSET


class Version(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An immutable member of a model: `digest` is that of its OCI manifest. `created_at` is UTC, ISO 8601."""

    name: str
    number: int
    digest: Digest
    size_bytes: int
    created_at: str

    @property
    def ref(self) -> ModelRef:
        return ModelRef(name=self.name, number=self.number)


class OpenedBundle(msgspec.Struct, frozen=True):
    """A verified bundle on disk: `directory` holds the manifest's files by their paths."""

    digest: Digest
    manifest: Manifest
    directory: str
    ref: str
    size_bytes: int
