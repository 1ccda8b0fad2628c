"""A bundle through a real OCI registry and back keeps its digest, and its environment lock makes the environment again."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

from ports import free_port
from seaway.adapters.converters.sklearn import SklearnConverter
from seaway.adapters.runtimes.onnxruntime import OnnxRuntime
from seaway.bundle import environment, frames, store
from seaway.bundle.build import Package, PackageResult, Tools, package
from seaway.bundle.store import BundleStore
from seaway.cli import main as cli
from seaway.testing.clock import VirtualClock

pytestmark = [pytest.mark.outside, pytest.mark.slow]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """HOST:PORT of a docker-registry that is ready."""
    program = shutil.which("docker-registry")
    assert program is not None, "run tests/components/install.sh"
    address = f"127.0.0.1:{free_port()}"
    config = tmp_path / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {tmp_path / 'registry'}\nhttp:\n  addr: {address}\n"
    )
    process = subprocess.Popen(
        [program, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    ready = any("listening on" in line for line in process.stderr)  # ends when the process does
    assert ready, "the registry did not start"
    drain = threading.Thread(target=process.stderr.read, daemon=True)
    drain.start()
    yield address
    process.terminate()
    process.wait(60)
    drain.join(60)
    process.stderr.close()


def packaged(home: Path, *, lock: bool) -> tuple[BundleStore, PackageResult]:
    found = BundleStore(home / "models", home / "opened", VirtualClock())
    rows, target = load_diabetes(return_X_y=True)
    locks = home / "locks"
    tools = Tools(
        found,
        OnnxRuntime(),
        [SklearnConverter()],
        (lambda: environment.environment_lock(locks)) if lock else None,
    )
    golden = frames.table_from(np.column_stack([rows, target]))
    return found, package(Package(Ridge().fit(rows, target), "diabetes", golden=golden, target="x10"), tools)


def skopeo(*arguments: str) -> None:
    done = subprocess.run(["skopeo", *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def test_skopeo_to_a_registry_and_back_gives_the_same_digest(
    tmp_path: Path, registry: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, result = packaged(tmp_path / "home", lock=False)
    layout = tmp_path / "home" / "models" / "diabetes"
    remote = f"docker://{registry}/models/diabetes:v1"
    skopeo("--insecure-policy", "copy", "--dest-tls-verify=false", f"oci:{layout}:v1", remote)
    back = tmp_path / "back"
    skopeo("--insecure-policy", "copy", "--src-tls-verify=false", remote, f"oci:{back}:v1")
    head = json.loads((back / "index.json").read_bytes())["manifests"][0]
    assert head["digest"] == result.version.digest
    arguments = ["package", str(back), "--name", "diabetes", "--json", "--home", str(tmp_path / "other")]
    for created in (True, False):
        assert cli.main(arguments) == 0
        taken = json.loads(capsys.readouterr().out)
        assert (taken["created"], taken["version"]["digest"]) == (created, result.version.digest)
    other = BundleStore(tmp_path / "other" / "models", tmp_path / "other" / "opened", VirtualClock())
    (copied,) = other.versions("diabetes")
    assert other.verify() == []
    opened = other.open(copied)
    store.verify_opened(opened)
    assert opened.manifest == result.manifest


REPEAT = """
import json, sys
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
rows = [json.loads(line) for line in open(sys.argv[2])]
x = np.array([[row[f"x{i}"] for i in range(10)] for row in rows], dtype=np.float32)
print(json.dumps(session.run(None, {"X": x})[0].ravel().tolist()))
"""


@pytest.mark.timeout(600)
def test_the_lock_rebuilds_the_environment_and_it_repeats_the_golden_predictions(tmp_path: Path) -> None:
    bundles, result = packaged(tmp_path / "home", lock=True)
    opened = bundles.open(result.version)
    directory = Path(opened.directory)
    lock = (directory / "pylock.toml").read_bytes()
    assert result.manifest.environment == "pylock.toml"
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(environment.hashed_requirements(lock))
    assert re.search(r"^onnxruntime==\S+ --hash=sha256:", requirements.read_text(), re.MULTILINE)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    install = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--require-hashes",
        "--no-deps",
        "-r",
        str(requirements),
    ]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    script = tmp_path / "repeat.py"
    script.write_text(REPEAT)
    command = [python, str(script), str(directory / "model.onnx"), str(directory / "golden.jsonl")]
    rebuilt = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    here = json.loads(
        subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True, check=True).stdout
    )
    assert rebuilt == here
