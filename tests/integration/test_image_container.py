"""An image built without a network from a version's context answers as this process does, and drains on SIGTERM."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ports import free_port
from seaway import settings
from seaway.testing import load, tiny_models
from seaway.testing.load import Load
from seaway.wiring import adapters, packaging
from seaway.wiring.home import Home

pytestmark = [pytest.mark.slow, pytest.mark.outside, pytest.mark.timeout(600)]

# Debian's own Python, with the C++ runtime that ONNX Runtime needs: no image can be pulled here.
BASE_PACKAGES = (
    "python3.11-minimal,libpython3.11-stdlib,libstdc++6,libc-bin,dash,coreutils,base-files,ca-certificates"
)
# Cgroups v1 and no CAP_SYS_RESOURCE: what podman needs to know of such a machine.
ROOT = Path(__file__).resolve().parents[2]
CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1024:1024","nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
BASE, IMAGE = "localhost/seaway-test-base", "localhost/seaway-test"

Podman = Callable[..., str]


@pytest.fixture(scope="module")
def base_tar() -> Path:
    """A root file system with Python, made once and kept beside the checkout's other caches."""
    tar = ROOT / ".cache" / "images" / "python3.11.tar"
    if not tar.exists():
        tar.parent.mkdir(parents=True, exist_ok=True)
        part = tar.with_suffix(f".{os.getpid()}")
        subprocess.run(
            [
                "mmdebstrap",
                "--variant=extract",
                "--format=tar",
                f"--include={BASE_PACKAGES}",
                "bookworm",
                str(part),
            ],
            check=True,
            capture_output=True,
        )
        part.replace(tar)
    return tar


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    """Podman with a store of its own."""
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed; tests/components/install.sh installs it")
    home = Path(
        tempfile.mkdtemp(prefix="seaway-podman-")
    )  # podman refuses a run root of more than 50 characters
    conf = home / "containers.conf"
    conf.write_text(CONTAINERS_CONF)
    where = ["podman", "--root", str(home / "store"), "--runroot", str(home / "run")]

    def run(*words: str) -> str:
        done = subprocess.run(
            [*where, *words], env=os.environ | {"CONTAINERS_CONF": str(conf)}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.strip()

    yield run
    run("rm", "--all", "--force")
    run("rmi", "--all", "--force")
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory, podman: Podman, base_tar: Path) -> Path:
    """The context of a packaged model, built into `IMAGE`."""
    work = tmp_path_factory.mktemp("image")
    tiny_models.linear(work / "model", 1.5)
    home = Home(settings.load(work / "home", {}))
    packaged = packaging.package_files(
        home,
        next((work / "model").glob("*.onnx")),
        name="tiny",
        sample=None,
        golden=None,
        target=None,
        rules=None,
        requirements=(),
        lineage={"code": 'git "$HOME"'},
        task=None,
        lock=True,
        progress=lambda text: None,
    )
    packaging.image(home, packaged.version, work / "context", lambda text: None)
    podman("import", "--quiet", str(base_tar), BASE)
    podman(
        "build",
        "--quiet",
        "--network=none",
        "--pull=never",
        f"--build-arg=BASE={BASE}",
        "-t",
        IMAGE,
        str(work / "context"),
    )
    return work / "context"


def test_f08_the_image_answers_as_here_and_a_signal_drains_it(context: Path, podman: Podman) -> None:
    port = free_port()
    name = f"seaway-{port}"
    podman(
        "run", "--detach", "--network=host", "--read-only", "--tmpfs=/tmp", f"--name={name}", IMAGE,
        "--http", f"127.0.0.1:{port}",
    )  # fmt: skip
    until_ready(port, lambda: podman("logs", name))
    rows = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    answered = ask(port, {"instances": rows.tolist()})
    model = adapters.runtime("onnx").load(opened(context))
    here = np.asarray(model.predict({"x": rows})["y"])
    model.close()
    assert np.asarray(answered["predictions"]).reshape(-1) == pytest.approx(here.reshape(-1), abs=1e-6)

    result = load_until_stopped(port, lambda: podman("stop", "--time=30", name))
    assert not result, f"lost while draining: {result}"
    assert podman("inspect", name, "--format={{.State.ExitCode}}") == "0"


def test_the_image_runs_as_nobody_and_says_what_it_holds(context: Path, podman: Podman) -> None:
    config = json.loads(podman("inspect", IMAGE))[0]["Config"]
    assert config["User"] == "65532:65532"
    assert config["StopSignal"] in ("SIGTERM", "15")
    assert config["Entrypoint"][:3] == ["/opt/seaway/bin/seaway", "serve", "/bundle"]
    assert config["Cmd"] == ["--http", "0.0.0.0:8080"]
    assert config["Labels"]["io.seaway.digest"] == opened(context).digest
    assert config["Labels"]["org.opencontainers.image.title"] == "tiny:v1"
    assert config["Labels"]["org.opencontainers.image.revision"] == 'git "$HOME"'
    code = "import os; print(os.getuid(), os.path.exists('/build'))"
    inside = podman("run", "--rm", "--network=none", "--entrypoint=/opt/seaway/bin/python", IMAGE, "-c", code)
    assert inside == "65532 False"


def opened(context: Path):  # type: ignore[no-untyped-def]
    from seaway.bundle import sources

    return sources.open_directory(context / "bundle")


def until_ready(port: int, logs: Callable[[], str]) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=10) as reply:
                if reply.status == 200:
                    return
        except (OSError, urllib.error.URLError):
            pass
        time.sleep(0.1)
    pytest.fail(f"not ready within 240 s: {logs()}")


def ask(port: int, body: object) -> dict[str, list[object]]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict/tiny",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        found: dict[str, list[object]] = json.load(reply)
        return found


def load_until_stopped(port: int, stop: Callable[[], str]) -> list[load.Outcome]:
    """Stop the server under load over open connections; the requests that got no answer.

    Once the listening socket is gone, connecting fails: with nobody to take over that is the right answer.
    """
    import concurrent.futures

    body = json.dumps({"instances": [[1, 2, 3]]}).encode()
    wanted = Load(
        "127.0.0.1",
        port,
        lambda index: load.post("/predict/tiny", "tiny", body),
        count=800,
        rate_per_s=100,
        connections=8,
        accept=lambda index, found: json.loads(found)["predictions"] in ([7.5], [[7.5]]),
    )
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        running = pool.submit(load.run, wanted)
        time.sleep(
            3
        )  # let the load run for a while before the signal: the test is about what is in flight then
        pool.submit(stop).result()
        result = running.result()
    answered = [outcome for outcome in result.outcomes if outcome.status == 200]
    assert len(answered) > 100
    return [o for o in result.failed if o.failure is not load.Failure.CONNECT and o.status != 503]
