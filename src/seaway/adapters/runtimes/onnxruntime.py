"""ONNX models on ONNX Runtime's CPU provider: what every bundle of format `onnx` is run by.

Custom-op libraries are never loaded: a model that needs one is refused as `invalid_model`.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from seaway.core.bundles import OpenedBundle
from seaway.core.errors import PermanentError, SeawayError, TemporaryError, UserError
from seaway.core.tensors import Array, DType, Signature, Tensors, TensorSpec

_LOOK_S: Final = 0.05  # how late a deadline may take effect
_IDLE_LOOKS: Final = 100  # looks without a run after which the watchdog sleeps
_FATAL: Final = 4  # ONNX Runtime's severity; everything that matters arrives as an exception

_ONNX_TYPES: Final[dict[DType, str]] = {
    DType.BOOL: "tensor(bool)",
    DType.UINT8: "tensor(uint8)",
    DType.UINT16: "tensor(uint16)",
    DType.UINT32: "tensor(uint32)",
    DType.UINT64: "tensor(uint64)",
    DType.INT8: "tensor(int8)",
    DType.INT16: "tensor(int16)",
    DType.INT32: "tensor(int32)",
    DType.INT64: "tensor(int64)",
    DType.FP16: "tensor(float16)",
    DType.FP32: "tensor(float)",
    DType.FP64: "tensor(double)",
    DType.BYTES: "tensor(string)",
}

# All that ONNX Runtime and its Python layer raise for a bad model or a failing run; none of them is a fault of ours.
_FOREIGN: Final = (
    ort_errors.EPFail,
    ort_errors.EngineError,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.ModelLoaded,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)


class OnnxRuntime:
    """`core.ports.Runtime` for ONNX files, external data included."""

    formats: Sequence[str] = ("onnx",)

    def __init__(self, threads: int = 1) -> None:
        """`threads` is how many cores one prediction may use; workers scale by processes, so it is 1 by default."""
        self._threads = threads
        self._watchdog = _WATCHDOG

    def load(self, bundle: OpenedBundle) -> OnnxModel:
        """Blocking. Raises `UserError("invalid_model")`, also where model and Signature disagree."""
        signature = bundle.manifest.signature
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL
        # Memory patterns are cached per input shape and never freed: with free batch sizes they only grow.
        options.enable_mem_pattern = not signature.batched
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        ort.set_default_logger_severity(_FATAL)
        path = Path(bundle.directory) / bundle.manifest.entry
        try:
            session = ort.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except _FOREIGN as error:
            raise UserError(
                "invalid_model", f"ONNX Runtime cannot load the model: {_load_reason(error)}"
            ) from error
        _check_signature(session, signature)
        return OnnxModel(session, signature, self._watchdog)


class OnnxModel:
    """`core.ports.LoadedModel` over one InferenceSession, which is thread-safe."""

    def __init__(self, session: ort.InferenceSession, signature: Signature, watchdog: _Watchdog) -> None:
        self._session: ort.InferenceSession | None = session
        self._signature = signature
        self._names = [spec.name for spec in signature.outputs]
        self._watchdog = watchdog
        self._free: list[_Watch] = []  # taking from a list's end and putting back are atomic

    @property
    def signature(self) -> Signature:
        return self._signature

    def predict(self, inputs: Tensors, timeout_s: float | None = None) -> Tensors:
        """As the port says. A deadline takes effect between two operators, not inside one, and up to 50 ms late."""
        session = self._session
        if session is None:
            raise PermanentError("execution_failed", "the model was closed")
        try:
            watch = self._free.pop()
        except IndexError:
            watch = self._watchdog.watch()
        watch.until_s = until_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        if timeout_s is not None and self._watchdog.asleep:
            self._watchdog.wake()
        try:
            found: list[Array] = session.run(self._names, dict(inputs), watch.options)
        except _FOREIGN as error:
            raise _run_error(error, watch) from error
        finally:
            watch.until_s = math.inf
            if time.monotonic() < until_s:
                self._free.append(watch)
            else:  # it may be terminated at this very moment, so it cannot carry another run
                watch.over = True
        return dict(zip(self._names, found, strict=True))

    def close(self) -> None:
        self._session = None
        free, self._free = self._free, []
        for watch in free:
            watch.over = True


class _Watch:
    """The RunOptions of one run after the other, and until when the present one may take."""

    __slots__ = ("fired", "options", "over", "until_s")

    def __init__(self) -> None:
        self.options = ort.RunOptions()
        self.options.log_severity_level = _FATAL
        self.until_s = math.inf
        self.fired = False
        self.over = False


class _Watchdog:
    """One thread that terminates runs past their deadline; started with the first run, asleep while there are none.

    It looks at all runs at short intervals, so that a run costs two readings of the clock and wakes nobody. No locks:
    it reads the clock before the deadline, and a run that ends after its deadline does not give its RunOptions to
    another, so what is terminated is always the run whose deadline it was.
    """

    def __init__(self) -> None:
        self.asleep = True
        self._watches: list[_Watch] = []
        self._awake = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def watch(self) -> _Watch:
        """A new watch, looked at until it is `over`."""
        watch = _Watch()
        self._watches.append(watch)
        return watch

    def wake(self) -> None:
        """Called by a run that finds the thread asleep."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="seaway-deadlines", daemon=True)
                self._thread.start()
        self.asleep = False
        self._awake.set()

    def _run(self) -> None:
        idle = 0
        while True:
            self._awake.wait()
            time.sleep(_LOOK_S)
            idle = 0 if self._look() else idle + 1
            if idle > _IDLE_LOOKS:
                idle = 0
                self._awake.clear()
                self.asleep = True
                if self._look():  # a run that began before `asleep` was set has not called `wake`
                    self.asleep = False
                    self._awake.set()

    def _look(self) -> bool:
        """Terminate what is past its deadline; whether any run is under way."""
        now_s = time.monotonic()
        under_way = False
        for watch in tuple(self._watches):
            if watch.over:
                self._watches.remove(watch)
            elif watch.until_s <= now_s:
                if not watch.fired:
                    watch.fired = True
                    watch.options.terminate = True
                under_way = True
            elif watch.until_s < math.inf:
                under_way = True
        return under_way


