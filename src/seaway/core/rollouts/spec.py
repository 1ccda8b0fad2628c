"""The section `rollout` of endpoint.yaml: canary, blue/green, A/B and shadow are steps and checks, not kinds of their own."""

from __future__ import annotations

import datetime
import itertools
import math
from typing import Annotated, Final, Literal

import msgspec

from seaway.core.feedback import Outcome, outcome_text
from seaway.core.sections import Duration, FigureName, HeaderName, Percent, Section, percent, seconds

CheckName = Literal[
    "errors",
    "rejections",
    "latency",
    "predictions",
    "confidence",
    "agreement",
    "quality",
    "shadow_quality",
    "outcome",
    "cost",
]
CANARY_CHECKS: Final[tuple[CheckName, ...]] = ("errors", "latency")
"""What is judged where steps take a share of the traffic and no checks are named."""
_PAUSING: Final = ("predictions", "confidence")
OF_PAIRS: Final[tuple[CheckName, ...]] = ("agreement", "shadow_quality")
"""They compare what both revisions answered to the same request."""
_OF_SHARES: Final = ("predictions", "confidence", "agreement", "quality", "shadow_quality", "outcome")
"""Their harm is a share of all units, or of all answers; that of the others is relative to the stable revision's."""
CookieName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_CLOCK = Annotated[
    str, msgspec.Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", description="a time of day, such as 16:30")
]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Sticky(Section, frozen=True):
    """What keeps a caller on one revision while a rollout runs: a header or a cookie that names the user."""

    header: HeaderName | None = None
    cookie: CookieName | None = None

    def __post_init__(self) -> None:
        if (self.header is None) == (self.cookie is None):
            raise ValueError("exactly one of header and cookie is needed")


class RolloutCheck(Section, frozen=True):
    """A check with its options; docs/rollouts.md says what `harm` means for each.

    `plus` is harm in points beside the relative one. `strict` fails on any certain harm. `then` is what a failure does
    (answers that moved pause, all else goes back). An `advisory` check is judged and shown, and decides nothing. `by`,
    `tolerance` say when two answers agree; `good` is the outcome that is wanted, kept as its text. In its place `kpi` is a figure of feedback of
    which `better` is more or less, counted from 0 to `cap`. `gain` is how much better the candidate must be.
    """

    check: CheckName
    harm: Percent | None = None
    plus: Percent | None = None
    strict: bool = False
    then: Literal["rollback", "pause"] | None = None
    advisory: bool = False
    by: Literal["exact", "tolerance", "rank"] | None = None
    tolerance: Percent | None = None
    good: Outcome | None = None
    kpi: FigureName | None = None
    better: Literal["higher", "lower"] | None = None
    cap: Annotated[float, msgspec.Meta(gt=0, le=1e15)] | None = None
    gain: Percent | None = None

    def __post_init__(self) -> None:
        if self.good is not None:  # 1 and "1" are the same class, so both are the same file
            msgspec.structs.force_setattr(self, "good", outcome_text(self.good))
        allowed: dict[str, tuple[CheckName, ...]] = {
            "plus": ("errors", "rejections", "latency"),
            "by": ("agreement",),
            "tolerance": ("agreement",),
            "good": ("outcome",),
            "kpi": ("outcome",),
            "better": ("outcome",),
            "cap": ("outcome",),
            "gain": ("quality", "outcome"),
        }
        for option, checks in allowed.items():
            if getattr(self, option) is not None and self.check not in checks:
                raise ValueError(f"{option} is an option of {', '.join(checks)}, not of {self.check}")
        if self.check == "outcome" and (self.good is None) == (self.kpi is None):
            raise ValueError(
                "the check outcome needs good (the outcome that is wanted) or kpi (a figure of feedback)"
            )
        if self.kpi is None and (self.better is not None or self.cap is not None):
            raise ValueError("better and cap are options of a kpi")
        if self.gain is not None and (self.harm is not None or self.strict):
            raise ValueError("gain stands in place of harm and strict: less than it is what fails")
        if self.gain is not None and not 0 < percent(self.gain) < 100:
            raise ValueError("gain must be more than 0% and less than 100%")
        if self.strict and self.check in ("predictions", "confidence", "agreement"):
            raise ValueError(f"{self.check} has no strict form: say how much harm is tolerated")
        if self.harm is not None and percent(self.harm) <= 0 and not self.strict:
            raise ValueError("harm must be more than 0%, or nothing can ever pass; strict fails on any harm")
        if self.harm is not None and percent(self.harm) >= 100 and self.check in _OF_SHARES:
            raise ValueError(f"harm of {self.check} must be less than 100%, or nothing can ever fail")

    @property
    def harm_share(self) -> float | None:
        """As a share: 20% is 0.2; None where the check's own default stands."""
        return None if self.harm is None else percent(self.harm) / 100

    @property
    def gain_share(self) -> float | None:
        """As a share; None where the candidate need not be better."""
        return None if self.gain is None else percent(self.gain) / 100

    @property
    def on_failure(self) -> Literal["rollback", "pause"]:
        return self.then or ("pause" if self.check in _PAUSING else "rollback")


