"""Simulated seconds of two revisions under one rollout, for tests of what is judged of them. Seeded."""

from __future__ import annotations

import msgspec
import numpy as np

from seaway.core import ledger
from seaway.core.ledger import Counts, PairCounts, Second
from seaway.core.rollouts import judging, verdicts
from seaway.core.rollouts.judgement import CheckJudgement, Judgement
from seaway.core.rollouts.judging import Evidence
from seaway.core.rollouts.spec import Rollout
from seaway.core.rollouts.state import RolloutPhase, RolloutState

START_S = 1_800_000_000
STABLE, CANDIDATE = 1, 2


class Model(msgspec.Struct, frozen=True):
    """How a revision answers: shares of requests, median of log-normal times, shares of its classes."""

    errors: float = 0.01
    rejected: float = 0.0
    median_s: float = 0.020
    classes: tuple[float, ...] = (0.5, 0.3, 0.2)
    invalid: float = 0.0
    cost_s: float = 0.001
    sure: float = 0.8


GOOD = Model()


class World:
    """A rollout that is fed second by second; `rate` requests a second, of which `share` are the candidate's."""

    def __init__(
        self,
        checks: tuple[object, ...] = ("errors", "latency"),
        *,
        rate: float = 400.0,
        share: float = 0.5,
        seed: int = 1,
        past_s: int = 600,
        stable: Model = GOOD,
        candidate: Model = GOOD,
        **options: object,
    ) -> None:
        steps = options.pop("steps", [f"{share * 100:g}%", "100%"] if share < 1 else ["100%"])
        said = {"steps": steps, "checks": list(checks), "warmup": "0s", **options}
        self.spec = msgspec.convert(said, Rollout)
        self.draw = np.random.default_rng(seed)
        self.rate, self.share = rate, share
        self.stable, self.candidate = stable, candidate
        self.state = RolloutState(
            CANDIDATE, STABLE, RolloutPhase.RUNNING, START_S, 0, share * 100, float(START_S)
        )
        past = tuple(Second(START_S - past_s + k, self.counts(stable, int(rate))) for k in range(past_s))
        self.evidence = judging.begin(self.spec, CANDIDATE, STABLE, START_S, past, False)
        self.evidence = judging.at_step(self.evidence, 0, share, START_S)
        self.now_s = START_S

    def counts(self, model: Model, n: int) -> Counts:
        failed = int(self.draw.binomial(n, model.errors))
        rejected = int(self.draw.binomial(n - failed, model.rejected))
        good = n - failed - rejected
        bins = ledger.count_latency(model.median_s * np.exp(0.5 * self.draw.standard_normal(good)))
        costs = ledger.count_latency(model.cost_s * np.exp(0.3 * self.draw.standard_normal(good)))
        classes = self.draw.multinomial(good, model.classes)
        sure = np.clip(np.round(1000 * self.draw.normal(model.sure, 0.05, good)), 0, 1000).astype(int)
        return Counts(
            finished=n,
            failed=failed,
            rejected=rejected,
            invalid=int(self.draw.binomial(good, model.invalid)),
            rows=good,
            latency=ledger.sparse(bins),
            answers=tuple((f"c{k}", int(count)) for k, count in enumerate(classes) if count),
            cost=ledger.sparse(costs),
            confidence=ledger.sparse(
                {int(k): int(c) for k, c in zip(*np.unique(sure, return_counts=True), strict=True)}
            ),
        )

    def second(self, *, split: float | None = None) -> tuple[Second, Second]:
        """One more second of the candidate and the stable; `split` is the share that really comes."""
        n = int(self.draw.poisson(self.rate))
        ours = int(self.draw.binomial(n, self.share if split is None else split))
        found = self.counts(self.candidate, ours), self.counts(self.stable, n - ours)
        at_s, self.now_s = self.now_s, self.now_s + 1
        return Second(at_s, found[0], found[0]), Second(at_s, found[1], found[1])

    def run(self, looks: int, *, split: float | None = None, pairs: PairCounts | None = None) -> Judgement:
        """So many more looks; the judgement after the last."""
        for _ in range(looks):
            ours, theirs = self.second(split=split)
            if pairs is not None:
                ours = msgspec.structs.replace(ours, pairs=pairs)
            self.feed(ours, theirs)
        return self.judge()

    def feed(self, ours: Second | None, theirs: Second | None) -> None:
        at_s = next(one.at_s for one in (ours, theirs) if one is not None)
        self.evidence = judging.seen(self.evidence, self.spec, at_s, ours, theirs, self.state.accepted)

    def judge(self, silent: str | None = None) -> Judgement:
        return verdicts.judge(self.evidence, self.spec, self.state, silent)

    def resumed(self) -> None:
        """The evidence as another process reads it."""
        self.evidence = msgspec.json.decode(msgspec.json.encode(self.evidence), type=Evidence)


def check(judgement: Judgement, name: str) -> CheckJudgement:
    found = judgement.check(name)
    assert found is not None
    return found
