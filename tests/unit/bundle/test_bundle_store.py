"""The store keeps versions whose bytes never change, and says so when its own bytes have changed."""

from __future__ import annotations

import errno
import io
import json
import threading
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from seaway.bundle import blobs, layouts, oci, store
from seaway.bundle.store import BundleStore
from seaway.core.bundles import BundleFile, Manifest, ModelRef, Source, Task, Version, parse_digest
from seaway.core.errors import PermanentError, SeawayError, TemporaryError, UserError
from seaway.core.tensors import DType, Signature, TensorSpec
from seaway.testing.clock import VirtualClock

SIGNATURE = Signature((TensorSpec("x", DType.FP32, (-1, 3)),), (TensorSpec("y", DType.FP32, (-1, 1)),))


def bundle(data: bytes, name: str = "prices") -> tuple[dict[str, bytes | Path], Manifest]:
    files: dict[str, bytes | Path] = {"model.onnx": data, "README.md": b"# card\n"}
    listed = tuple(
        BundleFile(p, oci.sha256(d), len(d)) for p, d in sorted(files.items()) if isinstance(d, bytes)
    )
    return files, Manifest(name, Task.OTHER, "model.onnx", SIGNATURE, Source("onnx"), listed)


def add(bundle_store: BundleStore, data: bytes = b"weights", name: str = "prices") -> Version:
    return bundle_store.add(*bundle(data, name))[0]


def blob_of(tmp_path: Path, version: Version, data: bytes) -> Path:
    return tmp_path / "home" / "models" / version.name / "blobs" / "sha256" / oci.sha256(data)[7:]


def test_versions_are_numbered_and_the_same_bytes_are_the_same_version(bundle_store: BundleStore) -> None:
    first, created = bundle_store.add(*bundle(b"one"))
    again, created_again = bundle_store.add(*bundle(b"one"))
    second = add(bundle_store, b"two")
    assert (created, created_again) == (True, False)
    assert first == again
    assert [v.number for v in bundle_store.versions("prices")] == [1, 2]
    assert bundle_store.models() == ["prices"]
    assert bundle_store.resolve(ModelRef.parse("prices:v2")) == second
    assert bundle_store.resolve(ModelRef.parse(f"prices@{first.digest}")) == first


