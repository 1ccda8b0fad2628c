"""What Prometheus is told of rollouts: GET /metrics of the control API, which every worker's /metrics holds, too.

Of each endpoint its last rollout alone: the labels stay as many as there are endpoints, whatever is deployed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from seaway.control import auth
from seaway.control.rollouts import evidence_files, waiting
from seaway.core.checks import Verdict
from seaway.core.events import ROLLOUT_ENDS, EventKind
from seaway.core.observed import Snapshot
from seaway.core.ports import Clock, StateStore
from seaway.core.rollouts.state import RolloutPhase
from seaway.wire import metric_names, prometheus
from seaway.wire.prometheus import Family, Sample

_FRESH_S: Final = 1.0
"""How old a text may be: many scrapers cost no more than one."""
_PAGE: Final = 1000
_END_WORDS: Final = {kind: kind.removeprefix("rollout_") for kind in sorted(ROLLOUT_ENDS)}


class RolloutMetrics:
    """The rollouts of one home in Prometheus text. Lives on one event loop; what blocks runs on threads."""

    def __init__(self, store: StateStore, evidence: Path, clock: Clock) -> None:
        """`evidence` is HOME/rollouts, where `analysis` keeps what it judged."""
        self._store = store
        self._evidence = evidence
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._ends: Counter[tuple[str, EventKind]] = Counter()
        self._counted = 0
        self._made_s = 0.0
        self._text: str | None = None

    async def text(self, principal: auth.Principal, seen: Snapshot | None) -> str:
        """The text, a second old at most; `seen` is what the control loop observed last, None before it did.

        Ends are counted in the log of events, so they go on over restarts; the first text reads all of it. Raises what the
        store raises.
        """
        auth.authorize(principal, auth.Action.READ, "endpoints")
        async with self._one_at_a_time:
            now_s = self._clock.monotonic_s()
            if self._text is None or now_s - self._made_s >= _FRESH_S:
                self._text, self._made_s = await asyncio.to_thread(self._render, seen), now_s
            return self._text

    def _render(self, seen: Snapshot | None) -> str:
        self._count_ends()
        processes = metric_names.CONTROL_PROCESSES.family()
        processes.samples.append(Sample({}, 1))
        return prometheus.render([processes, *self._families(seen)])

    def _count_ends(self) -> None:
        while page := self._store.events(after=self._counted, limit=_PAGE):
            for event in page:
                if event.kind in ROLLOUT_ENDS and event.endpoint is not None:
                    self._ends[event.endpoint, event.kind] += 1
            self._counted = page[-1].seq

    def _families(self, seen: Snapshot | None) -> Iterable[Family]:
        phases, shares = metric_names.ROLLOUT_PHASE.family(), metric_names.ROLLOUT_SHARE.family()
        approvals, verdicts = metric_names.ROLLOUT_APPROVAL.family(), metric_names.CHECK_VERDICT.family()
        ends = metric_names.ROLLOUTS.family()
        for state in () if seen is None else seen.states:
            # From nought on: an end is seen as one more, also where the rollout lasted less than the time between scrapes.
            ends.samples.extend(
                Sample({"endpoint": state.endpoint, "end": word}, self._ends[state.endpoint, kind])
                for kind, word in _END_WORDS.items()
            )
            rollout = state.rollout
            if seen is None or rollout is None:
                continue
            of = {"endpoint": state.endpoint, "revision": str(rollout.candidate)}
            phases.samples.extend(_one_hot(of, "phase", RolloutPhase, rollout.phase))
            # After its end a later rollback may want another revision.
            wanted = rollout.judged or state.desired == rollout.candidate
            shares.samples.append(Sample(of, rollout.percent / 100 if wanted else 0.0))
            judgement = evidence_files.latest(self._evidence, state.endpoint, rollout.candidate)
            candidate = seen.revisions.get((state.endpoint, rollout.candidate))
            approval = candidate is not None and waiting.for_approval(
                rollout, candidate.spec.rollout, judgement, seen.now_s
            )
            approvals.samples.append(Sample(of, int(approval)))
            for one in () if judgement is None else judgement.checks:
                verdicts.samples.extend(_one_hot({**of, "check": one.check}, "verdict", Verdict, one.verdict))
        return phases, shares, approvals, verdicts, ends


def _one_hot(
    of: dict[str, str], label: str, words: Iterable[RolloutPhase | Verdict], now: RolloutPhase | Verdict
) -> Iterable[Sample]:
    return (Sample({**of, label: str(word)}, int(word is now)) for word in words)