_WATCHDOG: Final = _Watchdog()
"""One for all models of this process: a thousand of them must not be a thousand threads that look."""


def _check_signature(session: ort.InferenceSession, signature: Signature) -> None:
    takes = {node.name: str(node.type) for node in session.get_inputs()}
    gives = {node.name: str(node.type) for node in session.get_outputs()}
    named = {spec.name for spec in signature.inputs}
    if named != set(takes):
        raise UserError(
            "invalid_model",
            f"the Signature names the inputs {sorted(named)}, the model takes {sorted(takes)}",
        )
    for spec in signature.inputs:
        _check_type(spec, takes[spec.name])
    for spec in signature.outputs:
        if spec.name not in gives:
            raise UserError(
                "invalid_model", f"the model has no output {spec.name!r}", f"it gives {sorted(gives)}"
            )
        _check_type(spec, gives[spec.name])


def _check_type(spec: TensorSpec, found: str) -> None:
    if _ONNX_TYPES[spec.dtype] != found:
        raise UserError(
            "invalid_model", f"{spec.name!r} is {found} in the model, {spec.dtype.value} in the Signature"
        )


def _run_error(error: BaseException, watch: _Watch) -> SeawayError:
    if watch.fired:
        return TemporaryError("deadline_exceeded", "the model did not answer within the deadline")
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return PermanentError(
            "execution_failed", "the model ran out of memory on this request", "send fewer rows"
        )
    return PermanentError("execution_failed", f"the model failed on this request: {_reason(error)}")


_LEAD = re.compile(r"^\[ONNXRuntimeError\] : \d+ : ([A-Z_]+) : ")
_NODE = re.compile(
    r"Non-zero status code returned while running (\w+) node\. Name:'.*?' ?(?:Status Message: )?", re.S
)
_INTERNAL = re.compile(
    r"\S*(?:/|\\|::|0x[0-9a-fA-F]+|\.cc\b|\.h:)\S*|\[with .*?\]|[\w:~]+\(.*?\)(?: const)?(?= )|'[^']*'"
)


_LOAD = re.compile(r"Load model from .*? failed: ?", re.S)
_PATH = re.compile(r"\S*[/\\]\S*")


def _load_reason(error: BaseException) -> str:
    """What ONNX Runtime says of a model file, without paths; names inside the model stay, since its owner reads it."""
    text = _LOAD.sub("", _LEAD.sub("", str(error)))
    return " ".join(_PATH.sub(" ", text).split())[:300].strip(" :,.") or type(error).__name__


def _reason(error: BaseException) -> str:
    """What ONNX Runtime says, without node names, source paths, C++ names and addresses."""
    text = _LEAD.sub("", str(error))
    text = _NODE.sub(r"\1 node: ", text)
    text = " ".join(_INTERNAL.sub(" ", text).split())
    return text[:300].strip(" :,.") or type(error).__name__
