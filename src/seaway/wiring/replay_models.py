"""The models of a replay, each in processes of its own: a candidate that crashes fails its request, and nothing else."""

from __future__ import annotations

from seaway.core.answers import answer_spec
from seaway.core.bundles import OpenedBundle
from seaway.core.errors import PermanentError, TemporaryError
from seaway.core.tensors import InputCheck, Signature, Tensors, check_outputs
from seaway.engine.isolated import EngineEnded
from seaway.validate import replay as reports
from seaway.validate.replay import Said
from seaway.wiring.engines import EngineProcess


class ReplayModel:
    """One bundle in processes of its own, one after the other where they end."""

    def __init__(self, bundle: OpenedBundle, memory_bytes: int, deadline_s: float) -> None:
        """`deadline_s` is for each prediction. Blocks while it loads; raises what loading raises."""
        self.bundle = bundle
        self.lost = 0
        """Requests on which it crashed or was too late."""
        self.cpu_s = 0.0
        """Of the last prediction."""
        manifest = bundle.manifest
        self.spec = answer_spec(manifest.signature, manifest.classes)
        self._memory_bytes = memory_bytes
        self._deadline_s = deadline_s
        self._check = InputCheck(manifest.signature)
        self._process = self._start()

    @property
    def signature(self) -> Signature:
        return self.bundle.manifest.signature

    def ask(self, tensors: Tensors, rows: int) -> Said:
        """Raises `SeawayError` where it does not answer, or not in the form that its Signature promises."""
        self._check.rows(tensors)
        self._check.missing(tensors)
        before_s = self._process.cpu_s
        try:
            outputs = self._process.predict(tensors, self._deadline_s)
        except TemporaryError as error:
            self.lost += error.code == "deadline_exceeded"
            raise
        except EngineEnded as error:
            self.lost += 1
            self._process.close()
            self._process = self._start()
            raise PermanentError("engine_crashed", f"the model's process {error}") from error
        self.cpu_s = self._process.cpu_s - before_s
        check_outputs(self.signature, outputs)
        return reports.read(self.spec, outputs, rows)

    def close(self) -> None:
        self._process.close()

    def _start(self) -> EngineProcess:
        try:
            return EngineProcess(self.bundle, self._memory_bytes)
        except EngineEnded as error:
            raise PermanentError(
                "execution_failed", f"the process of {self.bundle.ref} {error} while it loaded the model"
            ) from error
