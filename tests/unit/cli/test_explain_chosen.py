"""Why a revision got a request, as `seaway explain REQUEST_ID` says it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from seaway.cli import explain, output
from seaway.core.provenance import AnsweredBy, Explained, Explanation, Kept, RolloutThen
from seaway.core.records import Chosen
from seaway.monitor.provenance import explanations
from seaway.wiring import control_access

FLAG = "header x-tier: beta"


@pytest.mark.parametrize(
    ("chosen", "rollout", "said"),
    [
        (Chosen.ONLY, None, "it had all the traffic"),
        (Chosen.SPLIT, None, "the split of a rollout sent it there"),
        (
            Chosen.SPLIT,
            RolloutThen(5, 3, 25.0),
            "the split of the rollout prices/5 sent it there; revision 5 had 25 % then",
        ),
        (
            Chosen.FLAG,
            RolloutThen(5, 3, 25.0, (FLAG,)),
            f"a flag of the rollout prices/5 sent it there ({FLAG})",
        ),
        (
            Chosen.FLAG,
            RolloutThen(5, 3, 25.0, (FLAG, "cookie plan: x")),
            f"a flag of the rollout prices/5 sent it there (one of: {FLAG}; cookie plan: x)",
        ),
        (
            Chosen.FALLBACK,
            RolloutThen(5, 3, 25.0),
            "revision 5, the candidate of the rollout prices/5, could not answer it; revision 5 had 25 % then",
        ),
    ],
)
def test_a_request_names_the_rollout_that_sent_it(
    monkeypatch: pytest.MonkeyPatch, chosen: Chosen, rollout: RolloutThen | None, said: str
) -> None:
    one = Explanation(
        request_id="r", trace_id=None, at_s=1e6, by=AnsweredBy("prices", 5, "sha256:0"), door="rest", slot=0, pid=1,
        code="200", caller="anonymous", rows=1, batch_rows=1, queue_s=0.0, run_s=0.0, cpu_s=0.0, took_s=2.0, rate=1.0,
        chosen=chosen, rollout=rollout,
    )  # fmt: skip
    found = Explained((one,), Kept(None, 1, 1, 0, 0))
    out = io.StringIO()
    monkeypatch.setattr(explanations, "explain", lambda *_: found)
    monkeypatch.setattr(control_access, "with_rollouts", lambda _home, told: told)
    monkeypatch.setattr(
        output, "console", lambda: Console(file=out, width=140, highlight=False, color_system=None)
    )
    assert explain.explain("r") == 0
    assert said in out.getvalue()