class Step(Section, frozen=True):
    """One step: the candidate's share, the least time on it, which of the checks must pass, and whether a person must
    approve before the next. What is left out is the rollout's."""

    to: Percent
    hold: Duration | None = None
    checks: tuple[CheckName, ...] | None = None
    approve: bool = False


class Flag(Section, frozen=True):
    """Requests that go to one arm whatever the shares: by a header, a cookie, or the language that the client prefers.

    They are no sample, so no check counts them.
    """

    to: Literal["candidate", "stable"]
    equals: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1, max_length=1000)]
    header: HeaderName | None = None
    cookie: CookieName | None = None
    language: bool = False

    def __post_init__(self) -> None:
        if sum((self.header is not None, self.cookie is not None, self.language)) != 1:
            raise ValueError("exactly one of header, cookie and language: true is needed")


class Freeze(Section, frozen=True):
    """When no share rises (a rollback always acts): on `days`, at times of day `start` to `end`, on dates `since` to
    `until` (the last day included); what is left out is always. All in UTC, or in hours from it."""

    days: tuple[Day, ...] = ()
    start: _CLOCK | None = None
    end: _CLOCK | None = None
    since: datetime.date | None = None
    until: datetime.date | None = None
    utc_offset: Annotated[float, msgspec.Meta(ge=-14, le=14)] = 0.0

    def __post_init__(self) -> None:
        if (self.start is None) != (self.end is None):
            raise ValueError("start and end belong together")
        if self.start is not None and self.start == self.end:
            raise ValueError("start and end are the same")
        if not self.days and self.start is None and self.since is None and self.until is None:
            raise ValueError("say when: days, start and end, since or until")
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ValueError("since is after until")

    def holds(self, now_s: float) -> bool:
        """Whether it is frozen then (seconds since 1970). A night that begins on a frozen day belongs to it."""
        zone = datetime.timezone(datetime.timedelta(hours=self.utc_offset))
        now = datetime.datetime.fromtimestamp(now_s, zone)
        day = now.date()
        if self.start is not None and self.end is not None:
            clock = now.strftime("%H:%M")
            if self.start < self.end:
                if not self.start <= clock < self.end:
                    return False
            elif clock < self.end:
                day -= datetime.timedelta(days=1)
            elif clock < self.start:
                return False
        if self.days and ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[day.weekday()] not in self.days:
            return False
        return (self.since is None or day >= self.since) and (self.until is None or day <= self.until)


class Inconclusive(Section, frozen=True):
    """What to do when a step's checks have not decided in time. `promote` goes on only where every check has seen both
    arms and none is broken: nothing is ever promoted on no data."""

    after: Duration = "24h"
    then: Literal["rollback", "promote", "pause"] = "rollback"

    @property
    def after_s(self) -> float:
        return seconds(self.after)


