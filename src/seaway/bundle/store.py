"""BundleStore on disk: one OCI image layout per model; its index is the only registry of versions.

Written by `bundle.build` and the gate, read by everything that needs a bundle. A change is blobs first (by
content, fsynced), then the index (temporary file, fsync, rename): killed anywhere, the store holds the old
state or the new one.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from seaway.bundle import blobs, oci
from seaway.bundle.layouts import Artefact
from seaway.core.bundles import BundleFile, Digest, Manifest, ModelRef, OpenedBundle, Version, parse_name
from seaway.core.errors import PermanentError, SeawayError, UserError
from seaway.core.ports import Clock

_LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'


class Attachment(msgspec.Struct, frozen=True):
    """An artefact kept beside a version: a gate report, a parity report, a page."""

    kind: str
    media_type: str
    data: bytes
    created_at: str = ""


class Problem(msgspec.Struct, frozen=True):
    """One thing that `verify` found wrong. `code` is a key of `core.errors.CODES`."""

    ref: str
    code: str
    message: str


class BundleStore:
    """Versions of models under `models`; bundles laid out as files, by digest, under `opened`.

    Every method blocks; all are safe to call from several threads and processes at once.
    """

    def __init__(self, models: Path, opened: Path, clock: Clock) -> None:
        self._models = models
        self._opened = opened
        self._clock = clock

    def models(self) -> list[str]:
        """The names of all models that have a version, sorted.

        A model whose index is damaged is among them: `versions` raises what is wrong with it, `verify` reports it.
        """
        found = []
        for path in self._models.glob("*/index.json"):
            try:
                there = bool(self.versions(path.parent.name))
            except PermanentError:
                there = True
            except UserError:  # a directory that somebody put there: its name is no model's
                there = False
            if there:
                found.append(path.parent.name)
        return sorted(found)

    def versions(self, name: str) -> list[Version]:
        """All versions of a model, oldest first. Raises `UserError("model_not_found")`."""
        found = self._index(name)
        return sorted((self._version(name, d) for d in found.manifests if _number(d)), key=lambda v: v.number)

    def resolve(self, ref: ModelRef) -> Version:
        """Raises `UserError` (`model_not_found`, `version_not_found`)."""
        versions = self.versions(ref.name)
        for version in versions:
            if ref.number == version.number or ref.digest == version.digest:
                return version
        known = ", ".join(f"v{v.number}" for v in versions[-10:])
        raise UserError("version_not_found", f"{ref} does not exist", f"{ref.name} has: {known}")

    def manifest(self, version: Version) -> Manifest:
        """`seaway.json` of a version, its digest checked."""
        _, files = self._oci_manifest(version)
        return self._seaway_manifest(version, files)

    def open(self, version: Version) -> OpenedBundle:
        """The version's files in a directory of their own; every byte is checked against its digest each time.

        Raises `PermanentError("digest_mismatch")` where the store is damaged. Idempotent.
        """
        found, files = self._oci_manifest(version)
        manifest = self._seaway_manifest(version, files)
        for descriptor in (found.config, *found.layers):
            blobs.check_file(
                self._blob(version.name, descriptor.digest),
                descriptor.digest,
                descriptor.size,
                str(version.ref),
            )
        opened = OpenedBundle(
            digest=version.digest,
            manifest=manifest,
            directory=str(self._opened / version.digest.removeprefix("sha256:")),
            ref=str(version.ref),
            size_bytes=version.size_bytes,
        )
        with blobs.disk_errors(self._opened):
            self._materialise(version, files, Path(opened.directory))
        return opened

    def add(
        self,
        files: Mapping[str, bytes | Path],
        manifest: Manifest,
        attachments: Sequence[Attachment] = (),
    ) -> tuple[Version, bool]:
        """Store a bundle as the model's next version, or find the version that has these very bytes.

        `files` are the manifest's files, as bytes or where they lie now. The second value says whether a
        version was created. Nothing is left behind where it fails. Raises `TemporaryError("disk_full")`.
        """
        parts: dict[str, bytes | Path] = {oci.MANIFEST_FILE: oci.canonical(manifest), **files}
        listed = (_describe(oci.MANIFEST_FILE, parts[oci.MANIFEST_FILE]), *manifest.files)
        oci.check_files(manifest, {path: _describe(path, part) for path, part in parts.items()})
        config = oci.model_config(manifest, listed)
        encoded = oci.bundle_manifest(manifest, listed, config)
        contents: list[tuple[str, int, bytes | Path]] = [
            *((file.digest, file.size_bytes, parts[file.path]) for file in listed),
            (oci.sha256(config), len(config), config),
        ]
        return self._publish(parse_name(manifest.name), encoded, contents, attachments)

    def take(self, artefact: Artefact, name: str) -> tuple[Version, bool]:
        """Store a bundle that was made elsewhere as a version of `name`, byte for byte; see `add` for what it returns.

        Raises `PermanentError("digest_mismatch")` where a file changed since it was read, `TemporaryError("disk_full")`.
        """
        return self._publish(parse_name(name), artefact.encoded, artefact.contents, ())

    def attach(self, version: Version, kind: str, media_type: str, data: bytes) -> None:
        """Keep an artefact beside a version; it does not change the version's digest. Idempotent for equal data."""
        home = self._models / version.name
        with blobs.disk_errors(home), blobs.exclusive(home / ".lock"), _undo() as made:
            self._clean(home)
            index = self._index(version.name)
            head = next((d for d in index.manifests if d.digest == version.digest), None)
            if head is None:
                raise UserError("version_not_found", f"{version.ref} does not exist")
            attached = self._attach(home, head, Attachment(kind, media_type, data), made)
            if attached.digest not in {d.digest for d in index.manifests}:
                self._write_index(home, (*index.manifests, attached), made)

    def attachments(self, version: Version, kind: str) -> list[Attachment]:
        """The artefacts of one kind beside a version, oldest first, their bytes checked."""
        found: list[Attachment] = []
        for head in self._index(version.name).manifests:
            if head.annotations.get(oci.SUBJECT) != version.digest or head.annotations.get(oci.KIND) != kind:
                continue
            layer = oci.parse_manifest(self._read_blob(version.name, head)).layers[0]
            data = self._read_blob(version.name, layer)
            found.append(Attachment(kind, layer.media_type, data, head.annotations.get(oci.CREATED, "")))
        return found

    def verify(self, version: Version | None = None) -> list[Problem]:
        """Read every byte of one version, or of all; what is wrong, with the version that it belongs to."""
        problems: list[Problem] = []
        for name in [version.name] if version else self.models():
            try:
                versions = [version] if version else self.versions(name)
                index = self._index(name)
            except SeawayError as error:
                problems.append(Problem(name, error.code, error.message))
                continue
            sound: set[tuple[str, int]] = set()
            for one in versions:
                problems.extend(self._problems(one, index, sound))
        return problems

    # --- reading ---

    def _problems(self, version: Version, index: oci.Index, sound: set[tuple[str, int]]) -> Iterator[Problem]:
        """What is wrong with one version; blobs in `sound`, which other versions share, are not read again."""
        try:
            found, files = self._oci_manifest(version)
            descriptors = [found.config, *found.layers]
            self._seaway_manifest(version, files)
        except SeawayError as error:
            yield Problem(str(version.ref), error.code, error.message)
            return
        for head in index.manifests:
            if head.annotations.get(oci.SUBJECT) == version.digest:
                try:
                    descriptors.extend(oci.parse_manifest(self._read_blob(version.name, head)).layers)
                except SeawayError as error:
                    yield Problem(str(version.ref), error.code, error.message)
        for descriptor in descriptors:
            if (descriptor.digest, descriptor.size) in sound:
                continue
            try:
                path = self._blob(version.name, descriptor.digest)
                blobs.check_file(path, descriptor.digest, descriptor.size, str(version.ref))
                sound.add((descriptor.digest, descriptor.size))
            except SeawayError as error:
                yield Problem(str(version.ref), error.code, error.message)

    def _index(self, name: str) -> oci.Index:
        path = self._models / parse_name(name) / "index.json"
        try:
            return oci.parse_index(path.read_bytes())
        except FileNotFoundError as error:
            raise UserError(
                "model_not_found", f"there is no model {name!r}", "`seaway models` lists them"
            ) from error
        except UserError as error:
            raise PermanentError(error.code, f"{path} is damaged: {error.message}") from error

    def _version(self, name: str, head: oci.Descriptor) -> Version:
        created = head.annotations.get(oci.CREATED, "")
        size = int(head.annotations.get("io.seaway.size", "0"))
        return Version(name, _number(head), Digest(head.digest), size, created)

    def _oci_manifest(self, version: Version) -> tuple[oci.OciManifest, tuple[BundleFile, ...]]:
        head = next((d for d in self._index(version.name).manifests if d.digest == version.digest), None)
        if head is None:
            raise UserError("version_not_found", f"{version.ref} does not exist")
        return oci.parse_bundle_manifest(self._read_blob(version.name, head))

    def _seaway_manifest(self, version: Version, files: Sequence[BundleFile]) -> Manifest:
        own = next(file for file in files if file.path == oci.MANIFEST_FILE)
        descriptor = oci.Descriptor(oci.SETTING_LAYER, own.digest, own.size_bytes)
        manifest = oci.parse_seaway_manifest(self._read_blob(version.name, descriptor))
        oci.check_files(manifest, {file.path: file for file in files})
        return manifest

    def _blob(self, name: str, digest: str) -> Path:
        return self._models / name / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def _read_blob(self, name: str, descriptor: oci.Descriptor) -> bytes:
        path = self._blob(name, descriptor.digest)
        blobs.check_file(path, descriptor.digest, descriptor.size, name)
        return path.read_bytes()

    # --- writing ---

    def _publish(
        self,
        name: str,
        encoded: bytes,
        contents: Sequence[tuple[str, int, bytes | Path]],
        attachments: Sequence[Attachment],
    ) -> tuple[Version, bool]:
        home = self._models / name
        digest = oci.sha256(encoded)
        with blobs.disk_errors(self._models):
            (home / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
            with blobs.exclusive(home / ".lock"), _undo() as made:
                self._clean(home)
                index = self._index(name) if (home / "index.json").exists() else oci.Index(2)
                for head in index.manifests:
                    if head.digest == digest and _number(head):
                        self._mend(home, (*contents, (digest, len(encoded), encoded)), made)
                        return self._version(name, head), False
                for wanted, size, part in (*contents, (digest, len(encoded), encoded)):
                    self._put(home, wanted, size, part, made)
                if not (home / "oci-layout").exists():
                    blobs.replace_file(home / "oci-layout", _LAYOUT)
                total = len(encoded) + sum(size for _, size, _ in contents)
                number = max((_number(d) for d in index.manifests), default=0) + 1
                notes = {oci.REF_NAME: f"v{number}", oci.CREATED: self._now(), "io.seaway.size": str(total)}
                head = oci.Descriptor(oci.MANIFEST_TYPE, digest, len(encoded), oci.MODEL_TYPE, notes)
                attached = tuple(self._attach(home, head, one, made) for one in attachments)
                self._write_index(home, (*index.manifests, head, *attached), made)
        return self._version(name, head), True

    def _attach(self, home: Path, head: oci.Descriptor, one: Attachment, made: list[Path]) -> oci.Descriptor:
        encoded = oci.attachment_manifest(head, one.kind, one.media_type, one.data)
        for data in (oci.EMPTY, one.data, encoded):
            self._put(home, oci.sha256(data), len(data), data, made)
        notes = {oci.KIND: one.kind, oci.SUBJECT: head.digest, oci.CREATED: self._now()}
        return oci.Descriptor(
            oci.MANIFEST_TYPE, oci.sha256(encoded), len(encoded), oci.ATTACHMENT_TYPE, notes
        )

    def _put(self, home: Path, digest: str, size: int, part: bytes | Path, made: list[Path]) -> None:
        directory = home / "blobs" / "sha256"
        with _reader(part) as source:
            if blobs.put_blob(directory, source, digest, size):
                made.append(directory / digest.removeprefix("sha256:"))

    def _mend(self, home: Path, contents: Sequence[tuple[str, int, bytes | Path]], made: list[Path]) -> None:
        """Put blobs back that are gone or damaged: whoever packages the same again has the right bytes at hand."""
        for digest, size, part in contents:
            blob = home / "blobs" / "sha256" / digest.removeprefix("sha256:")
            if not blob.is_file() or blobs.hash_file(blob) != (digest, size):
                blob.unlink(missing_ok=True)
                self._put(home, digest, size, part, made)

    def _write_index(self, home: Path, manifests: tuple[oci.Descriptor, ...], made: list[Path]) -> None:
        blobs.sync(home / "blobs" / "sha256")
        blobs.replace_file(home / "index.json", oci.canonical(oci.Index(2, manifests=manifests)))
        made.clear()  # from here on the index names them, so a failure to sync must not remove them
        blobs.sync(home)
        blobs.sync(home.parent)

    def _clean(self, home: Path) -> None:
        """Remove what a killed writer left; the lock is held, so no living one has temporary files."""
        for directory in (home, home / "blobs" / "sha256"):
            for path in directory.glob(f"{blobs.TEMPORARY}*"):
                path.unlink(missing_ok=True)

    def _materialise(self, version: Version, files: Sequence[BundleFile], directory: Path) -> None:
        self._opened.mkdir(parents=True, exist_ok=True)
        with blobs.exclusive(self._opened / ".lock"):
            for left in self._opened.glob(f"{blobs.TEMPORARY}*"):  # by a killed process; the lock is held
                shutil.rmtree(left)
            if directory.is_dir() and self._same(version, files, directory):
                return
            temporary = Path(tempfile.mkdtemp(prefix=blobs.TEMPORARY, dir=self._opened))
            try:
                for file in files:
                    target = temporary / file.path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _link(self._blob(version.name, file.digest), target)
                if directory.exists():
                    shutil.rmtree(directory)
                temporary.replace(directory)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

    def _same(self, version: Version, files: Sequence[BundleFile], directory: Path) -> bool:
        present = {str(p.relative_to(directory)) for p in directory.rglob("*") if not p.is_dir()}
        if present != {file.path for file in files}:
            return False
        for file in files:
            path = directory / file.path
            linked = path.samefile(self._blob(version.name, file.digest))  # then its bytes were just checked
            if path.is_symlink() or not (linked or blobs.hash_file(path) == (file.digest, file.size_bytes)):
                return False
        return True

    def _now(self) -> str:
        return datetime.datetime.fromtimestamp(self._clock.now_s(), tz=datetime.UTC).isoformat(
            timespec="milliseconds"
        )


def verify_opened(bundle: OpenedBundle) -> None:
    """Check every file of an opened bundle against its manifest, right before it is loaded.

    Raises `PermanentError("digest_mismatch")`.
    """
    for file in bundle.manifest.files:
        blobs.check_file(Path(bundle.directory) / file.path, file.digest, file.size_bytes, bundle.ref)


def _number(head: oci.Descriptor) -> int:
    tag = head.annotations.get(oci.REF_NAME, "")
    return int(tag[1:]) if tag[:1] == "v" and tag[1:].isascii() and tag[1:].isdigit() else 0


def _describe(path: str, part: bytes | Path) -> BundleFile:
    if isinstance(part, bytes):
        return BundleFile(path, oci.sha256(part), len(part))
    digest, size = blobs.hash_file(part)
    return BundleFile(path, digest, size)


def _reader(part: bytes | Path) -> BinaryIO:
    return io.BytesIO(part) if isinstance(part, bytes) else part.open("rb")


def _link(blob: Path, target: Path) -> None:
    try:
        os.link(blob, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(blob, target)


@contextlib.contextmanager
def _undo() -> Iterator[list[Path]]:
    """Collects the blobs that a change made, and removes them where it fails."""
    made: list[Path] = []
    try:
        yield made
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise
