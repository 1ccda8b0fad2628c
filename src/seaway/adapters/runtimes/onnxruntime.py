"""ONNX models on ONNX Runtime's CPU provider: what every bundle of format `onnx` is run by.

Custom-op libraries are never loaded: a model that needs one is refused as `invalid_model`.
"""

from __future__ import annotations

import heapq
import itertools
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

_SWEEP_AT: Final = 4096  # watched runs at which finished ones are first dropped before their deadline
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
        self._watchdog = _Watchdog()

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

    @property
    def signature(self) -> Signature:
        return self._signature

    def predict(self, inputs: Tensors, timeout_s: float | None = None) -> Tensors:
        """As the port says. A deadline takes effect between two operators, not inside one."""
        session = self._session
        if session is None:
            raise PermanentError("execution_failed", "the model was closed")
        options = ort.RunOptions()
        options.log_severity_level = _FATAL
        watch = None if timeout_s is None else self._watchdog.watch(options, timeout_s)
        try:
            found: list[Array] = session.run(self._names, dict(inputs), options)
        except _FOREIGN as error:
            raise _run_error(error, watch) from error
        finally:
            if watch is not None:
                watch.done = True
        return dict(zip(self._names, found, strict=True))

    def close(self) -> None:
        self._session = None


class _Watch:
    """One run that has a deadline."""

    __slots__ = ("done", "fired", "options")

    def __init__(self, options: ort.RunOptions) -> None:
        self.options: ort.RunOptions = options
        self.done = False
        self.fired = False


class _Watchdog:
    """One thread that terminates runs past their deadline; started with the first run that has one.

    A run that ends in time only sets a flag, and the thread drops it when its deadline comes: so a prediction
    costs one heap push and wakes nobody, save when its deadline is the nearest.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, _Watch]] = []
        self._order = itertools.count()
        self._sweep_at = _SWEEP_AT
        self._thread: threading.Thread | None = None

    def watch(self, options: ort.RunOptions, timeout_s: float) -> _Watch:
        """Set `options.terminate` after `timeout_s` unless the returned watch is done by then."""
        watch = _Watch(options)
        with self._changed:
            if len(self._heap) >= self._sweep_at:
                self._heap = [entry for entry in self._heap if not entry[2].done]
                heapq.heapify(self._heap)
                self._sweep_at = max(_SWEEP_AT, 2 * len(self._heap))
            heapq.heappush(self._heap, (time.monotonic() + timeout_s, next(self._order), watch))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="seaway-deadlines", daemon=True)
                self._thread.start()
            elif self._heap[0][2] is watch:
                self._changed.notify()
        return watch

    def _run(self) -> None:
        with self._changed:
            while True:
                while self._heap and self._heap[0][2].done:
                    heapq.heappop(self._heap)
                if not self._heap:
                    self._changed.wait()
                    continue
                left_s = self._heap[0][0] - time.monotonic()
                if left_s > 0:
                    self._changed.wait(left_s)
                    continue
                watch = heapq.heappop(self._heap)[2]
                if not watch.done:
                    watch.fired = True
                    watch.options.terminate = True


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


def _run_error(error: BaseException, watch: _Watch | None) -> SeawayError:
    if watch is not None and watch.fired:
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
