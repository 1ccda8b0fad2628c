"""Feedback put together, for the one process that holds HOME/lock: the control process, or a verb without a server."""

from __future__ import annotations

import functools
import math
from pathlib import Path

from seaway.control.feedback import Feedback
from seaway.core.ports import Clock
from seaway.monitor.feedback.outcomes import OutcomeRules, Outcomes
from seaway.monitor.feedback.quality import CountedRows
from seaway.monitor.feedback.writer import OutcomeWriter
from seaway.monitor.provenance import files as provenance_files
from seaway.monitor.recording import seconds


def open_feedback(records: Path, clock: Clock, rules: OutcomeRules | None = None) -> Feedback:
    """The feedback of HOME/records; whoever opens it closes it. No file is opened before it is used."""
    lookup = functools.partial(provenance_files.lookup, records)
    outcomes = Outcomes(records, lookup, rules or OutcomeRules())
    answered = functools.partial(counted_rows, records, clock)
    return Feedback(OutcomeWriter(outcomes, clock), records, clock, answered)


def counted_rows(
    records: Path, clock: Clock, endpoint: str, since_s: float, until_s: float
) -> CountedRows | None:
    """`monitor.feedback.quality.RowsAnswered` by the ledger on disk: whole seconds that are still kept, and on disk already."""
    now_s = clock.now_s()
    first_s = math.ceil(max(since_s, seconds.oldest_s(now_s)))
    end_s = math.floor(min(until_s, now_s - seconds.SETTLED_S))
    if first_s >= end_s:
        return None
    return CountedRows(first_s, end_s, seconds.read(records, endpoint, first_s, end_s))
