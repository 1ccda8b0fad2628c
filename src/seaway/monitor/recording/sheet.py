"""One revision's open sheet: what has ended of it since the recorder last handed it over."""

from __future__ import annotations

from array import array

from seaway.core.agreement import Agreed
from seaway.core.records import Answered
from seaway.core.tensors import Array
from seaway.engine.answers import Given
from seaway.monitor.sinks import Subject


class Sheet:
    """The requests of one revision that ended since the last block; on the event loop's thread only."""

    __slots__ = (
        "apart",
        "by_user",
        "bytes",
        "close_up",
        "drawn",
        "due",
        "failures",
        "gap",
        "given",
        "judged",
        "keeps_all",
        "kept",
        "loaded",
        "older",
        "pairs",
        "subject",
        "took_s",
        "users",
    )

    def __init__(self, subject: Subject, gap: int) -> None:
        """The first to be drawn is the one so many requests ahead."""
        self.subject = subject
        self.gap = self.due = gap
        """Until the next draw; `due` is what is counted down, and 0 where every request has to be looked at."""
        self.keeps_all = False
        """Whether a sink chooses by itself among all requests."""
        self.close_up = False
        """Whether every request has to be looked at: for such a sink, for one that picks, or while it is judged."""
        self.judged = False
        """Whether units are counted, and `by_user` only the first of each user key."""
        self.by_user = False
        self.loaded = True
        """False for a revision without a model, of which nothing but the count is known: no sink gets its requests."""
        self.given: Given | None = None
        self.older: list[Given] = []
        """Of predictors that were replaced and may still answer what they run."""
        self.clear()

    def look_closely(self, keeps_all: bool, picked: bool) -> None:
        """Look at every request or not, as the rules and the sinks ask; `picked`: a sink picks among them."""
        rules = self.subject.rules
        self.keeps_all = keeps_all
        self.judged = rules.judged
        self.by_user = rules.judged and rules.unit is not None
        self.close_up = keeps_all or picked or rules.judged
        self.due = 0 if self.close_up else self.gap

    @property
    def empty(self) -> bool:
        """Whether there is nothing to hand over."""
        return not self.took_s and not self.pairs and not self.users

    def take_given(self) -> tuple[list[Array], int, int, int]:
        """What was answered since the last time (`Given.take`), by predictors that were replaced too."""
        answers: list[Array] = []
        rows = unread = invalid = 0
        for given in (self.given, *self.older):
            if given is not None:
                more, *counts = given.take()
                answers += more
                rows, unread, invalid = rows + counts[0], unread + counts[1], invalid + counts[2]
        return answers, rows, unread, invalid

    def clear(self) -> None:
        """Begin anew."""
        self.took_s: dict[tuple[str, str], array[float]] = {}
        """Times from head to answer, by door and code."""
        self.drawn: list[Answered] = []
        self.failures: list[Answered] = []
        """Those that failed and were not drawn."""
        self.kept: list[Answered] = []
        """All, where `keeps_all`; else those that a sink picked."""
        self.apart: list[Answered] = []
        """While it is judged: all that the split sent, where first requests are counted; else those that it did not."""
        self.pairs: dict[Agreed, int] = {}
        """Of requests that this revision was to answer too, its answer thrown away."""
        self.users: list[tuple[Agreed, bytes]] = []
        """The same where units are by user, whose key stands beside it."""
        self.bytes = 0
