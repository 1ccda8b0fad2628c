"""A front whose endpoint has a stable revision and a candidate that fails as a test says."""

from __future__ import annotations

import msgspec
import numpy as np
from engine_fakes import FakeModel, FakeRuntime, digest, revision, sources
from front_server import Server, no_slow_route

from seaway.core.bundles import OpenedBundle
from seaway.core.errors import PermanentError, SeawayError, TemporaryError
from seaway.core.ports import LoadedModel
from seaway.core.tensors import DType, Signature, Tensors, TensorSpec
from seaway.core.traffic import FlagRule, Limits, Route, RoutedRevision, RoutingTable
from seaway.core.user_keys import UserKey
from seaway.engine.jobs import Learned
from seaway.engine.pool import Handle, Pool
from seaway.engine.router import Router
from seaway.serve.doors import DOORS
from seaway.serve.front import Front
from seaway.serve.plane import DataPlane

BROKEN = PermanentError("execution_failed", "the candidate's own fault")
CRASHED = TemporaryError("engine_crashed", "its process ended")
STABLE, CANDIDATE = 1, 2
FLAGS = (
    FlagRule(CANDIDATE, ("yes",), UserKey(header="x-beta")),
    FlagRule(CANDIDATE, ("yes",), UserKey(cookie="beta")),
)
WIDER = Signature(
    (TensorSpec("x", DType.FP32, (-1,)),),
    (TensorSpec("y", DType.FP32, (-1,)), TensorSpec("z", DType.FP32, (-1,))),
)


class Arms(FakeRuntime):
    """`stable` and `candidate` are the models; what the candidate raises is in `fault`."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: SeawayError | None = None
        self.stable: LoadedModel = FakeModel()
        self.candidate: LoadedModel = FakeModel(self._answer)

    def _answer(self, inputs: Tensors) -> Tensors:
        if self.fault is not None:
            raise self.fault
        x = np.asarray(inputs["x"])
        return {"y": x * np.float32(3), "z": x} if self.candidate.signature == WIDER else {"y": x}

    def load(self, bundle: OpenedBundle) -> LoadedModel:  # type: ignore[override]
        return self.stable if bundle.ref == f"m:v{STABLE}" else self.candidate


class Rollout(Server):
    """A front whose endpoint `e` has a candidate with nearly all of the split. It runs inline, the stable one on a thread."""

    def __init__(
        self,
        arms: Arms | None = None,
        percent: float = 99.9999,
        fallback: int | None = STABLE,
        ready: bool = True,
        wider: bool = False,
    ) -> None:
        super().__init__()
        self.arms = arms or Arms()
        made = sources(self.arms)
        if wider:
            self.arms.candidate.signature = WIDER  # type: ignore[misc]

            def open_bundle(wanted: RoutedRevision) -> OpenedBundle:
                bundle = sources(self.arms).open_bundle(wanted)
                manifest = msgspec.structs.replace(bundle.manifest, signature=WIDER)
                return (
                    bundle if wanted.number == STABLE else msgspec.structs.replace(bundle, manifest=manifest)
                )

            made = msgspec.structs.replace(made, open_bundle=open_bundle)
        slow = {digest("a"): Learned(0.001, 0.0, 100, inline_allowed=False)}
        pool = Pool(made, self.plane.clock, learned=slow)
        revisions = (revision(STABLE, "a", 100.0 - percent), revision(CANDIDATE, "b", percent))
        for one in revisions[: 2 if ready else 1]:
            pool.load("e", one, Limits())
        route = Route("e", revisions, salt="e/2", fallback=fallback, flags=FLAGS)
        router = Router(pool, RoutingTable(1, (route,)))
        self.plane = DataPlane(router, self.recorder, self.plane.clock, self.plane.metrics, "1")
        self.front = Front(self.plane, DOORS, no_slow_route)

    def handle(self, number: int) -> Handle:
        found = self.plane.router.pool.get("e", number)
        assert found is not None
        return found

    def told(self) -> list[tuple[str, str]]:
        """Code and reason of all that was recorded, in order."""
        return [(request.code, request.chosen.value) for request in self.recorder.requests]


def in_flight(server: Server) -> int:
    return sum(handle.in_flight for handle in server.plane.router.pool.handles())
