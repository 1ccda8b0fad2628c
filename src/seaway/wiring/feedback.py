"""Feedback put together, for the one process that holds HOME/lock: the control process, or a verb without a server."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from seaway.control.feedback import Feedback
from seaway.core.ledger import Page
from seaway.core.ports import Clock
from seaway.monitor.feedback.outcomes import OutcomeRules, Outcomes
from seaway.monitor.feedback.writer import OutcomeWriter
from seaway.monitor.provenance import files as provenance_files
from seaway.monitor.recording import seconds


def open_feedback(records: Path, clock: Clock, rules: OutcomeRules | None = None) -> Feedback:
    """The feedback of HOME/records; whoever opens it closes it. No file is opened before it is used."""

    def answered(endpoint: str, since_s: float, until_s: float) -> Sequence[Page] | None:
        if since_s < seconds.oldest_s(clock.now_s()):
            return None
        return seconds.read(records, endpoint, since_s, until_s)

    lookup = functools.partial(provenance_files.lookup, records)
    outcomes = Outcomes(records, lookup, rules or OutcomeRules())
    return Feedback(OutcomeWriter(outcomes, clock), records, clock, answered)
