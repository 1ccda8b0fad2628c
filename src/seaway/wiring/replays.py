"""`seaway replay` put together: captured requests, the bundle store, processes for the models, and what is known of outcomes.

Nothing here is seen by users: every model runs in a process of its own, and no endpoint is asked or changed.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from seaway.core.answers import AnswerSpec, answer_spec
from seaway.core.bundles import Version
from seaway.core.deployments import Deployment, Revision
from seaway.core.errors import PermanentError, SeawayError, UserError
from seaway.core.replays import Cost, LeftOut, ReplayReport
from seaway.core.tensors import DType, Signature
from seaway.core.traffic import Limits
from seaway.monitor.capture.restored import INPUT, OUTPUT, Restoring
from seaway.monitor.feedback import truths
from seaway.validate import replay as reports
from seaway.validate.replay import About, Replayed, Said
from seaway.wiring import control_access, gate_runs, replay_records
from seaway.wiring.home import Home
from seaway.wiring.replay_models import ReplayModel
from seaway.wiring.replay_records import Bundles, Recorded

_MOST_LOST: Final = 10
"""Requests on which a model may crash or be too late, before the replay is given up."""
_TIMED_REQUESTS: Final = 2000
"""Requests that what was live runs again for its cost alone."""
_MOST_COLUMNS: Final = 50
_INPUT: Final = f"{INPUT}."
_MASKED: Final = (
    "texts were masked before they were captured (record.redact), and the recorded answers are to the unmasked ones: "
    "--rerun asks both the same"
)


class Question(msgspec.Struct, frozen=True):
    """What to replay: the newest `limit` requests since a time. With `rerun`, what is live now answers them again, and the
    candidate stands beside that instead of what was recorded."""

    endpoint: str
    candidate: str
    since_s: float
    limit: int
    rerun: bool = False


def run(home: Home, question: Question, progress: Callable[[str], None]) -> ReplayReport:
    """Run the recorded requests on the candidate and compare. Blocking, up to minutes.

    Raises `UserError("not_replayable")` with what stands in the way (nothing captured since, columns that were redacted or
    that the candidate alone has, answers that were not kept), what opening a version raises, and
    `PermanentError("execution_failed")` for a candidate that keeps ending its process.
    """
    version = home.version(question.candidate)
    status = control_access.endpoint_status(home, question.endpoint)
    progress("reading what was captured")
    kept, warnings = replay_records.captured(home, question.endpoint, question.since_s, question.limit)
    left: Counter[str] = Counter()
    recorded = [one for one in kept if question.rerun or one.digest != version.digest]
    left["answered by the candidate itself"] = len(kept) - len(recorded)
    if not recorded:
        raise UserError(
            "not_replayable",
            f"all {len(kept)} recorded requests were answered by {version.ref} itself",
            "name another candidate, or look further back with --since",
        )
    revisions = () if status is None else status.revisions
    live = control_access.live_of(home, status)
    spec = _live_spec(revisions, live)
    deadline_s = Limits().deadline_s if spec is None else spec.parsed_limits.deadline_s
    memory_bytes = gate_runs.memory_bytes(home.configuration.settings)
    told = truths.of_requests(home.paths.records, [one.request_id for one in recorded])
    with contextlib.ExitStack() as held:
        bundles = Bundles(home, revisions)
        progress(f"loading {version.ref}")
        candidate = ReplayModel(home.bundles.open(version), memory_bytes, deadline_s)
        held.callback(candidate.close)
        columns = frozenset(name for one in recorded for name in one.cells)
        inputs = Restoring(INPUT, candidate.signature.inputs, columns)
        _refuse_missing(inputs, candidate, bundles, recorded)
        before = _before(bundles, live, recorded, question, (memory_bytes, deadline_s))
        if before is not None:
            held.callback(before.close)
        run = _Run(candidate, before, inputs, bundles, question, left, progress)
        requests = [found for one in recorded if (found := run.one(one, told.get(one.request_id, {})))]
    if not requests:
        raise UserError("not_replayable", *run.nothing())
    if not question.rerun and spec is not None and _masked(spec, candidate.signature):
        warnings = (*warnings, _MASKED)
    about = About(
        endpoint=question.endpoint,
        candidate=str(version.ref),
        digest=version.digest,
        compared_with=run.compared_with(recorded),
        at_s=home.clock.now_s(),
        left_out=tuple(LeftOut(why, count) for why, count in left.most_common() if count),
        cost=run.cost(),
        warnings=warnings,
    )
    return reports.report(about, _with_slices(requests, () if spec is None else spec.record.rules.slices))


def _refuse_missing(
    inputs: Restoring, candidate: ReplayModel, bundles: Bundles, recorded: Sequence[Recorded]
) -> None:
    """Raises where the candidate needs columns that nothing captured has."""
    if not inputs.missing:
        return
    had = bundles.of(recorded[0].digest)
    known = set() if had is None else _input_columns(had.manifest.signature)
    redacted = [name for name in inputs.missing if name in known]
    if redacted:
        raise UserError(
            "not_replayable",
            f"{candidate.bundle.ref} needs {', '.join(redacted)}, which is redacted, so it was not captured",
            "take it out of record.redact, deploy, and replay what is captured from then on; "
            "or compare live answers instead (rollout: shadow)",
        )
    raise UserError(
        "not_replayable",
        f"{candidate.bundle.ref} needs {', '.join(inputs.missing)}, which the recorded requests do not have",
        "replay a version that takes the inputs of what was live: seaway diff shows what changed",
    )


def _input_columns(signature: Signature) -> set[str]:
    return {name for spec in signature.inputs for name in (spec.columns or (spec.name,))}


def _before(
    bundles: Bundles,
    live: Version | None,
    recorded: Sequence[Recorded],
    question: Question,
    limits: tuple[int, float],
) -> ReplayModel | None:
    """What is live now (or answered last), to be run again: for its answers with `rerun`, else for its cost."""
    opened = bundles.of(recorded[0].digest) if live is None else bundles.open(live)
    if opened is None:
        if question.rerun:
            raise UserError(
                "not_replayable",
                f"nothing is live on {question.endpoint} whose version is in the store",
                "without --rerun, the recorded answers are compared",
            )
        return None
    return ReplayModel(opened, *limits)


class _Unusable(Exception):
    """A recorded request that says nothing of the candidate, and why."""


class _Run:
    """Goes through the recorded requests, and counts what it cannot use."""

    def __init__(
        self,
        candidate: ReplayModel,
        before: ReplayModel | None,
        inputs: Restoring,
        bundles: Bundles,
        question: Question,
        left: Counter[str],
        progress: Callable[[str], None],
    ) -> None:
        self._candidate = candidate
        self._before = before
        self._inputs = inputs
        self._bundles = bundles
        self._question = question
        self._left = left
        self._progress = progress
        self._outputs: dict[str, tuple[Restoring, AnswerSpec | None]] = {}
        self._before_inputs: Restoring | None = None
        self._timed = [0, 0.0, 0.0]
        self._timed_requests = 0
        self._done = 0
        self._redacted: tuple[str, ...] = ()

    def one(self, recorded: Recorded, truths_of: Mapping[int, str]) -> Replayed | None:
        """Both answers of a request; None where it says nothing, which is counted."""
        self._done += 1
        if self._done % 100 == 0:
            self._progress(f"replaying: {self._done} requests")
        try:
            return self._both(recorded, truths_of)
        except _Unusable as unusable:
            self._left[str(unusable)] += 1
            return None

    def _both(self, recorded: Recorded, truths_of: Mapping[int, str]) -> Replayed:
        if recorded.rows < 1 or any(label.startswith(_INPUT) for label in recorded.omitted):
            raise _Unusable("without rows, or too large to be captured whole")
        tensors = self._inputs.tensors(recorded.cells, recorded.rows)
        if tensors is None:
            raise _Unusable("of another form than the candidate takes, or not captured whole")
        again = self._again(recorded)
        if self._question.rerun:
            if again is None:
                raise _Unusable(f"{self._question.endpoint}'s live version could not answer it again")
            live = again[0]
        else:
            live = self._recorded_answer(recorded)
        said, failure = None, None
        try:
            said = self._candidate.ask(tensors, recorded.rows)
        except SeawayError as error:
            failure = f"{error.code}: {error.message}"[:200]
            if self._candidate.lost >= _MOST_LOST:
                raise PermanentError(
                    "execution_failed",
                    f"{self._candidate.bundle.ref} crashed or gave no answer in time {_MOST_LOST} times, "
                    f"the last time on request {recorded.request_id}",
                    "seaway validate shows what its gate says; do not deploy it",
                ) from error
        except (KeyError, TypeError, ValueError) as error:
            failure = f"its answer cannot be read: {type(error).__name__}"
        if said is not None and again is not None and self._done > 1:  # the first ones warm both up
            self._timed[0] += recorded.rows
            self._timed[1] += again[1]
            self._timed[2] += self._candidate.cpu_s
        inputs = {
            name.removeprefix(_INPUT): cells
            for name, cells in recorded.cells.items()
            if name.startswith(_INPUT)
        }
        return Replayed(
            recorded.request_id, recorded.at_s, recorded.rows, live, said, failure, inputs, truths_of
        )

    def compared_with(self, recorded: Sequence[Recorded]) -> str:
        """What the candidate stands beside, in words."""
        if self._question.rerun and self._before is not None:
            return f"{self._before.bundle.ref}, run again"
        numbers = sorted({one.revision for one in recorded})
        shown = ", ".join(map(str, numbers))
        return f"the recorded answers of revision{'s' if len(numbers) > 1 else ''} {shown}"

    def cost(self) -> Cost | None:
        """Of the requests that both answered here."""
        rows, live_s, candidate_s = self._timed
        return Cost(int(rows), live_s, candidate_s) if rows else None

    def nothing(self) -> tuple[str, str]:
        """Cause and fix where no request could be used."""
        if self._redacted:
            return (
                f"the answers are redacted ({', '.join(self._redacted)}), so they were not captured",
                "--rerun runs the live version again instead",
            )
        whys = "; ".join(f"{count}: {why}" for why, count in self._left.most_common(3) if count)
        return f"none of the recorded requests can be used ({whys})", "--rerun, or another candidate"

    def _again(self, recorded: Recorded) -> tuple[Said, float] | None:
        """What is live says now, and the processor time it took; None where it cannot be asked this."""
        model = self._before
        self._timed_requests += 1
        if model is None or model.lost >= _MOST_LOST:
            return None
        if not self._question.rerun and self._timed_requests > _TIMED_REQUESTS:
            return None
        if self._before_inputs is None:
            self._before_inputs = Restoring(INPUT, model.signature.inputs, recorded.cells.keys())
        tensors = (
            None
            if self._before_inputs.missing
            else self._before_inputs.tensors(recorded.cells, recorded.rows)
        )
        if tensors is None:
            return None
        try:
            return model.ask(tensors, recorded.rows), model.cpu_s
        except (SeawayError, KeyError, TypeError, ValueError):
            return None

    def _recorded_answer(self, recorded: Recorded) -> Said:
        known = self._outputs.get(recorded.digest)
        if known is None:
            bundle = self._bundles.of(recorded.digest)
            if bundle is None:
                raise _Unusable("their version is no longer in the store")
            manifest = bundle.manifest
            spec = answer_spec(manifest.signature, manifest.classes)
            wanted = {spec.output, spec.confidence} if spec else {s.name for s in manifest.signature.outputs}
            columns = recorded.cells.keys()
            needed = [one for one in manifest.signature.outputs if one.name in wanted]
            found = Restoring(OUTPUT, needed, columns)
            if found.missing and spec is not None and spec.confidence not in (None, spec.output):
                # The answer is enough; how sure it was is an addition.
                needed = [one for one in needed if one.name == spec.output]
                spec = msgspec.structs.replace(spec, confidence=None)
                found = Restoring(OUTPUT, needed, columns)
            known = self._outputs[recorded.digest] = found, spec
        outputs, spec = known
        if outputs.missing:
            self._redacted = outputs.missing
            raise _Unusable("their answers are redacted")
        omitted = spec is not None and f"{OUTPUT}.{spec.output}" in recorded.omitted
        tensors = None if omitted else outputs.tensors(recorded.cells, recorded.rows)
        if tensors is None:
            raise _Unusable("their answers were too large to be captured")
        try:
            return reports.read(spec, tensors, recorded.rows)
        except (KeyError, TypeError, ValueError) as error:
            raise _Unusable("their answers cannot be read") from error


def _live_spec(revisions: Sequence[Revision], live: Version | None) -> Deployment | None:
    of_live = [one for one in revisions if live is not None and one.digest == live.digest]
    return of_live[-1].spec if of_live else None


def _masked(spec: Deployment, signature: Signature) -> bool:
    """Whether the candidate is asked other texts than what was live was."""
    masks = any(rule.startswith("text:") for rule in spec.record.rules.redact)
    return masks and any(one.dtype is DType.BYTES for one in signature.inputs)


def _with_slices(requests: Sequence[Replayed], chosen: Sequence[str]) -> list[Replayed]:
    """Each with the columns alone that slices are made of: the named ones, else those with the fewest values."""
    names = list(dict.fromkeys(name for one in requests for name in one.cells))
    wanted = [name for name in chosen if name in names]
    if not wanted:
        sizes = {name: len({cell for one in requests for cell in one.cells.get(name, ())}) for name in names}
        wanted = sorted(names, key=lambda name: (sizes[name], name))[:_MOST_COLUMNS]
    return [
        msgspec.structs.replace(one, cells={n: one.cells[n] for n in wanted if n in one.cells})
        for one in requests
    ]
