"""One rollout as it is followed second by second: its evidence in memory and on disk. Used by `analysis`.

The evidence goes on where it stopped: `N.evidence.json` holds it with the second that it reaches, and the workers' seconds
after that are asked for again, those of a longer absence read from HOME/records. So each second counts once, whenever the
process was killed. What is lost all the same was lost by the clock, never by how requests ended.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from seaway.control import watching
from seaway.control.rollouts import evidence_files, past_labels
from seaway.control.rollouts.evidence_files import Stored
from seaway.control.rollouts.labels import Labels, LabelsAsked
from seaway.control.rollouts.paired_labels import PairedLabels, PairsAsked
from seaway.control.watching import Told
from seaway.core import routing
from seaway.core.checks import Verdict
from seaway.core.evidence.arms import SILENT_LOOKS
from seaway.core.ledger import Page, Second
from seaway.core.rollouts import judging, verdicts
from seaway.core.rollouts.judgement import Judgement
from seaway.core.rollouts.judging import Evidence
from seaway.core.rollouts.spec import Rollout
from seaway.core.rollouts.state import RolloutPhase, RolloutState
from seaway.monitor.recording import seconds as recorded

_PAST_S: Final = 3600
"""How long before its begin a rollout looks at the stable revision."""
_ABSENT_S: Final = 60
"""Beyond it missed seconds are read from the disk."""
_FRESH_S: Final = 15
"""Seconds that may not be on the disk yet, but in every worker's memory."""
_FURTHEST_S: Final = 3600
"""Missed seconds before that are given up."""
_SET_BACK_S: Final = 2.0
_SAVE_S: Final = 5.0
_EVERY_LOOK: Final = 600
_log = logging.getLogger(__name__)


class Moment(msgspec.Struct, frozen=True):
    """What is known of a rollout at one time. `longest_s` is how long a request may take; `numbers` whether the stable's
    answers are numbers; `told` what the workers answered."""

    now_s: float
    rollout: RolloutState
    spec: Rollout
    told: Told
    numbers: bool
    longest_s: float


