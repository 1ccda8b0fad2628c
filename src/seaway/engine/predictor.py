"""One model's way from tensors to tensors: checks, the lane, and what was learned of the model.

Used by the doors through `Predictor.submit`, on the event loop's thread.
"""

from __future__ import annotations

from seaway.core.answers import AnswerSpec
from seaway.core.bundles import Digest
from seaway.core.errors import SeawayError, TemporaryError
from seaway.core.ports import Clock, LoadedModel, StreamingModel
from seaway.core.tensors import InputCheck
from seaway.core.traffic import Limits
from seaway.engine import batches
from seaway.engine.answers import Answers, Given
from seaway.engine.batcher import Batcher
from seaway.engine.batches import Executor
from seaway.engine.cost import CostModel
from seaway.engine.facts import Facts
from seaway.engine.inline import InlineLane
from seaway.engine.jobs import Job, Learned, Screen, Unscreened, Unwatched, Watcher
from seaway.engine.lanes import ThreadLane
from seaway.engine.streams import Stream, Streams


class Predictor:
    """Answers jobs for one model of one endpoint; one that fails never fails its neighbours.

    Cheap models run *inline*: all jobs of one tick of the event loop are one batch on its own thread. All others run
    on a *thread*, batched as `Batcher` decides. A model that computes too long inline leaves that lane.
    """

    def __init__(
        self,
        model: LoadedModel,
        digest: Digest,
        limits: Limits,
        clock: Clock,
        watcher: Watcher | None = None,
        screen: Screen | None = None,
        learned: Learned | None = None,
        answer: AnswerSpec | None = None,
    ) -> None:
        """Without `learned` the model starts on a thread, where its speed is measured; `answer` is what `given` keeps."""
        signature = model.signature
        known = learned or Learned()
        watcher = watcher or Unwatched()
        self._deadline_s = limits.deadline_s
        self._screen = screen or Unscreened()
        check = InputCheck(signature)
        self._rows = check.rows
        self._missing = check.missing
        self._closed = False
        self._cost = CostModel(known.a_s, known.b_s, known.samples)
        together = known.batchable and batches.batchable(signature)
        self._batcher = Batcher(limits, self._cost, batches.shape_key(signature), together, self._dropped)
        self._answers = Answers(self._screen, answer)
        executor = Executor(model, digest, clock, watcher)
        self._thread = ThreadLane(executor, self._batcher, clock, self._answers, self._learned_more)
        # A model of many steps takes as long as its client asks: never on the event loop's thread.
        inline_allowed = known.inline_allowed and not isinstance(model, StreamingModel)
        self._inline = InlineLane(
            signature,
            executor,
            self._batcher,
            limits,
            clock,
            self._answers,
            self._move,
            inline_allowed,
            known.inline_left,
        )
        self._streams = Streams(model, limits, digest, watcher, self._screen)

    @property
    def stuck(self) -> bool:
        """A run does not end, though its deadline is long over, or the step of a stream that was left long ago."""
        return self._thread.stuck or self._streams.stuck

    @property
    def waiting(self) -> bool:
        """Whether jobs wait behind those that run."""
        return bool(self._inline.waiting) or self._batcher.backlog.jobs > 0

    @property
    def given(self) -> Given:
        """What was answered, for the recorder."""
        return self._answers.given

    def refuse(self, caller: str, received_s: float) -> None:
        """Raise `TemporaryError("overloaded")` where every job of this caller would be refused now. To be asked before
        a request is decoded; that it does not raise promises nothing."""
        if not self._inline.open:
            self._thread.refuse(caller, received_s + self._deadline_s)

    def submit(self, job: Job) -> None:
        """Take one job; `job.done` is called later, on the event loop's thread, where this is called too.

        A `job.deadline_s` that is set already, and earlier than the endpoint's, is kept.

        Raises `UserError` where the tensors do not fit or the screen refuses, and `TemporaryError` (`overloaded`,
        `deadline_exceeded`, `not_ready`); then `job.done` is not called.
        """
        job.rows = rows = self._rows(job.tensors)
        if not job.checked:
            self._missing(job.tensors)
        deadline_s = job.received_s + self._deadline_s
        if not 0 < job.deadline_s < deadline_s:
            job.deadline_s = deadline_s
        self._screen.admit(job)
        if rows == 0:
            job.alone = True
        inline = self._inline
        if inline.open and rows <= inline.most_rows and inline.take(job):
            return
        self._refuse_if_closed()
        self._thread.submit(job)

    def stream(self, job: Job) -> Stream:
        """The replies of a `core.ports.StreamingModel`, as they come; `limits.deadline_s` is for each of them.

        Raises as `submit` does, `UserError("stream_only")` where the model does not stream; `job.done` is never called.
        Close the stream (`aclose`) to leave it early: the work then ends within one step.
        """
        job.rows = self._rows(job.tensors)
        if not job.checked:
            self._missing(job.tensors)
        self._screen.admit(job)
        self._refuse_if_closed()
        try:
            return self._streams.open(job)
        except TemporaryError:
            self._answers.counts.refused += 1
            raise

    def learned(self) -> Learned:
        """What the next predictor of this model may start from."""
        cost, inline = self._cost, self._inline
        return Learned(cost.a_s, cost.b_s, cost.samples, inline.allowed, self._batcher.together, inline.left)

    def facts(self) -> Facts:
        """The numbers of this moment."""
        counts, cost = self._answers.counts, self._cost
        inline, streams = self._inline.waiting, self._streams.open_count
        return Facts(
            lane="inline" if self._inline.open else "thread",
            a_s=cost.a_s,
            b_s=cost.b_s,
            samples=cost.samples,
            batchable=self._batcher.together,
            stuck=self.stuck,
            batches=tuple(counts.batches),
            rows=counts.rows,
            queue_sum_s=counts.queue_sum_s,
            queue_counts=tuple(counts.queue_counts),
            run_sum_s=counts.run_sum_s,
            run_counts=tuple(counts.run_counts),
            refused=counts.refused,
            dropped_late=counts.dropped_late,
            in_flight=len(inline) + len(self._thread.open) + streams,
            queued_rows=sum(job.rows for job in inline) + self._batcher.backlog.rows,
            streams=streams,
        )

    def close(self) -> None:
        """Take no more jobs. Those that run are still answered; those that wait get `not_ready`. Idempotent."""
        self._closed = True
        for job in (*self._inline.close(), *self._thread.close()):
            self._answers.fail(job, _gone())
        self._streams.close()

    def _move(self, job: Job) -> None:
        """From the inline lane to the thread lane; a refusal is now an answer."""
        if job.cancelled:
            return
        try:
            self._refuse_if_closed()
            self._thread.submit(job)
        except SeawayError as error:
            self._answers.fail(job, error)

    def _dropped(self, job: Job, error: SeawayError | None) -> None:
        self._thread.drop(job, error)

    def _learned_more(self) -> None:
        self._inline.choose()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise _gone()


def _gone() -> TemporaryError:
    return TemporaryError("not_ready", "the model was taken away", "try again")
