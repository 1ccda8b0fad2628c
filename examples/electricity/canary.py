"""The demo's second part: a better version is promoted through a canary on live traffic, and one that is worse is caught.

What the fixed thresholds of other tools would have done with the same requests is worked out from what the callers saw.
"""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

import pandas as pd

from electricity import market
from electricity.market import Arm, Market
from electricity.shell import HOME, console, run, step

_BEFORE_S = 2.0
"""So long there is traffic before the first canary: what is usual is known then."""
_FILE = """\
version: 1
endpoint: electricity
serve: {{bundle: "electricity:{version}"}}
rollout:
  steps: [{{to: 10%, checks: [errors]}}, 50%, 100%]
  hold: 1s
  bake: 1s
  warmup: 1s
  inconclusive: {{after: 1m, then: rollback}}
  checks:
    - {{check: errors, plus: 3%}}
    - {{check: quality, harm: 5%}}
"""


class Canary(NamedTuple):
    """How a rollout went: what the callers saw of both revisions, and what each of its checks saw last."""

    candidate: Arm
    stable: Arm
    took_s: float
    checks: dict[str, dict[str, Any]]


def run_both(address: str, later: pd.DataFrame) -> tuple[Canary, Canary]:
    """Both canaries on one stream of traffic. Stops the demo where one ends as it should not, or a request is lost."""
    step(9, "A canary on live traffic: v2 again, step by step, judged by what the price then really does")
    console.print(
        f"  {market.PER_S} half-hours a second are asked for from here on; what the price did is told {market.LABELS_AFTER_S} s later"
    )
    with Market(address, later) as live:
        time.sleep(_BEFORE_S)
        good = _canary(live, "v2", 3, expect=0)
        console.print(f"  quality: {good.checks['quality']['words']}", markup=False)
        step(10, "One that is worse, and shows it nowhere but in its answers: v4")
        bad = _canary(live, "v4", 4, expect=3)
        run("explain", f"electricity/{bad.candidate.revision}")
    if live.lost:
        raise SystemExit(f"lost {len(live.lost)} requests: {live.lost[:3]}")
    return good, bad


def _canary(live: Market, version: str, revision: int, expect: int) -> Canary:
    path = HOME / f"electricity-{version}.yaml"
    path.write_text(_FILE.format(version=version))
    if expect == 0:
        console.print(f"[bold cyan]$ cat {path.name}[/]")
        console.print("\n".join(f"  {line}" for line in path.read_text().splitlines()), markup=False)
    before, began_s = len(live.asked), time.monotonic()
    run("deploy", "-f", str(path), "--follow", expect=expect)
    took_s, asked = time.monotonic() - began_s, live.asked[before:]
    record = json.loads(run("explain", f"electricity/{revision}", "--json", show=False))
    candidate, stable = (market.arm(asked, record[arm]["number"]) for arm in ("candidate", "stable"))
    seen = [check for look in record["looks"] for check in look["checks"] if check["candidate"]]
    return Canary(candidate, stable, took_s, {check["check"]: check for check in seen})


def summary(good: Canary, bad: Canary) -> str:
    """What both canaries took, and what fixed thresholds would have said of the bad one."""
    passed, failed = good.checks["quality"], bad.checks["quality"]
    errors = bad.checks["errors"]
    success = 1 - errors["candidate_bad"] / errors["candidate"]
    promoted = success >= 0.99 and bad.candidate.p99_ms <= 500
    return (
        f"  v2 was promoted by a canary on live traffic, in {good.took_s:.0f} s: its answers were compared with v1's at the same time, by\n"
        f"  {passed['candidate']:,.0f} and {passed['stable']:,.0f} labels. v4 was taken back in {bad.took_s:.0f} s, after {bad.candidate.answered:,} of its answers and "
        f"{failed['candidate']:,.0f} of their\n"
        f"  labels: right on {bad.candidate.right:.0%}, v2 on {bad.stable.right:.0%}. Nothing else gave it away: {success:.1%} of its requests succeeded, p99 {bad.candidate.p99_ms:.0f} ms\n"
        f"  (v2: {bad.stable.p99_ms:.0f} ms). The thresholds in the documentation of Flagger (99 % success, p99 500 ms) and Argo Rollouts (95 %\n"
        f"  success) {'hold on these requests: they would have promoted it.' if promoted else 'did not hold on these requests either.'}"
    )
