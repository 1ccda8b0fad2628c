"""A StateStore in memory, and the conformance suite that it and every adapter passes (for authors of stores).

A test parametrised over `CASES` runs each case on a fresh, empty store:

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
    def test_my_store(case, my_store):
        case(my_store)
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from seaway.core.bundles import Digest
from seaway.core.checks import Verdict
from seaway.core.deployments import DeploymentState, Phase, Revision, deployment_of
from seaway.core.errors import UserError
from seaway.core.events import Event, EventKind, NewEvent, numbered
from seaway.core.ports import Change, Idempotency, StateStore
from seaway.core.rollouts.state import Ground, Grounds, RolloutPhase, RolloutState, Taken


class MemoryStateStore:
    """See `core.ports.StateStore`; forgets all when it goes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, DeploymentState] = {}
        self._revisions: dict[tuple[str, int], Revision] = {}
        self._events: list[Event] = []
        self._results: dict[tuple[str, str], tuple[str, bytes]] = {}

    def claim(self) -> None:
        """Nobody else can reach it."""

    def states(self) -> tuple[DeploymentState, ...]:
        with self._lock:
            return tuple(self._states[name] for name in sorted(self._states))

    def state(self, endpoint: str) -> DeploymentState | None:
        with self._lock:
            return self._states.get(endpoint)

    def revisions(self, endpoint: str) -> tuple[Revision, ...]:
        with self._lock:
            return tuple(self._revisions[key] for key in sorted(self._revisions) if key[0] == endpoint)

    def revision(self, endpoint: str, number: int) -> Revision | None:
        with self._lock:
            return self._revisions.get((endpoint, number))

    def apply(self, change: Change) -> tuple[Event, ...]:
        with self._lock:
            promise, state, revision = change.idempotency, change.state, change.revision
            if promise is not None and (promise.principal, promise.key) in self._results:
                raise UserError(
                    "idempotency_conflict", "a request with this Idempotency-Key was carried out meanwhile"
                )
            if state is not None:
                found = self._states.get(state.endpoint)
                if state.generation != (0 if found is None else found.generation) + 1:
                    raise UserError(
                        "generation_conflict", f"endpoint {state.endpoint!r} was changed meanwhile"
                    )
                self._states[state.endpoint] = state
            if revision is not None:
                self._revisions[revision.endpoint, revision.number] = revision
            if promise is not None:
                self._results[promise.principal, promise.key] = (promise.body_hash, change.result)
            stored = tuple(numbered(event, len(self._events) + n) for n, event in enumerate(change.events, 1))
            self._events.extend(stored)
            return stored

    def remembered(self, idempotency: Idempotency) -> bytes | None:
        with self._lock:
            found = self._results.get((idempotency.principal, idempotency.key))
        if found is None:
            return None
        if found[0] != idempotency.body_hash:
            raise UserError("idempotency_conflict", "this Idempotency-Key was used with another request")
        return found[1]

    def events(self, after: int = 0, endpoint: str | None = None, limit: int = 1000) -> tuple[Event, ...]:
        with self._lock:
            found = [e for e in self._events if e.seq > after and endpoint in (None, e.endpoint)]
        return tuple(found[:limit])

    def last_seq(self) -> int:
        with self._lock:
            return len(self._events)

    def close(self) -> None:
        """Nothing to give back."""


def make_state(endpoint: str = "prices", generation: int = 1) -> DeploymentState:
    """A state with every field set."""
    return DeploymentState(
        endpoint=endpoint,
        generation=generation,
        phase=Phase.PROGRESSING,
        desired=generation,
        live=1,
        previous=1,
        last=generation,
        warm_until_s=12.5,
        rollback=True,
        proven=(1,),
        failed=2,
        reason="it did not load",
    )


def make_revision(endpoint: str = "prices", number: int = 1) -> Revision:
    """A revision with every field set."""
    return Revision(
        endpoint=endpoint,
        number=number,
        digest=Digest(f"sha256:{number:064x}"),
        ref=f"{endpoint}:v{number}",
        spec=deployment_of(endpoint, f"{endpoint}:v{number}"),
        created_at="2026-11-22T09:00:00.000000Z",
        created_by="ada",
        gate=Verdict.FAILED,
        failed_checks=("golden",),
        override="needed for the fair",
    )


def make_event(endpoint: str | None = "prices", number: int = 1) -> NewEvent:
    """An event with every field set."""
    return NewEvent(
        at="2026-11-22T09:00:00.000000Z",
        kind=EventKind.DEPLOY_REQUESTED,
        principal="ada",
        endpoint=endpoint,
        revision=number,
        digest=Digest(f"sha256:{number:064x}"),
        ref=f"prices:v{number}",
        message="für die Messe",
        details={"override": "needed"},
    )


def _code_of(call: Callable[[], object]) -> str:
    try:
        call()
    except UserError as error:
        return error.code
    return "nothing was raised"


def _change(endpoint: str = "prices", generation: int = 1, key: Idempotency | None = None) -> Change:
    return Change(
        events=(make_event(endpoint, generation),),
        state=make_state(endpoint, generation),
        revision=make_revision(endpoint, generation),
        idempotency=key,
        result=b'{"revision": 1}' if key else b"",
    )


def starts_empty(store: StateStore) -> None:
    assert store.states() == ()
    assert store.state("prices") is None
    assert store.revisions("prices") == ()
    assert store.revision("prices", 1) is None
    assert store.events() == ()
    assert store.last_seq() == 0