class Rollout(Section, frozen=True):
    """How traffic moves from the stable revision to the new one.

    `warmup` is left out of latency, of both arms, after the candidate's first request. `fallback` lets the stable
    revision answer what the candidate could not; it counts against the candidate.
    """

    steps: Annotated[tuple[Percent | Step, ...], msgspec.Meta(min_length=1, max_length=100)] = ("100%",)
    hold: Duration = "60s"
    bake: Duration = "10m"
    sticky: Sticky | None = None
    shadow: Percent = "0%"
    checks: Annotated[tuple[CheckName | RolloutCheck, ...], msgspec.Meta(max_length=20)] | None = None
    alpha: Percent = "5%"
    inconclusive: Inconclusive = Inconclusive()
    warmup: Duration = "30s"
    fallback: Literal["stable", "none"] = "stable"
    flags: Annotated[tuple[Flag, ...], msgspec.Meta(max_length=20)] = ()
    freeze: Annotated[tuple[Freeze, ...], msgspec.Meta(max_length=20)] = ()
    start: datetime.datetime | None = None

    def __post_init__(self) -> None:
        shares = self.steps_percent
        if shares[-1] != 100 or any(a >= b for a, b in itertools.pairwise(shares)):
            shown = ", ".join(f"{share:g}%" for share in shares)
            raise ValueError(f"steps must rise and end with 100%, not {shown}")
        if seconds(self.hold) <= 0:
            raise ValueError("hold must be more than 0")
        if not 0 < percent(self.alpha) < 100:
            raise ValueError("alpha must be more than 0% and less than 100%")
        if self.start is not None and self.start.tzinfo is None:
            raise ValueError("start needs its offset from UTC, such as 2026-11-23T09:00:00Z")
        names = [check.check for check in self.all_checks]
        if len(set(names)) != len(names):
            raise ValueError("a check is named twice")
        for step in self.all_steps:
            unknown = [name for name in step.checks or () if name not in names]
            if unknown:
                raise ValueError(f"the step to {step.to} names {unknown[0]}, which is not among the checks")
            if step.hold is not None and seconds(step.hold) <= 0:
                raise ValueError("hold must be more than 0")
        for name in OF_PAIRS:
            if name in names and percent(self.shadow) == 0:
                raise ValueError(f"the check {name} needs a shadow share, such as shadow: 10%")
        if unjudged := self._unjudged():
            raise ValueError(unjudged)
        holds = (self.hold, *(step.hold for step in self.all_steps if step.hold is not None))
        if any(seconds(hold) > self.inconclusive.after_s for hold in holds):
            raise ValueError("inconclusive.after is shorter than hold")

    def _unjudged(self) -> str | None:
        """Checks that no step could ever judge: what a file asks for must not be passed over in silence. In the bake there are
        the errors."""
        names, shares = [check.check for check in self.all_checks], self.steps_percent
        pairs = [name for name in names if name in OF_PAIRS]
        if pairs and shares[0] == 100:
            return f"{', '.join(pairs)} would never be judged: put a step before 100%, such as 0%"
        others = [name for name in names if name not in OF_PAIRS and name != "errors"]
        if others and not any(0 < share < 100 for share in shares):
            return f"{', '.join(others)} would never be judged: no step is between 0% and 100%, where both revisions answer"
        return None

    @property
    def all_steps(self) -> tuple[Step, ...]:
        """With what the rollout says where a step does not."""
        return tuple(step if isinstance(step, Step) else Step(to=step) for step in self.steps)

    @property
    def all_checks(self) -> tuple[RolloutCheck, ...]:
        """As named; where none are, those of a canary if any step takes a share."""
        named: tuple[CheckName | RolloutCheck, ...]
        if self.checks is not None:
            named = self.checks
        else:
            named = CANARY_CHECKS if any(0 < share < 100 for share in self.steps_percent) else ()
        return tuple(check if isinstance(check, RolloutCheck) else RolloutCheck(check) for check in named)

    @property
    def gradual(self) -> bool:
        """Whether there is anything to decide between the preparation of a candidate and its promotion, or after it."""
        return self.steps_percent != (100.0,) or bool(self.all_checks)

    @property
    def steps_percent(self) -> tuple[float, ...]:
        return tuple(percent(step.to if isinstance(step, Step) else step) for step in self.steps)

    @property
    def bake_s(self) -> float:
        return seconds(self.bake)

    @property
    def warmup_s(self) -> float:
        return seconds(self.warmup)

    @property
    def alpha_share(self) -> float:
        return percent(self.alpha) / 100

    @property
    def shadow_percent(self) -> float:
        return percent(self.shadow)

    @property
    def start_s(self) -> float:
        """Seconds since 1970; minus infinity where it may begin at once."""
        return -math.inf if self.start is None else self.start.timestamp()

    def hold_s(self, step: int) -> float:
        """The least time on a step, by its place; 0 before the first (-1).

        0 also for one to 0 % that mirrors nothing, waits for nobody and has no hold of its own: there is nothing to see.
        """
        if step < 0:
            return 0.0
        wanted = self.all_steps[step]
        if wanted.hold is None and percent(wanted.to) == 0 and not self.shadow_percent and not wanted.approve:
            return 0.0
        return seconds(wanted.hold or self.hold)

    def gating(self, step: int) -> tuple[RolloutCheck, ...]:
        """The checks that must pass before a step is left, advisory ones are not among them; none before the first (-1).

        At 0 % the candidate answers nobody, so only what compares mirrored answers can be judged.
        """
        if step < 0:
            return ()
        wanted = self.all_steps[step].checks
        checks = (c for c in self.all_checks if not c.advisory and (wanted is None or c.check in wanted))
        if self.steps_percent[step] == 0:
            checks = (c for c in checks if c.check in OF_PAIRS)
        return tuple(checks)

    def frozen(self, now_s: float) -> bool:
        """Whether no share may rise now."""
        return any(one.holds(now_s) for one in self.freeze)
