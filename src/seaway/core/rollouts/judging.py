"""The evidence of a rollout: begun with it, fed second by second, kept as JSON. Pure; `verdicts` judges it.

`control.rollouts.analysis` feeds it. The side that finds harm is never reset; the one that finds none begins anew at each
step (docs/statistics.md). Harm that was certain once is kept: its chance of a false alarm was spent at that moment.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from seaway.core.evidence import combining, dispersion, guards
from seaway.core.evidence.combining import Standing
from seaway.core.evidence.dispersion import Dispersion
from seaway.core.evidence.guards import SampleRatio
from seaway.core.evidence.pairs import PairLook
from seaway.core.ledger import Counts, PairCounts, Second
from seaway.core.rollouts import baking, margins, processes, standings
from seaway.core.rollouts import baseline as baselines
from seaway.core.rollouts import users as users_
from seaway.core.rollouts.baking import Baking
from seaway.core.rollouts.baseline import Baseline
from seaway.core.rollouts.processes import LabelLook, Process, Rates
from seaway.core.rollouts.rates import Heard
from seaway.core.rollouts.spec import CheckName, Rollout, RolloutCheck
from seaway.core.rollouts.users import Users


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One check. `peak_fail` is the highest log E of harm that there ever was."""

    check: CheckName
    process: Process
    peak_fail: float = 0.0


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that a rollout knows at the end of the second `through_s` (since 1970).

    `step` and `since_s` name the share that the pass side speaks of; `looks` counts the seconds, `step_looks` those of the
    step. `broken` is the check that made a rollback certain, `paused_by` the one that asks for a pause: both stay.
    `units` are those of candidate and stable in the whole rollout, `uncounted` the requests of seconds without any.
    `first_unit_s` is the second of the candidate's first unit. `spread` is that of the stable's errors, `before` its
    requests and bad ones, of the past too: the bake is measured by them. `users` guards the check of errors where arms are
    sticky, else it is None.
    """

    candidate: int
    stable: int
    started_s: float
    through_s: int
    checks: tuple[Kept, ...]
    baseline: Baseline
    spread: Dispersion
    before: tuple[int, int]
    step: int = -1
    since_s: float | None = None
    share: float = 0.0
    looks: int = 0
    step_looks: int = 0
    split: SampleRatio = SampleRatio()
    users: Users | None = None
    units: tuple[int, int] = (0, 0)
    uncounted: int = 0
    first_unit_s: int | None = None
    broken: CheckName | None = None
    paused_by: CheckName | None = None
    baking: Baking | None = None

    @property
    def unsound(self) -> bool:
        """Whether a guard says that the arms cannot be compared: then no evidence counts."""
        return self.split.wrong or (self.users is not None and self.users.unlike)


def begin(
    spec: Rollout,
    candidate: int,
    stable: int,
    since_s: float,
    past: Sequence[Second],
    numbers: bool,
) -> Evidence:
    """Before the first look. `past` are the stable's seconds before the rollout, of about an hour, in order; may be empty.

    `numbers` says whether its answers are numbers. Seconds from `since_s` on count.
    """
    found, seconds = baselines.of_past(past, numbers), tuple(past)
    checks = tuple(
        Kept(check.check, processes.begin(check, found, seconds, since_s)) for check in spec.all_checks
    )
    return Evidence(
        candidate=candidate,
        stable=stable,
        started_s=since_s,
        through_s=math.ceil(since_s) - 1,
        checks=checks,
        users=_users(checks, since_s) if spec.sticky is not None else None,
        baseline=found,
        spread=baselines.spread(seconds, _errors),
        before=(found.counts.finished, found.counts.bad),
    )


def at_step(evidence: Evidence, step: int, share: float, since_s: float, longest_s: float = 0.0) -> Evidence:
    """From here on the candidate has this share (0 to 1): every worker has routed by it since then.

    `longest_s` is how long a request may take: seconds in which one may end that was routed before are skipped. Without
    effect where it is so already.
    """
    if (evidence.step, evidence.since_s) == (step, since_s):
        return evidence
    return msgspec.structs.replace(
        evidence,
        step=step,
        since_s=since_s,
        share=share,
        step_looks=0,
        through_s=max(evidence.through_s, math.ceil(since_s + longest_s) - 1),
        checks=tuple(
            msgspec.structs.replace(kept, process=processes.next_step(kept.process))
            for kept in evidence.checks
        ),
        users=None if evidence.users is None else users_.next_step(evidence.users),
    )


def seen(
    evidence: Evidence,
    spec: Rollout,
    second_s: int,
    candidate: Second | None,
    stable: Second | None,
    accepted: Sequence[str] = (),
) -> Evidence:
    """With one more second; None is a revision that had no request in it. A second that was seen is not counted again.

    `accepted` are the checks whose failure a person has waved through.
    """
    if second_s <= evidence.through_s:
        return evidence
    ours, theirs = _units(candidate), _units(stable)
    first = evidence.first_unit_s
    if first is None and ours.finished:
        first = second_s
    warm = first is not None and second_s >= first + spec.warmup_s
    pairs = PairCounts() if candidate is None or candidate.pairs is None else candidate.pairs
    heard = Heard(second_s + 1.0, ours, theirs, pairs, warm, spec.sticky is not None)
    by_name = {check.check: check for check in spec.all_checks}
    fed = tuple(_fed(kept, by_name[kept.check], heard) for kept in evidence.checks)
    alike = evidence.users
    if alike is not None:
        alike = users_.seen(alike, heard.at_s, theirs, None if stable is None else stable.slice)
    after = msgspec.structs.replace(
        evidence,
        through_s=second_s,
        looks=evidence.looks + 1,
        step_looks=evidence.step_looks + 1,
        checks=fed,
        first_unit_s=first,
        uncounted=evidence.uncounted + _uncounted(candidate) + _uncounted(stable),
        before=(evidence.before[0] + theirs.finished, evidence.before[1] + theirs.bad),
        units=(evidence.units[0] + ours.finished, evidence.units[1] + theirs.finished),
        split=guards.assigned(evidence.split, evidence.share, ours.finished, ours.finished + theirs.finished),
        users=alike,
        spread=dispersion.seen(evidence.spread, heard.at_s, (), _errors(theirs)),
    )
    return _latched(_learnt(after, by_name, theirs, heard.at_s), spec, accepted)


def labelled(evidence: Evidence, spec: Rollout, told: LabelLook, accepted: Sequence[str] = ()) -> Evidence:
    """With labels that came since the last time."""
    by_name = {check.check: check for check in spec.all_checks}
    fed = []
    for kept in evidence.checks:
        if kept.check in ("quality", "outcome"):
            process = processes.labelled(kept.process, by_name[kept.check], told)
            kept = _peaked(msgspec.structs.replace(kept, process=process))
        fed.append(kept)
    return _latched(msgspec.structs.replace(evidence, checks=tuple(fed)), spec, accepted)


def paired(
    evidence: Evidence,
    spec: Rollout,
    look: PairLook | None,
    lost: int,
    fault: str | None,
    accepted: Sequence[str] = (),
) -> Evidence:
    """With labels of mirrored requests, as `labelled`; of `lost` more the mirrored answer is not there."""
    fed = tuple(
        _peaked(msgspec.structs.replace(kept, process=processes.paired(kept.process, look, lost, fault)))
        for kept in evidence.checks
    )
    return _latched(msgspec.structs.replace(evidence, checks=fed), spec, accepted)


def baked(evidence: Evidence, spec: Rollout, second_s: int, candidate: Second | None) -> Evidence:
    """With one more second of the bake, in which the candidate has all traffic: its errors against the stable's before."""
    if second_s <= evidence.through_s:
        return evidence
    now = evidence.baking
    if now is None:
        check = next((one for one in spec.all_checks if one.check == "errors"), RolloutCheck("errors"))
        divisor = dispersion.around_mean(evidence.spread.stable)
        now = baking.begin(*evidence.before, margins.margin_of(check), divisor)
    counts = Counts() if candidate is None else candidate.counts
    return msgspec.structs.replace(
        evidence, through_s=second_s, looks=evidence.looks + 1, baking=baking.seen(now, counts)
    )