class Following:
    """The evidence of one rollout. `look` blocks, and is called by one thread at a time."""

    def __init__(
        self, endpoint: str, rollout: RolloutState, rollouts: Path, records: Path, labels: Labels
    ) -> None:
        """`rollouts` and `records` are HOME/rollouts and HOME/records. Blocking: reads what an earlier process saw."""
        self._endpoint = endpoint
        self._started_s = rollout.started_s
        self._candidate = rollout.candidate
        self._rollouts = rollouts
        self._records = records
        self._labels = labels
        self._pairs = PairedLabels(records)
        self._stored = self._read()
        self._known: set[int] = set()
        self._whole_s: float | None = None
        self._saved_s = 0.0
        self._failing: str | None = None
        self.judgement: Judgement | None = None
        self.was_isolated: bool | None = None if self._stored is None else self._stored.was_isolated
        """Whether the candidate ran in a process of its own before it got a share; None while that is not known."""

    def is_of(self, rollout: RolloutState) -> bool:
        """Whether this is the rollout that is followed here."""
        return (self._candidate, self._started_s) == (rollout.candidate, rollout.started_s)

    @property
    def through_s(self) -> int | None:
        """The newest second that is in the evidence; None before there is any."""
        return None if self._stored is None else self._stored.evidence.through_s

    def look(self, moment: Moment) -> Judgement | None:
        """Take in what is new, and judge. None before the first step: nothing counts yet."""
        since_s = moment.rollout.since_s
        silent, until_s = self._heard(moment)
        if since_s is None or moment.rollout.preparing:
            if self.judgement is None and self._stored is not None:
                # An earlier process gathered it, and harm may be in it already.
                known = self._stored.evidence
                self.judgement = verdicts.judge(known, moment.spec, moment.rollout, silent)
            return self.judgement
        stored = self._stored or self._begun(moment, since_s)
        before = stored.evidence
        evidence = judging.at_step(
            before, moment.rollout.step, moment.rollout.percent / 100, since_s, moment.longest_s
        )
        evidence = self._folded(evidence, moment, until_s)
        stored = self._labelled(msgspec.structs.replace(stored, evidence=evidence), moment, since_s)
        stored = self._paired(stored, moment)
        self._stored = stored
        judgement = verdicts.judge(stored.evidence, moment.spec, moment.rollout, silent)
        self._keep(judgement, moment.now_s, stepped=before.since_s != since_s)
        return judgement

    def save(self) -> None:
        """Write the evidence now. A disk that cannot take it is said once; the evidence goes on in memory."""
        if self._stored is None:
            return
        stored = msgspec.structs.replace(self._stored, was_isolated=bool(self.was_isolated))
        try:
            evidence_files.save(self._rollouts, self._endpoint, stored)
            self._failing = None
        except OSError as error:
            self._say(error)

    def _read(self) -> Stored | None:
        stored = evidence_files.load(self._rollouts, self._endpoint, self._candidate)
        if stored is None or stored.started_s != self._started_s:
            return None
        try:
            through_s = stored.evidence.through_s
            evidence_files.forget_after(self._rollouts, self._endpoint, self._candidate, through_s)
        except OSError as error:
            self._say(error)
        return stored

    def _begun(self, moment: Moment, since_s: float) -> Stored:
        rollout = moment.rollout
        past = recorded.read(self._records, self._endpoint, rollout.started_s - _PAST_S, rollout.started_s)
        evidence = judging.begin(
            moment.spec,
            rollout.candidate,
            rollout.stable,
            since_s,
            tuple(_seconds_of(past, rollout.stable).values()),
            moment.numbers,
        )
        return Stored(rollout.started_s, evidence)

    def _heard(self, moment: Moment) -> tuple[str | None, int]:
        """Why somebody is silent, and through which second to take what there is.

        A second waits for a worker that gives no answer, for three looks. Then the others go on alone, and nothing passes.
        A slot that nobody has answered for has counted nothing. Where the clock was set back, seconds that were counted
        already come again, and nothing counts until they are over.
        """
        self._known |= moment.told.answered
        missing = [one for one in moment.told.missing if one.slot in self._known]
        complete_s = watching.complete_through_s(moment.now_s)
        if self._before_what_was_seen(moment):
            return "the clock was set back, and its seconds were counted already", complete_s
        if not missing and moment.told.answered:
            self._whole_s = moment.now_s
            return None, complete_s
        if self._whole_s is None:
            self._whole_s = moment.now_s
        if moment.now_s - self._whole_s <= SILENT_LOOKS:
            return None, self.through_s or 0
        who = "; ".join(one.why for one in missing) or "no worker answers"
        return f"{who}, for {moment.now_s - self._whole_s:.0f} s", complete_s

    def _before_what_was_seen(self, moment: Moment) -> bool:
        """Whether the clock was set back; a step that begins skips some seconds, too."""
        return self.through_s is not None and self.through_s > moment.now_s + moment.longest_s + _SET_BACK_S

    def _folded(self, evidence: Evidence, moment: Moment, until_s: int) -> Evidence:
        rollout, first_s = moment.rollout, max(evidence.through_s, until_s - _FURTHEST_S) + 1
        pages: Sequence[Page] = moment.told.pages
        if until_s - first_s > _ABSENT_S:
            fresh_s = until_s - _FRESH_S
            old = recorded.read(self._records, self._endpoint, first_s, fresh_s)
            pages = [*old, *_since(pages, fresh_s)]
        candidate, stable = (_seconds_of(pages, n) for n in (rollout.candidate, rollout.stable))
        for second_s in range(first_s, until_s + 1):
            ours = candidate.get(second_s)
            if rollout.phase is RolloutPhase.BAKING:
                evidence = judging.baked(evidence, moment.spec, second_s, ours)
            else:
                theirs, accepted = stable.get(second_s), rollout.accepted
                evidence = judging.seen(evidence, moment.spec, second_s, ours, theirs, accepted)
        return evidence

    def _labelled(self, stored: Stored, moment: Moment, since_s: float) -> Stored:
        rollout = moment.rollout
        wanted = {
            check.check: check for check in moment.spec.all_checks if check.check in ("quality", "outcome")
        }
        if not wanted or not rollout.open or self._before_what_was_seen(moment):
            return stored
        asked = LabelsAsked(
            endpoint=self._endpoint,
            candidate=rollout.candidate,
            stable=rollout.stable,
            started_s=rollout.started_s,
            since_s=since_s + moment.longest_s,
            percent=rollout.percent,
            quality="quality" in wanted,
            outcome=wanted.get("outcome"),
        )
        look, cursor = self._labels.look(asked, stored.labels, moment.now_s)
        if stored.labels is None and cursor is not None:
            look = past_labels.with_past(look, self._records, asked, wanted.values())
        evidence = judging.labelled(stored.evidence, moment.spec, look, rollout.accepted)
        return msgspec.structs.replace(stored, evidence=evidence, labels=cursor)

    def _paired(self, stored: Stored, moment: Moment) -> Stored:
        rollout = moment.rollout
        wanted = any(check.check == "shadow_quality" for check in moment.spec.all_checks)
        if not wanted or not rollout.open or self._before_what_was_seen(moment):
            return stored
        asked = PairsAsked(
            endpoint=self._endpoint,
            candidate=rollout.candidate,
            stable=rollout.stable,
            started_s=rollout.started_s,
            shadow_percent=moment.spec.shadow_percent,
            salt=routing.salt_of(self._endpoint, rollout),
        )
        found, cursor = self._pairs.look(asked, stored.paired, moment.now_s)
        evidence = judging.paired(
            stored.evidence, moment.spec, found.look, found.lost, found.fault, rollout.accepted
        )
        return msgspec.structs.replace(stored, evidence=evidence, paired=cursor)

    def _keep(self, judgement: Judgement, now_s: float, *, stepped: bool) -> None:
        """Make the judgement known; write it, the look and now and then the evidence."""
        last, self.judgement = self.judgement, judgement
        changed = _verdicts(last) != _verdicts(judgement)
        if stepped or changed or now_s - self._saved_s >= _SAVE_S:
            self._saved_s = now_s
            self.save()
        if last is not None and last.through_s == judgement.through_s and not changed:
            return
        try:
            evidence_files.publish(self._rollouts, self._endpoint, self._candidate, judgement)
            if changed or _is_kept(judgement.looks):
                line = _without_words(judgement, last)
                evidence_files.append(self._rollouts, self._endpoint, self._candidate, line)
        except OSError as error:
            self._say(error)

    def _say(self, error: OSError) -> None:
        if self._failing != str(error):
            self._failing = str(error)
            _log.warning("the evidence of %s, revision %d: %s", self._endpoint, self._candidate, error)


def _seconds_of(pages: Sequence[Page], revision: int) -> Mapping[int, Second]:
    return {s.at_s: s for page in pages if page.revision == revision for s in page.seconds}


def _since(pages: Sequence[Page], since_s: int) -> list[Page]:
    return [
        msgspec.structs.replace(page, seconds=tuple(s for s in page.seconds if s.at_s >= since_s))
        for page in pages
    ]


def _is_kept(looks: int) -> bool:
    """All of the first ten minutes, then one in ten, after two hours one in sixty."""
    if looks <= _EVERY_LOOK:
        return True
    return looks % (10 if looks <= 12 * _EVERY_LOOK else 60) == 0


def _verdicts(judgement: Judgement | None) -> tuple[Verdict, ...]:
    if judgement is None:
        return ()
    return judgement.verdict, *(check.verdict for check in judgement.checks)


def _without_words(judgement: Judgement, last: Judgement | None) -> Judgement:
    """Words only where the verdict of a check changed."""
    before = {} if last is None else {check.check: check.verdict for check in last.checks}
    checks = tuple(
        check if before.get(check.check) is not check.verdict else msgspec.structs.replace(check, words="")
        for check in judgement.checks
    )
    return msgspec.structs.replace(judgement, checks=checks)