def test_the_layout_is_oci_with_modelpack_types(bundle_store: BundleStore, tmp_path: Path) -> None:
    version = add(bundle_store)
    home = tmp_path / "home" / "models" / "prices"
    assert json.loads((home / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    head = json.loads((home / "index.json").read_bytes())["manifests"][0]
    assert head["digest"] == version.digest
    assert head["annotations"]["org.opencontainers.image.ref.name"] == "v1"
    found = json.loads((home / "blobs" / "sha256" / version.digest[7:]).read_bytes())
    assert found["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert found["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    layers = {
        layer["annotations"]["org.cncf.model.filepath"]: layer["mediaType"] for layer in found["layers"]
    }
    assert layers == {
        "seaway.json": "application/vnd.cncf.model.weight.config.v1.raw",
        "README.md": "application/vnd.cncf.model.doc.v1.raw",
        "model.onnx": "application/vnd.cncf.model.weight.v1.raw",
    }
    config = json.loads((home / "blobs" / "sha256" / found["config"]["digest"][7:]).read_bytes())
    assert config["modelfs"]["diffIds"] == [layer["digest"] for layer in found["layers"]]


def test_open_lays_the_files_out_and_verifies_them(bundle_store: BundleStore) -> None:
    opened = bundle_store.open(add(bundle_store))
    assert (Path(opened.directory) / "model.onnx").read_bytes() == b"weights"
    store.verify_opened(opened)
    assert bundle_store.open(bundle_store.resolve(ModelRef.parse("prices:v1"))) == opened


def test_open_repairs_its_own_directory(bundle_store: BundleStore) -> None:
    version = add(bundle_store)
    directory = Path(bundle_store.open(version).directory)
    (directory / "model.onnx").unlink()
    (directory / "model.onnx").write_bytes(b"other")
    (directory / "strange").write_bytes(b"")
    store.verify_opened(bundle_store.open(version))
    assert not (directory / "strange").exists()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(data))


def truncate(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink])
def test_p21_damaged_blobs_are_refused_and_reported(
    bundle_store: BundleStore, tmp_path: Path, damage: object
) -> None:
    version = add(bundle_store)
    assert callable(damage)
    damage(blob_of(tmp_path, version, b"weights"))
    with pytest.raises(PermanentError) as caught:
        bundle_store.open(version)
    assert caught.value.code == "digest_mismatch"
    assert [(p.ref, p.code) for p in bundle_store.verify()] == [("prices:v1", "digest_mismatch")]


def test_p21_a_changed_opened_file_is_refused_right_before_loading(bundle_store: BundleStore) -> None:
    opened = bundle_store.open(add(bundle_store))
    path = Path(opened.directory) / "model.onnx"
    path.unlink()
    path.write_bytes(b"Weights")
    with pytest.raises(PermanentError, match="expected sha256:"):
        store.verify_opened(opened)


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink])
def test_p21_packaging_the_same_again_mends_a_damaged_version(
    damage: Callable[[Path], None], bundle_store: BundleStore, tmp_path: Path
) -> None:
    version = add(bundle_store)
    bundle_store.open(version)
    damage(blob_of(tmp_path, version, b"weights"))
    assert [problem.ref for problem in bundle_store.verify(version)] == [str(version.ref)]
    assert add(bundle_store) == version
    assert bundle_store.verify() == []
    assert (Path(bundle_store.open(version).directory) / "model.onnx").read_bytes() == b"weights"


def test_packaging_again_repairs_a_damaged_blob_of_another_version(
    bundle_store: BundleStore, tmp_path: Path
) -> None:
    version = add(bundle_store, b"one")
    flip(blob_of(tmp_path, version, b"# card\n"))
    add(bundle_store, b"two")
    assert bundle_store.verify() == []


@pytest.mark.parametrize(
    "text",
    [
        "sha256:ABC",
        "sha256:" + "A" * 64,
        "sha256:" + "a" * 63,
        "sha512:" + "a" * 64,
        "md5:1",
        "../../etc",
        "",
    ],
)
def test_p16_other_digests_are_invalid(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_digest(text)
    assert caught.value.code == "digest_invalid"


def test_p16_bytes_that_are_not_the_announced_ones_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(PermanentError) as caught:
        blobs.put_blob(tmp_path, io.BytesIO(b"other"), oci.sha256(b"weights"), 7)
    assert caught.value.code == "digest_mismatch"
    assert list(tmp_path.iterdir()) == []


def rewrite(tmp_path: Path, version: Version, change: dict[str, object]) -> Path:
    """A foreign layout: a copy of the version's, whose manifest was changed."""
    layout = tmp_path / "foreign"
    directory = layout / "blobs" / "sha256"
    directory.mkdir(parents=True)
    source = tmp_path / "home" / "models" / version.name / "blobs" / "sha256"
    for path in source.iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((source / version.digest[7:]).read_bytes()) | change
    encoded = json.dumps(manifest).encode()
    (directory / oci.sha256(encoded)[7:]).write_bytes(encoded)
    head = {"mediaType": oci.MANIFEST_TYPE, "digest": oci.sha256(encoded), "size": len(encoded)}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [head]}))
    return layout


