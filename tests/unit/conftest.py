"""What all unit tests share: how fast the machine is, or that it stands still, is never what they see."""

from __future__ import annotations

import pytest
from engine_fakes import FakeCpu

from seaway.engine import batches
from seaway.monitor.recording import recorder


@pytest.fixture(autouse=True)
def cpu(monkeypatch: pytest.MonkeyPatch) -> FakeCpu:
    """A garbage collection or a slow core inside a run would have it made, and counted, twice (`engine.inline`)."""
    cpu = FakeCpu()
    monkeypatch.setattr(batches, "time", cpu)
    return cpu


@pytest.fixture(autouse=True)
def _a_recorder_waits_for_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_END_S", 60.0)
