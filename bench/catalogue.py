"""Every system of the bench: its exact command, what it speaks, and how it must do to count as set up well.

Each is set up as its own documentation says for best speed on one core: one worker, its own batching where it has it
and the model gains by it, access logs off.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from bench import bodies, models, places
from bench.bodies import Form

_OIP: Final = f"/v2/models/{bodies.NAME}/infer"
_BATCH: Final = 32
SEAWAY: Final = "seaway"


class Setup(msgspec.Struct, frozen=True):
    """How one system serves one model. `routes` are its HTTP paths by form, the first its own best."""

    command: list[str]
    routes: dict[Form, str]
    env: dict[str, str] = {}
    cwd: Path = places.CACHE
    before: list[list[str]] = []
    """Commands that make the system's own model format, run once before it starts."""
    grpc: bool = False
    grpc_words: list[str] = []
    """What the command needs on top to serve gRPC; by default its own choice stands."""
    start_s: float = 60.0
    warm_s: float = 0.0
    """Load before anything is timed, for what compiles itself while it runs."""


def setup(system: str, work: str, port: int) -> Setup:
    """The setup of `system` for the model `work`, HTTP on `port`, gRPC on the next."""
    made = _SETUPS[system](work, port)
    env = {
        "MODEL": str(models.MODELS[work].path),
        "PORT": str(port),
        "GRPC_PORT": str(port + 1),
        "PYTHONPATH": f"{places.PEERS}:{places.PEERS / system}",
        "BATCH": str(_BATCH),
        "PATH": f"{places.VENVS / system / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        **made.env,
    }
    return msgspec.structs.replace(made, env=env)


def _bin(system: str, program: str) -> str:
    return str(places.VENVS / system / "bin" / program)


def _settings_folder(system: str, work: str) -> Path:
    folder = places.CACHE / system / work
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _seaway(work: str, port: int) -> Setup:
    model, home = str(models.MODELS[work].path), places.HOMES / SEAWAY / "store"
    command = [_bin(SEAWAY, "seaway"), "serve", model, "--name", bodies.NAME]
    command += ["--http", f"{places.HOST}:{port}", "--workers", "1"]
    return Setup(
        command,
        {Form.OIP_JSON: _OIP, Form.OIP_BINARY: _OIP},
        env={"SEAWAY_HOME": str(home), "PYTHONPATH": ""},
        grpc=True,
        grpc_words=["--grpc", f"{places.HOST}:{port + 1}"],
    )


def _fastapi(work: str, port: int) -> Setup:
    words = f"app:app --host {places.HOST} --port {port} --no-access-log --log-level warning"
    return Setup([_bin("fastapi", "uvicorn"), *words.split()], {Form.INPUTS: "/predict"})


def _mlserver(work: str, port: int) -> Setup:
    folder = _settings_folder("mlserver", work)
    server = {
        "debug": False,
        "host": places.HOST,
        "http_port": port,
        "grpc_port": port + 1,
        "metrics_port": port + 2,
        "parallel_workers": 0,
        "use_structured_logging": False,
    }
    model: dict[str, object] = {"name": bodies.NAME, "implementation": "onnx_runtime.Onnx"}
    if work == "heavy":
        model |= {"max_batch_size": _BATCH, "max_batch_time": 0.001}
    (folder / "settings.json").write_bytes(msgspec.json.encode(server))
    (folder / "model-settings.json").write_bytes(msgspec.json.encode(model))
    # MLServer 1.7.1 answers 500 to a body in the binary tensor extension.
    return Setup([_bin("mlserver", "mlserver"), "start", str(folder)], {Form.OIP_JSON: _OIP}, grpc=True)


def _kserve(work: str, port: int) -> Setup:
    command = [str(places.python("kserve")), str(places.PEERS / "kserve" / "server.py")]
    return Setup(command, {Form.OIP_JSON: _OIP, Form.OIP_BINARY: _OIP}, grpc=True)


def _pytriton(work: str, port: int) -> Setup:
    command = [str(places.python("pytriton")), str(places.PEERS / "pytriton" / "server.py")]
    return Setup(command, {Form.OIP_BINARY: _OIP, Form.OIP_JSON: _OIP}, grpc=True)