LAYER = {"mediaType": oci.WEIGHT_LAYER, "digest": "sha256:" + "0" * 64, "size": 1}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"layers": [{**LAYER, "annotations": {oci.FILEPATH: "seaway.json"}}]}, "blob_missing"),
        (
            {"layers": [{**LAYER, "mediaType": "text/x", "annotations": {oci.FILEPATH: "seaway.json"}}]},
            "manifest_invalid",
        ),
        ({"layers": [{**LAYER, "annotations": {oci.FILEPATH: "../seaway.json"}}]}, "unsafe_path"),
        ({"layers": [{**LAYER, "annotations": {oci.FILEPATH: "/seaway.json"}}]}, "unsafe_path"),
        ({"layers": [{**LAYER, "digest": "sha256:ABC"}]}, "digest_invalid"),
        ({"layers": []}, "manifest_invalid"),
        ({"layers": [LAYER] * 100_000}, "too_large"),
        ({"annotations": {"a": "x" * 10_000_000}}, "too_large"),
        ({"mediaType": "application/vnd.oci.image.index.v1+json"}, "manifest_invalid"),
        ({"artifactType": "application/x"}, "manifest_invalid"),
        ({"schemaVersion": "2"}, "manifest_invalid"),
    ],
)
def test_p17_strange_manifests_are_refused(
    bundle_store: BundleStore, tmp_path: Path, change: dict[str, object], code: str
) -> None:
    layout = rewrite(tmp_path, add(bundle_store), change)
    with pytest.raises(SeawayError) as caught:
        bundle_store.take(layouts.read_layout(layout), "copy")
    assert caught.value.code == code
    assert bundle_store.models() == ["prices"]


def test_p17_a_wrong_size_is_refused(bundle_store: BundleStore, tmp_path: Path) -> None:
    version = add(bundle_store)
    layout = rewrite(tmp_path, version, {})
    found = json.loads((layout / "index.json").read_bytes())
    found["manifests"][0]["size"] += 1
    (layout / "index.json").write_text(json.dumps(found))
    with pytest.raises(UserError) as caught:
        bundle_store.take(layouts.read_layout(layout), "copy")
    assert caught.value.code == "digest_invalid"


def test_p17_an_index_of_indexes_is_refused(bundle_store: BundleStore, tmp_path: Path) -> None:
    layout = rewrite(tmp_path, add(bundle_store), {})
    found = json.loads((layout / "index.json").read_bytes())
    found["manifests"][0]["mediaType"] = oci.INDEX_TYPE
    (layout / "index.json").write_text(json.dumps(found))
    with pytest.raises(UserError) as caught:
        bundle_store.take(layouts.read_layout(layout), "copy")
    assert caught.value.code == "manifest_invalid"


def test_p19_other_bytes_never_become_a_version_that_is_there(
    bundle_store: BundleStore, tmp_path: Path
) -> None:
    first = add(bundle_store, b"one")
    second = add(bundle_store, b"two")
    assert (second.number, second.digest != first.digest) == (2, True)
    assert bundle_store.versions("prices")[0] == first
    assert blob_of(tmp_path, first, b"one").read_bytes() == b"one"


def test_a_damaged_index_hides_no_other_model(bundle_store: BundleStore, tmp_path: Path) -> None:
    add(bundle_store, name="apples")
    add(bundle_store)
    (tmp_path / "home" / "models" / "apples" / "index.json").write_text("{")
    (tmp_path / "home" / "models" / "Not a name").mkdir()
    (tmp_path / "home" / "models" / "Not a name" / "index.json").write_text("{")
    assert bundle_store.models() == ["apples", "prices"]
    assert [(p.ref, p.code) for p in bundle_store.verify()] == [("apples", "manifest_invalid")]