def _fed(kept: Kept, check: RolloutCheck, heard: Heard) -> Kept:
    return _peaked(msgspec.structs.replace(kept, process=processes.seen(kept.process, check, heard)))


def _peaked(kept: Kept) -> Kept:
    now = standings.of(kept.process, kept.check, 1.0).log_fail
    return kept if not now > kept.peak_fail else msgspec.structs.replace(kept, peak_fail=now)


def _learnt(
    evidence: Evidence, by_name: dict[CheckName, RolloutCheck], stable: Counts, at_s: float
) -> Evidence:
    """What later looks may use of this one: checks that know too little of the stable's past learn from it."""
    if all(processes.begun(kept.process) for kept in evidence.checks):
        return evidence
    known = evidence.baseline.with_look(stable)
    return msgspec.structs.replace(
        evidence,
        baseline=known,
        checks=tuple(
            kept
            if processes.begun(kept.process)
            else msgspec.structs.replace(kept, process=processes.begin(by_name[kept.check], known, (), at_s))
            for kept in evidence.checks
        ),
    )


def _latched(evidence: Evidence, spec: Rollout, accepted: Sequence[str]) -> Evidence:
    """With what has become certain: the sums of those that roll back, and of those that pause, each against 1/alpha."""
    if evidence.unsound:
        return evidence
    by_name = {check.check: check for check in spec.all_checks}
    found: dict[str, list[Standing]] = {"rollback": [], "pause": []}
    for kept in evidence.checks:
        check = by_name[kept.check]
        weight = standings.weight_of(spec, check, accepted)
        found[check.on_failure].append(standings.of(kept.process, kept.check, weight))
    limit = -math.log(spec.alpha_share)
    broken = evidence.broken
    if (broken is None or broken in accepted) and combining.log_sum(found["rollback"]) >= limit:
        broken = _named(evidence, found["rollback"])
    pausing = evidence.paused_by
    if (pausing is None or pausing in accepted) and combining.log_sum(found["pause"]) >= limit:
        pausing = _named(evidence, found["pause"])
    return msgspec.structs.replace(evidence, broken=broken, paused_by=pausing)


def _named(evidence: Evidence, found: Sequence[Standing]) -> CheckName:
    name = combining.loudest(found)
    return next(kept.check for kept in evidence.checks if kept.check == name)


def _users(checks: Sequence[Kept], since_s: float) -> Users | None:
    """The guard of the check of errors, where there is one."""
    for kept in checks:
        if kept.check == "errors" and isinstance(kept.process, Rates):
            return users_.begin(kept.process.parts[0].arms, since_s)
    return None


def _units(second: Second | None) -> Counts:
    """What counts: while a rollout is judged, units are counted apart; a second without them has none."""
    return Counts() if second is None or second.units is None else second.units


def _uncounted(second: Second | None) -> int:
    if second is None or (second.units is not None and second.units.finished):
        return 0
    return second.counts.finished


def _errors(counts: Counts) -> tuple[float, float]:
    return counts.bad, counts.finished - counts.bad