def _litserve(work: str, port: int) -> Setup:
    command = [str(places.python("litserve")), str(places.PEERS / "litserve" / "server.py")]
    return Setup(command, {Form.INPUTS: "/predict"})


def _bentoml(work: str, port: int) -> Setup:
    words = f"serve service:Service --host {places.HOST} --port {port}"
    command = [_bin("bentoml", "bentoml"), *words.split()]
    return Setup(command, {Form.NAMED: "/predict"}, cwd=places.PEERS / "bentoml")


def _mlflow(work: str, port: int) -> Setup:
    folder = places.CACHE / "mlflow" / work
    words = f"models serve -m {folder} --env-manager local -h {places.HOST} -p {port} -w 1"
    save = [str(places.python("mlflow")), str(places.PEERS / "mlflow" / "save.py")]
    return Setup(
        [_bin("mlflow", "mlflow"), *words.split()],
        {Form.INPUTS: "/invocations"},
        before=[] if folder.exists() else [[*save, str(models.MODELS[work].path), str(folder)]],
    )


def _torchserve(work: str, port: int) -> Setup:
    folder = _settings_folder("torchserve", work)
    served = {"defaultVersion": True, "marName": "m.mar", "minWorkers": 1, "maxWorkers": 1}
    served |= {"batchSize": _BATCH, "maxBatchDelay": 1, "responseTimeout": 60}
    properties = {
        "inference_address": f"http://{places.HOST}:{port}",
        "management_address": f"http://{places.HOST}:{port + 1}",
        "metrics_address": f"http://{places.HOST}:{port + 2}",
        "grpc_inference_address": places.HOST,
        "grpc_management_address": places.HOST,
        "grpc_inference_port": port + 3,
        "grpc_management_port": port + 4,
        "default_workers_per_model": 1,
        "number_of_netty_threads": 1,
        "netty_client_threads": 1,
        "job_queue_size": 1000,
        "install_py_dep_per_model": "false",
        "enable_metrics_api": "false",
        "disable_system_metrics": "true",
        "models": msgspec.json.encode({bodies.NAME: {"1.0": served}}).decode(),
    }
    lines = (f"{name}={value}" for name, value in properties.items())
    (folder / "ts.properties").write_text("\n".join(lines) + "\n")
    words = (
        "--foreground --ncs --disable-token-auth --ts-config ts.properties --model-store . --models m=m.mar"
    )
    words += f" --log-config {places.PEERS / 'torchserve' / 'log4j2.xml'}"
    archive = f"--model-name m --version 1.0 --export-path {folder} -f --handler"
    handler = str(places.PEERS / "torchserve" / "handler.py")
    return Setup(
        [_bin("torchserve", "torchserve"), *words.split()],
        {Form.DATA: f"/predictions/{bodies.NAME}"},
        cwd=folder,
        before=[[_bin("torchserve", "torch-model-archiver"), *archive.split(), handler]],
        warm_s=8.0,
    )


def _ray(work: str, port: int) -> Setup:
    env = {
        "BATCH": str(_BATCH if work == "heavy" else 1),
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_worker_niceness": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_FILES": str(Path(tempfile.gettempdir()) / "seaway-bench-ray"),  # its sockets need a short path
    }
    command = [str(places.python("ray")), str(places.PEERS / "ray" / "app.py")]
    return Setup(command, {Form.INPUTS: "/predict"}, env=env, start_s=180.0)


_SETUPS: Final[Mapping[str, Callable[[str, int], Setup]]] = {
    SEAWAY: _seaway,
    "mlserver": _mlserver,
    "kserve": _kserve,
    "bentoml": _bentoml,
    "litserve": _litserve,
    "fastapi": _fastapi,
    "mlflow": _mlflow,
    "pytriton": _pytriton,
    "torchserve": _torchserve,
    "ray": _ray,
}
SYSTEMS: Final = tuple(_SETUPS)
PEERS: Final = SYSTEMS[1:]


def missing_programs(systems: list[str]) -> list[str]:
    """What must be there and is not, each with how to get it."""
    wanted = {"wrk": "apt-get install wrk", "h2load": "apt-get install nghttp2-client"}
    wanted["taskset"] = "apt-get install util-linux"
    if "torchserve" in systems:
        wanted["java"] = "apt-get install openjdk-17-jre-headless"
    return [f"{name} ({how})" for name, how in wanted.items() if shutil.which(name) is None]