def test_verify_reads_a_shared_blob_once(bundle_store: BundleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    add(bundle_store, b"one")
    add(bundle_store, b"two")
    read: list[str] = []
    original = blobs.check_file

    def check(path: Path, digest: str, size: int, what: str) -> None:
        read.append(digest)
        original(path, digest, size, what)

    monkeypatch.setattr(blobs, "check_file", check)
    assert bundle_store.verify() == []
    assert read.count(oci.sha256(b"# card\n")) == 1


def test_a_layout_is_imported_byte_for_byte(bundle_store: BundleStore, tmp_path: Path) -> None:
    version = add(bundle_store)
    other = BundleStore(tmp_path / "b" / "models", tmp_path / "b" / "opened", VirtualClock())
    copied, created = other.take(layouts.read_layout(tmp_path / "home" / "models" / "prices"), "prices")
    assert (copied.digest, created) == (version.digest, True)
    assert other.verify() == []


def test_p19_concurrent_adders_get_numbers_of_their_own(bundle_store: BundleStore) -> None:
    start = threading.Barrier(8)
    added: list[Version] = []

    def work(number: int) -> None:
        start.wait()
        added.append(add(bundle_store, b"weights %d" % (number // 2)))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(v.number for v in bundle_store.versions("prices")) == [1, 2, 3, 4]
    assert len({(v.number, v.digest) for v in added}) == 4
    assert bundle_store.verify() == []


class FullDisk(io.BytesIO):
    """A source whose bytes no longer fit."""

    def read(self, size: int | None = -1) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_l06_a_full_disk_is_named_and_nothing_is_left(
    bundle_store: BundleStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = add(bundle_store, b"one")
    directory = tmp_path / "home" / "models" / "prices" / "blobs" / "sha256"
    before = sorted(p.name for p in directory.iterdir())
    files, manifest = bundle(b"two")
    original = blobs.put_blob
    fails = oci.sha256(b"two")

    def put(target: Path, source: io.BytesIO, digest: str, size: int) -> bool:
        return original(target, FullDisk() if digest == fails else source, digest, size)

    monkeypatch.setattr(blobs, "put_blob", put)
    with pytest.raises(TemporaryError) as caught:
        bundle_store.add(files, manifest)
    assert caught.value.code == "disk_full"
    assert sorted(p.name for p in directory.iterdir()) == before
    assert bundle_store.versions("prices") == [version]


def test_p20_what_a_killed_writer_left_is_cleaned_by_the_next(
    bundle_store: BundleStore, tmp_path: Path
) -> None:
    add(bundle_store, b"one")
    left = tmp_path / "home" / "models" / "prices" / "blobs" / "sha256" / f"{blobs.TEMPORARY}half.1"
    left.write_bytes(b"half")
    assert bundle_store.verify() == []
    add(bundle_store, b"two")
    assert not left.exists()


def test_attachments_refer_to_a_version_and_leave_its_digest(bundle_store: BundleStore) -> None:
    version = add(bundle_store)
    bundle_store.attach(version, "gate", "application/json", b'{"a":1}')
    bundle_store.attach(version, "gate", "application/json", b'{"a":1}')
    bundle_store.attach(version, "gate", "application/json", b'{"a":2}')
    bundle_store.attach(version, "page", "text/html", b"<p>")
    assert [a.data for a in bundle_store.attachments(version, "gate")] == [b'{"a":1}', b'{"a":2}']
    assert bundle_store.versions("prices") == [version]
    assert bundle_store.verify() == []


def test_what_is_not_there_is_said(bundle_store: BundleStore, linear: onnx.ModelProto) -> None:
    with pytest.raises(UserError) as caught:
        bundle_store.versions("nothing")
    assert caught.value.code == "model_not_found"
    add(bundle_store)
    with pytest.raises(UserError) as caught:
        bundle_store.resolve(ModelRef.parse("prices:v9"))
    assert (caught.value.code, caught.value.hint) == ("version_not_found", "prices has: v1")


def test_a_manifest_that_differs_from_the_files_is_not_stored(bundle_store: BundleStore) -> None:
    files, manifest = bundle(b"one")
    with pytest.raises(UserError) as caught:
        bundle_store.add({**files, "model.onnx": b"two"}, manifest)
    assert caught.value.code == "manifest_invalid"
    assert bundle_store.models() == []
