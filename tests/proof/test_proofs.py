"""Each proof at about 2 % of its size, judged on correctness alone; `make prove` runs them whole and keeps figures."""

from __future__ import annotations

import importlib

import pytest

SCALE = 0.02

pytestmark = [pytest.mark.slow, pytest.mark.proof, pytest.mark.timeout(3600)]


@pytest.mark.parametrize(
    "name",
    [
        "base_install",
        "cold_start",
        "switching",
        "kills",
        "real_data",
        "worker_kills",
        "segfaults",
        "soak",
        "overload",
        "summaries",
        "feedback",
        "provenance",
        "verdicts",
        "rollout_transitions",
        "rollout_detection",
        "rollout_kills",
        "rollout_aa",
    ],
)
def test_a_proof_holds_at_a_small_size(name: str) -> None:
    figures = importlib.import_module(name).measure(SCALE)
    assert figures