def gives_back_what_was_stored(store: StateStore) -> None:
    for generation in (1, 2):
        store.apply(_change("prices", generation))
    store.apply(_change("autos", 1))
    assert store.states() == (make_state("autos", 1), make_state("prices", 2))
    assert store.state("prices") == make_state("prices", 2)
    assert store.revisions("prices") == (make_revision("prices", 1), make_revision("prices", 2))
    assert store.revision("autos", 1) == make_revision("autos", 1)
    assert store.revision("autos", 2) is None


def sets_only_the_next_generation(store: StateStore) -> None:
    store.apply(_change("prices", 1))
    for generation in (1, 3):
        change = Change(events=(make_event(),), state=make_state("prices", generation))
        assert _code_of(lambda change=change: store.apply(change)) == "generation_conflict"  # type: ignore[misc]
    missing = Change(events=(), state=make_state("autos", 2))
    assert _code_of(lambda: store.apply(missing)) == "generation_conflict"
    assert store.state("prices") == make_state("prices", 1)
    assert len(store.events()) == 1


def keeps_a_rollout_with_its_endpoint(store: StateStore) -> None:
    """Each step of a rollout is a change of its endpoint, also one without an event."""
    rollout = RolloutState(
        candidate=2,
        stable=1,
        phase=RolloutPhase.PAUSED,
        started_s=1_795_338_000.25,
        step=1,
        percent=12.5,
        since_s=1_795_338_060.75,
        approved=0,
        accepted=("confidence", "predictions"),
        why="predictions moved",
        cause="predictions",
        by="seaway",
        taken=(
            Taken(1.0, 0.0, 1_795_338_001.5, "seaway", Grounds("ready")),
            Taken(
                12.5,
                1.0,
                1_795_338_060.25,
                "ada",
                Grounds(
                    "person", (Ground("errors", Verdict.INCONCLUSIVE, "0 % of 9"),), despite=("in a freeze",)
                ),
            ),
        ),
    )
    state = DeploymentState("prices", 1, Phase.PROGRESSING, desired=2, live=1, last=2, proven=(1,))
    store.apply(Change((make_event(),), state))
    paused = msgspec.structs.replace(state, generation=2, rollout=rollout)
    store.apply(Change((), paused))
    assert store.state("prices") == paused
    assert store.states() == (paused,)
    over = msgspec.structs.replace(rollout, phase=RolloutPhase.ROLLED_BACK, ended_s=1_795_338_090.5)
    store.apply(Change((make_event(),), msgspec.structs.replace(paused, generation=3, rollout=over)))
    stale = msgspec.structs.replace(paused, generation=3)
    assert _code_of(lambda: store.apply(Change((make_event(),), stale))) == "generation_conflict"
    found = store.state("prices")
    assert found is not None and found.rollout == over
    assert len(store.events()) == 2


def stores_all_of_a_change_or_nothing(store: StateStore) -> None:
    key = Idempotency("k", "ada", "h")
    store.apply(_change("prices", 1))
    stale = Change((make_event(),), make_state("prices", 1), make_revision("prices", 7), key, b"x")
    assert _code_of(lambda: store.apply(stale)) == "generation_conflict"
    assert store.remembered(key) is None
    assert store.revision("prices", 7) is None
    assert [event.seq for event in store.events()] == [1]


def numbers_events_without_holes(store: StateStore) -> None:
    first = store.apply(Change(events=(make_event("prices", 1), make_event("autos", 2), make_event(None, 3))))
    second = store.apply(Change(events=(make_event("prices", 4),)))
    assert [event.seq for event in first + second] == [1, 2, 3, 4]
    assert store.events() == first + second
    assert store.events(after=2) == (first[2], second[0])
    assert store.events(endpoint="prices") == (first[0], second[0])
    assert store.last_seq() == 4
    assert store.events(after=1, limit=2) == (first[1], first[2])


def remembers_what_a_key_was_answered(store: StateStore) -> None:
    key = Idempotency("key-1", "ada", "hash-a")
    assert store.remembered(key) is None
    store.apply(_change("prices", 1, key))
    assert store.remembered(key) == b'{"revision": 1}'
    other_body = Idempotency("key-1", "ada", "hash-b")
    assert _code_of(lambda: store.remembered(other_body)) == "idempotency_conflict"
    assert _code_of(lambda: store.apply(_change("prices", 2, key))) == "idempotency_conflict"
    assert store.state("prices") == make_state("prices", 1)
    assert store.remembered(Idempotency("key-1", "bob", "hash-b")) is None


def lets_one_of_many_win(store: StateStore) -> None:
    changes = [_change("prices", 1, Idempotency("key", "ada", "h")) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda change: _code_of(lambda: store.apply(change)), changes))
    assert codes.count("nothing was raised") == 1
    assert set(codes) <= {"nothing was raised", "idempotency_conflict", "generation_conflict"}
    assert len(store.events()) == 1
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.apply(Change(events=(make_event(None, n),))), range(16)))
    assert [event.seq for event in store.events()] == list(range(1, 18))


def is_claimed_more_than_once_by_its_holder(store: StateStore) -> None:
    store.claim()
    store.apply(_change("prices", 1))
    store.claim()
    assert store.state("prices") == make_state("prices", 1)


def closes_twice(store: StateStore) -> None:
    store.claim()
    store.close()
    store.close()


CASES: Final[tuple[Callable[[StateStore], None], ...]] = (
    starts_empty,
    gives_back_what_was_stored,
    sets_only_the_next_generation,
    keeps_a_rollout_with_its_endpoint,
    stores_all_of_a_change_or_nothing,
    numbers_events_without_holes,
    remembers_what_a_key_was_answered,
    lets_one_of_many_win,
    is_claimed_more_than_once_by_its_holder,
    closes_twice,
)
