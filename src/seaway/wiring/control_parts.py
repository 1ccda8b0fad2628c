"""Puts the control plane together: the same parts for the control process and for a verb that finds no server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from seaway.control.bell import Bell
from seaway.control.deployments import Deployments
from seaway.control.effects import Effects
from seaway.control.loop import Loop
from seaway.control.rollouts.requests import Rollouts
from seaway.control.workers import Workers
from seaway.core.errors import SeawayError
from seaway.core.ports import StateStore
from seaway.wiring import adapters, gates
from seaway.wiring.home import Home
from seaway.wiring.record_checks import RecordChecks

_STORE = "seaway.adapters.stores.sql:open_store"


class _OpenStore(Protocol):
    def __call__(self, at: str | Path) -> StateStore: ...


def open_store(home: Home) -> StateStore:
    """The home's state store, claimed; only the holder of HOME/lock calls this.

    Raises as `core.ports.StateStore` says, `UserError` (`invalid_config`, `already_running` where another home uses it).
    """
    opener: _OpenStore = adapters.attribute(_STORE)  # type: ignore[assignment]
    store = opener(home.configuration.settings.store or home.directory / "state.db")
    try:
        store.claim()
    except SeawayError:
        store.close()
        raise
    return store


def deployments(home: Home, store: StateStore, wake: Callable[[], None]) -> Deployments:
    """The use cases, with the gate in a process of its own."""
    return Deployments(store, home.bundles, gates.Gate(home), home.clock, wake, RecordChecks(home.bundles))


def rollouts(home: Home, store: StateStore, wake: Callable[[], None]) -> Rollouts:
    """The use cases of rollouts."""
    return Rollouts(store, home.clock, wake, home.paths.rollouts)


def loop(home: Home, store: StateStore, bell: Bell) -> tuple[Loop, Effects]:
    """The control loop and what it acts with; made on the event loop that runs it."""
    workers = Workers(home.paths.run)
    effects = Effects(store, home.bundles, workers, home.paths.table, home.clock, bell.ring)
    return Loop(effects, bell), effects
