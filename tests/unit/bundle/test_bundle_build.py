"""ONNX sources through the use case, bundles without a store, and what two versions differ in."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto

from seaway.adapters.runtimes.onnxruntime import OnnxRuntime
from seaway.bundle import asking, frames, imports, oci
from seaway.bundle.build import Package, Tools, package
from seaway.bundle.datafiles import DataFile
from seaway.bundle.difference import difference
from seaway.bundle.environment import canonical_lock, hashed_requirements, pinned_closure
from seaway.bundle.lineage import parse_lineage, split_pair
from seaway.bundle.sources import open_source
from seaway.bundle.store import BundleStore
from seaway.core.bundles import BundleFile, Task
from seaway.core.errors import PermanentError, SeawayError, UserError
from seaway.core.profiles import ReferenceProfile
from seaway.core.tensors import Meaning
from seaway.testing import tiny_models
from seaway.testing.clock import VirtualClock

SAMPLE = frames.table_from({"a": [1.0, 2.0, 0.5], "b": [1.0, 0.0, 0.5], "c": [1.0, 1.0, 1.0]})


@pytest.fixture
def tools(bundle_store: BundleStore) -> Tools:
    return Tools(bundle_store, OnnxRuntime())


def with_external_data(model: onnx.ModelProto, directory: Path) -> Path:
    tensor = model.graph.initializer[0]
    (directory / "weights").mkdir()
    (directory / "weights" / "w.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights/w.bin")
    path = directory / "external.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_an_onnx_file_is_packaged_with_its_sample_and_profile(tools: Tools, linear_path: Path) -> None:
    result = package(Package(linear_path, "linear", sample=SAMPLE), tools)
    manifest = result.manifest
    assert (result.created, result.parity, manifest.task) == (True, None, Task.REGRESSION)
    assert manifest.signature.inputs[0].columns == ("a", "b", "c")
    assert manifest.signature.outputs[0].meaning is Meaning.VALUE
    opened = tools.store.open(result.version)
    assert {p.name for p in Path(opened.directory).iterdir()} == {
        "seaway.json", "model.onnx", "sample.jsonl", "profile.json", "README.md",
    }  # fmt: skip
    profile = msgspec.json.decode(
        (Path(opened.directory) / "profile.json").read_bytes(), type=ReferenceProfile
    )
    assert (profile.rows, profile.numeric["a"].high, profile.output_numeric["y"].high) == (3, 2.0, 6.0)
    assert not package(Package(str(linear_path), "linear", sample=SAMPLE), tools).created


def test_external_data_is_packaged_and_served(tools: Tools, linear: onnx.ModelProto, tmp_path: Path) -> None:
    path = with_external_data(linear, tmp_path)
    result = package(Package(path, "linear", sample=SAMPLE), tools)
    served = open_source(str(path), tmp_path / "private")
    for opened in (tools.store.open(result.version), served):
        model = tools.runtime.load(opened)
        answer = asking.predict(model, result.manifest.signature, SAMPLE)["y"]
        np.testing.assert_array_equal(answer, np.array([[6.0], [6.0], [4.0]], dtype=np.float32))


def test_a_source_is_a_file_a_directory_or_a_version(tools: Tools, linear_path: Path, tmp_path: Path) -> None:
    result = package(Package(linear_path, "linear", sample=SAMPLE), tools)
    version = open_source("linear:v1", tmp_path / "private", tools.store)
    assert version.digest == result.version.digest
    directory = open_source(version.directory, tmp_path / "private")
    assert (directory.digest, directory.manifest) == (version.digest, version.manifest)
    bare = open_source(str(linear_path), tmp_path / "private", name="mine")
    assert bare.manifest.name == "mine"
    assert open_source(str(linear_path), tmp_path / "private").digest == bare.digest
    with pytest.raises(UserError) as caught:
        open_source("absent.onnx", tmp_path / "private", tools.store)
    assert caught.value.code == "file_not_found"


def test_p21_a_bundle_directory_with_other_bytes_is_refused(
    tools: Tools, linear_path: Path, tmp_path: Path
) -> None:
    version = package(Package(linear_path, "linear", sample=SAMPLE), tools).version
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in Path(tools.store.open(version).directory).iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "model.onnx").write_bytes((copy / "model.onnx").read_bytes() + b"\0")
    with pytest.raises(PermanentError) as caught:
        open_source(str(copy), tmp_path / "private")
    assert caught.value.code == "digest_mismatch"


@pytest.mark.parametrize(
    ("sample", "code"),
    [({"a": [1.0], "b": [1.0]}, "wrong_shape"), ({"a": ["x"], "b": ["y"], "c": ["z"]}, "invalid_value")],
)
def test_a_sample_that_does_not_fit_is_refused_and_nothing_stored(
    tools: Tools, linear_path: Path, sample: dict[str, object], code: str
) -> None:
    with pytest.raises(SeawayError) as caught:
        package(Package(linear_path, "linear", sample=frames.table_from(sample)), tools)
    assert caught.value.code == code
    assert tools.store.models() == []


def test_lineage_has_places_and_hashes_the_data(tmp_path: Path) -> None:
    data = tmp_path / "train.csv"
    data.write_bytes(b"a,b\n1,2\n")
    pairs = dict(
        map(split_pair, [f"data={data}", "code=3f2a", "param.depth=4", "metric.auc=0.9", "team=x=y"])
    )
    lineage = parse_lineage(pairs)
    assert lineage.data == "train.csv"
    assert str(lineage.data_digest).startswith("sha256:")
    assert (lineage.code, lineage.parameters, lineage.metrics) == ("3f2a", {"depth": "4"}, {"auc": 0.9})
    assert lineage.extra == {"team": "x=y"}
    for bad in ({"metric.auc": "high"}, {"metric.auc": "nan"}):
        with pytest.raises(UserError):
            parse_lineage(bad)


def test_a_difference_names_what_changed(tools: Tools, linear: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    versions = []
    for weight, lineage in ((1.0, {"code": "a"}), (2.0, {"code": "b"})):
        linear.graph.initializer[0].raw_data = np.full(3, weight, dtype=np.float32).tobytes()
        path.write_bytes(linear.SerializeToString())
        request = Package(path, "linear", sample=SAMPLE, lineage=parse_lineage(lineage))
        versions.append(package(request, tools).manifest)
    changes = {(c.area, c.what): (c.before, c.after) for c in difference(versions[0], versions[1])}
    assert changes["lineage", "code"] == ("a", "b")
    assert ("file", "model.onnx") in changes
    assert ("file", "sample.jsonl") not in changes
    assert difference(versions[0], versions[0]) == ()
    locks = tuple(b'[[packages]]\nname = "numpy"\nversion = "%d"\n' % n for n in (1, 2))
    assert [c.what for c in difference(versions[0], versions[0], (locks[0], locks[1]))] == ["numpy"]


def entry(**file: object) -> dict[str, object]:
    return {"packages": [{"name": "a", "version": "1", "wheels": [{"name": "a-1-py3-none-any.whl", **file}]}]}


def test_a_lock_keeps_hashes_and_no_place_of_this_machine() -> None:
    hashes = {"sha256": "0" * 64}
    lock = canonical_lock(entry(url="file:///mirror/a-1-py3-none-any.whl", hashes=hashes), {"a": "1"})
    assert b"file:" not in lock
    assert hashed_requirements(lock) == f"a==1 --hash=sha256:{'0' * 64}\n"
    for found, pins in (
        (entry(url="https://x/a.whl"), {"a": "1"}),
        (entry(hashes=hashes), {"a": "1", "b": "2"}),
    ):
        with pytest.raises(PermanentError) as caught:
            canonical_lock(found, pins)
        assert caught.value.code == "lock_unavailable"


def test_the_closure_is_the_base_install_alone() -> None:
    pins = pinned_closure()
    assert {"numpy", "onnxruntime", "msgspec", "starlette"} <= set(pins)
    assert not {"scikit-learn", "pandas", "pytest", "seaway"} & set(pins)


def test_codes_of_a_csv_file_reach_a_string_input_as_they_stand(tools: Tools, tmp_path: Path) -> None:
    model = tiny_models.lookup(tmp_path / "lookup")
    golden = tmp_path / "golden.csv"
    golden.write_text("index,name,truth\n0,1234,zero\n1,true,one\n")
    request = Package(
        Path(model.directory) / "model.onnx", "codes", golden=DataFile.open(golden), target="truth"
    )
    result = package(request, tools)
    opened = Path(tools.store.open(result.version).directory)
    rows = [msgspec.json.decode(line) for line in (opened / "golden.jsonl").read_bytes().splitlines()]
    assert rows == [
        {"index": 0, "name": "1234", "truth": "zero"},
        {"index": 1, "name": "true", "truth": "one"},
    ]


def test_a_bundle_directory_is_taken_under_its_digest(
    tools: Tools, linear_path: Path, tmp_path: Path
) -> None:
    made = package(Package(linear_path, "linear", sample=SAMPLE), tools)
    directory = Path(tools.store.open(made.version).directory)
    other = BundleStore(tmp_path / "b" / "models", tmp_path / "b" / "opened", VirtualClock())
    taken = [imports.take(directory, "copy", other) for _ in range(2)]
    assert [(one.version.digest, one.created) for one in taken] == [
        (made.version.digest, True),
        (made.version.digest, False),
    ]
    assert (taken[0].manifest, other.verify()) == (made.manifest, [])


def test_p08_a_bundle_that_leads_outside_itself_is_not_taken(tools: Tools, tmp_path: Path) -> None:
    bundle = tiny_models.linear(tmp_path / "bundle", 0.5)
    model = Path(bundle.directory) / bundle.manifest.entry
    model.rename(tmp_path / "elsewhere.onnx")
    model.symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(UserError) as caught:
        imports.take(Path(bundle.directory), "copy", tools.store)
    assert (caught.value.code, tools.store.models()) == ("unsafe_path", [])


def test_p11_the_model_in_a_bundle_is_checked_like_any_other(tools: Tools, tmp_path: Path) -> None:
    bundle = tiny_models.linear(tmp_path / "bundle", 0.5)
    directory = Path(bundle.directory)
    (directory / "model.onnx").write_bytes(b"no model at all")
    listed = BundleFile("model.onnx", oci.sha256(b"no model at all"), 15)
    manifest = msgspec.structs.replace(bundle.manifest, files=(listed,))
    (directory / "seaway.json").write_bytes(oci.canonical(manifest))
    with pytest.raises(UserError) as caught:
        imports.take(directory, "copy", tools.store)
    assert (caught.value.code, tools.store.models()) == ("invalid_model", [])
