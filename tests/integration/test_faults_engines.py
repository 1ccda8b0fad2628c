"""One isolated model in a real engine process, and the runtime of another package that it loads (F02, F04)."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import faulty_bundles
import numpy as np
import pytest
from control_process import gone
from faulty_server import until

from seaway.core.errors import PermanentError, SeawayError, TemporaryError, UserError
from seaway.core.ports import StreamingModel
from seaway.core.tensors import Tensors
from seaway.engine.isolated import IsolatedModel
from seaway.wiring import adapters, engines
from seaway.wiring.clock import SystemClock

pytestmark = pytest.mark.slow

MEMORY = 400 << 20


def x(*values: float) -> Tensors:
    return {"x": np.array(values, np.float32)}


@pytest.fixture(autouse=True)
def _runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(faulty_bundles.RUNTIME))


def load(directory: Path, words: str = "", memory_bytes: int = MEMORY) -> IsolatedModel:
    bundle = faulty_bundles.write(directory, "m", words)
    return engines.isolate(bundle, memory_bytes, SystemClock())


@pytest.fixture
def model(tmp_path: Path) -> Iterator[IsolatedModel]:
    model = load(tmp_path / "m", "streams")
    yield model
    model.close()


def engine_pid(model: IsolatedModel) -> int:
    engine = model._engine
    assert isinstance(engine, engines.EngineProcess)
    return engine.pid


def refusal(model: IsolatedModel, value: float, timeout_s: float = 60.0) -> SeawayError:
    with pytest.raises(SeawayError) as refused:
        model.predict(x(value), timeout_s)
    return refused.value


def test_it_answers_and_streams(model: IsolatedModel) -> None:
    assert model.predict(x(0.25, 0.5), 60.0)["y"].tolist() == [0.5, 1.0]  # type: ignore[attr-defined]
    assert isinstance(model, StreamingModel)
    assert [r["y"].tolist() for r in model.stream(x(0.0), 60.0)] == [[0.0], [0.5], [1.0]]  # type: ignore[attr-defined]
    given_up = model.stream(x(0.0), 60.0)
    next(given_up)
    given_up.close()  # type: ignore[attr-defined]
    assert model.predict(x(0.25), 60.0)["y"].tolist() == [0.5]  # type: ignore[attr-defined]


def test_f02_every_end_of_the_process_is_told_and_mended(model: IsolatedModel) -> None:
    for act, words in ((1.0, "Segmentation fault"), (7.0, "ended with code 0"), (8.0, "Aborted")):
        before = engine_pid(model)
        error = refusal(model, act)
        assert isinstance(error, TemporaryError)
        assert error.code == "engine_crashed"
        assert words in error.message
        until(lambda: model.up)
        assert engine_pid(model) != before
        assert model.predict(x(0.25), 60.0)["y"].tolist() == [0.5]  # type: ignore[attr-defined]


def test_f02_a_hang_that_holds_the_gil_is_ended(
    model: IsolatedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_GRACE_S", 0.2)
    before = engine_pid(model)
    error = refusal(model, 2.0, timeout_s=0.2)
    assert error.code == "engine_crashed"
    assert "did not answer in time" in error.message
    until(lambda: model.up)
    assert engine_pid(model) != before


def test_a_fault_in_the_models_code_fails_its_request_alone(model: IsolatedModel) -> None:
    before = engine_pid(model)
    error = refusal(model, 10.0)
    assert isinstance(error, PermanentError)
    assert error.code == "execution_failed"
    assert "LookupError" in error.message
    assert engine_pid(model) == before


def test_f01_a_process_that_is_dead_before_it_is_asked_leaves_no_socket_open(model: IsolatedModel) -> None:
    pid = engine_pid(model)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    gc.collect()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert refusal(model, 0.25).code == "engine_crashed"
        gc.collect()
    assert not [str(one.message) for one in warned if issubclass(one.category, ResourceWarning)]


def test_f01_kill_9_of_an_engine_process(model: IsolatedModel) -> None:
    os.kill(engine_pid(model), signal.SIGKILL)
    assert refusal(model, 0.25).code == "engine_crashed"
    until(lambda: model.up)
    assert model.predict(x(0.25), 60.0)["y"].tolist() == [0.5]  # type: ignore[attr-defined]


def test_f04_a_leaking_engine_process_is_replaced_and_no_request_fails(tmp_path: Path) -> None:
    model = load(tmp_path / "m", memory_bytes=150 << 20)
    first = engine_pid(model)
    until(lambda: model.predict(x(3.0), 60.0) and engine_pid(model) != first)
    until(lambda: gone(first))
    model.close()


def test_f02_a_model_that_crashes_while_it_loads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="Segmentation fault while it loaded"):
        load(tmp_path / "m", "crash-at-load")


def test_a_changed_bundle_is_not_loaded(tmp_path: Path) -> None:
    bundle = faulty_bundles.write(tmp_path / "m", "m")
    (tmp_path / "m" / "model.txt").write_text("other")
    with pytest.raises(PermanentError) as refused:
        engines.isolate(bundle, MEMORY, SystemClock())
    assert refused.value.code == "digest_mismatch"


@pytest.mark.parametrize(
    "act", ["pass", "m.predict({'x': np.array([2.0], np.float32)}, 60.0)"], ids=["idle", "hung"]
)
def test_f05_an_engine_process_ends_with_its_worker(tmp_path: Path, act: str) -> None:
    bundle = faulty_bundles.write(tmp_path / "m", "m")
    code = f"""
import sys, threading, time
import numpy as np
from seaway.bundle import sources
from seaway.wiring import engines
from seaway.wiring.clock import SystemClock
from pathlib import Path
made = []
maker = threading.Thread(target=lambda: made.append(engines.isolate(
    sources.open_directory(Path({bundle.directory!r})), {MEMORY}, SystemClock())))
maker.start()
maker.join()  # the thread that started the process is gone, and that must not end it
m = made[0]
m.predict({{'x': np.array([0.25], np.float32)}}, 60.0)
print(m._engine.pid, flush=True)
{act}
time.sleep(600)
"""
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert worker.stdout is not None
    engine = int(worker.stdout.readline())
    assert Path(f"/proc/{engine}").exists()
    if act != "pass":
        until(lambda: _waits_in(engine, "pause"))
    worker.kill()
    worker.wait()
    worker.stdout.close()
    until(lambda: gone(engine))


def _waits_in(pid: int, call: str) -> bool:
    numbers = {"pause": "34"}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            if (task / "syscall").read_text().split()[0] == numbers[call]:
                return True
    return False


def test_a_runtime_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="nothing here runs") as unknown:
        adapters.runtime("faulty")
    assert unknown.value.code == "unknown_format"
    monkeypatch.syspath_prepend(str(faulty_bundles.RUNTIME))
    assert adapters.runtime("faulty").formats == ("faulty",)
    with pytest.raises(PermanentError, match="seaway-faulty offers a runtime for 'missing'"):
        adapters.runtime("missing")


def test_the_wait_for_an_engine_is_part_of_the_deadline(model: IsolatedModel) -> None:
    began_s = time.monotonic()
    error = refusal(model, 9.0, timeout_s=0.1)
    assert error.code == "engine_crashed"
    assert time.monotonic() - began_s < 25  # the model sleeps for 30
