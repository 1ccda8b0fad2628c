"""What the control process does now and then with the files of records; each chore is one line here."""

from __future__ import annotations

import logging
from pathlib import Path

from seaway.control.erasing import Erasing
from seaway.control.rollouts import evidence_files
from seaway.control.upkeep import Chore
from seaway.core.deployments import Phase
from seaway.core.ports import StateStore
from seaway.monitor.recording import seconds
from seaway.monitor.summaries import compaction
from seaway.wiring import capture_keeping
from seaway.wiring.home import Home

_log = logging.getLogger(__name__)


def chores(home: Home, store: StateStore, erasing: Erasing) -> list[Chore]:
    """The chores of a home; `store` tells how long each endpoint's captures are kept."""
    root = home.paths.records

    def retain_s() -> dict[str, float]:
        found = {}
        for state in store.states():
            numbers = [number for number in (state.desired, state.live) if number is not None]
            rules = [
                r.spec.record.rules for n in numbers if (r := store.revision(state.endpoint, n)) is not None
            ]
            if rules:
                found[state.endpoint] = max(one.retain_s for one in rules)
        return found

    def sweep_rollouts(now_s: float) -> None:
        known = {state.endpoint for state in store.states() if state.phase is not Phase.DELETED}
        evidence_files.sweep(home.paths.rollouts, known, now_s)

    return [
        Chore("merging the windows of summaries", 60.0, _Compaction(root).run),
        Chore("converting captures", capture_keeping.EVERY_S, capture_keeping.chore(root, retain_s)),
        Chore("erasing what erased requests left", capture_keeping.EVERY_S, lambda _: erasing.finish()),
        Chore("removing old seconds", 600.0, lambda now_s: seconds.sweep(root, now_s)),
        Chore("removing what was seen of old rollouts", 3600.0, sweep_rollouts),
    ]


class _Compaction:
    """`compaction.compact`, which names a damaged file each time; it is said once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._said: set[str] = set()

    def run(self, now_s: float) -> None:
        for name in map(str, compaction.compact(self._root, now_s).damaged):
            if name not in self._said:
                self._said.add(name)
                _log.warning("a window of summaries is damaged and left out: %s", name)
