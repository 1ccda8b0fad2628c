"""What the evidence of a rollout says at one moment: read by the decision, shown to people, kept look by look."""

from __future__ import annotations

from typing import Literal

import msgspec

from seaway.core.checks import Verdict
from seaway.core.rollouts.spec import CheckName


class CheckJudgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One check. `words` is one sentence for a person.

    `gating` says whether it must pass in this step, `weight` is its share of alpha (0 where it is advisory). `log_fail` is
    log E of harm now, `log_pass` the highest log E of no harm in this step. Units and bad ones are of the whole rollout
    (for pairs: `candidate` pairs, `candidate_bad` of them differ). `low` and `high` bound the harm, None without a limit;
    `margin` is what is tolerated on the same scale (of a KPI: a share of the stable's). `means` are a KPI's, of both arms. `more` is how many more candidate units a verdict takes, `more_s` how
    long at today's traffic, and `towards` which one; None where it cannot be told. `part` names what of the check the
    figures are of, such as p99; "" where it has one alone.
    """

    check: CheckName
    verdict: Verdict
    words: str
    gating: bool
    on_failure: Literal["rollback", "pause"]
    weight: float
    log_fail: float
    log_pass: float
    candidate: float = 0.0
    candidate_bad: float = 0.0
    stable: float = 0.0
    stable_bad: float = 0.0
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    means: tuple[float, float] | None = None
    more: int | None = None
    more_s: float | None = None
    towards: Literal["passed", "failed"] | None = None
    fault: str | None = None
    part: str = ""


class Judgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All checks at one moment.

    `verdict` is that of the gating checks together; `cause` the check with most evidence of harm, where it failed.
    `paused_by` names a check that failed and only pauses. `through_s` is the newest second (since 1970) that is in it,
    `looks` counts them, `step` is the step that the pass side speaks of. `guard` says why nothing can be believed, None
    where it can. `seen` says whether every gating check has seen both arms in this step, and none is broken.
    """

    step: int
    through_s: int
    looks: int
    verdict: Verdict
    checks: tuple[CheckJudgement, ...] = ()
    cause: CheckName | None = None
    paused_by: CheckName | None = None
    guard: str | None = None
    seen: bool = False
    log_evidence: float = 0.0

    def check(self, name: str) -> CheckJudgement | None:
        return next((one for one in self.checks if one.check == name), None)
