"""Fixed values of rollouts for the tests of the command line."""

from __future__ import annotations

import msgspec
import watch_values as v

from seaway.control.rollouts import views, waiting
from seaway.core.checks import Verdict
from seaway.core.events import Event, EventKind, timestamp
from seaway.core.rollouts.judgement import CheckJudgement, Judgement
from seaway.core.rollouts.spec import Rollout
from seaway.core.rollouts.state import RolloutPhase, RolloutState

SPEC = Rollout(
    steps=("1%", "5%", "25%", "100%"),
    hold="60s",
    checks=("errors", "latency", "predictions", "agreement"),
    shadow="10%",
)
STATE = RolloutState(4, 3, RolloutPhase.RUNNING, v.NOW_S - 300, step=2, percent=25.0, since_s=v.NOW_S - 41.25)


def check(name: str, verdict: Verdict = Verdict.INCONCLUSIVE, **more: object) -> CheckJudgement:
    values: dict[str, object] = {
        "check": name,
        "verdict": verdict,
        "words": f"{name}: so and so",
        "gating": True,
        "on_failure": "rollback",
        "weight": 0.25,
        "log_fail": 0.0,
        "log_pass": 1.5,
    }
    return CheckJudgement(**{**values, **more})  # type: ignore[arg-type]


CHECKS = (
    check("errors", Verdict.PASSED, candidate=3100, candidate_bad=4, stable=58900, stable_bad=60, low=-0.001, high=0.0011, margin=0.002),
    check("latency", candidate=3100, candidate_bad=31, stable=58900, stable_bad=580, high=0.004, margin=0.0, more=2000, more_s=483.0),
    check("predictions", candidate=3100, stable=58900, margin=0.1, more=300, more_s=70.0),
    check("agreement", Verdict.ERRORED, fault="no pair for 3 looks", words="", weight=0.25, log_pass=0.0),
)  # fmt: skip


def judgement(looks: int = 41, step: int = 2, checks: tuple[CheckJudgement, ...] = CHECKS) -> Judgement:
    return Judgement(step, v.THROUGH_S - 41 + looks, looks, Verdict.INCONCLUSIVE, checks)


def status(judged: Judgement | None = None, spec: Rollout = SPEC, **changes: object) -> views.RolloutStatus:
    state = msgspec.structs.replace(STATE, **changes)  # type: ignore[arg-type]
    return views.RolloutStatus(
        endpoint="prices",
        state=state,
        spec=spec,
        candidate=views.Arm(4, v.digest(4), "prices:v4"),
        stable=views.Arm(3, v.digest(3), "prices:v3"),
        waiting=waiting.waiting(state, spec, judged, v.NOW_S, v.NOW_S + 363),
        now_s=v.NOW_S,
        judgement=judged,
    )


def event(
    seq: int,
    kind: EventKind,
    message: str,
    ago_s: float,
    revision: int = 4,
    by: str = "seaway",
    percent: str | None = None,
) -> Event:
    return Event(
        at=timestamp(v.NOW_S - ago_s),
        kind=kind,
        principal=by,
        endpoint="prices",
        revision=revision,
        ref=f"prices:v{revision}",
        message=message,
        details={} if percent is None else {"percent": percent},
        seq=seq,
    )
