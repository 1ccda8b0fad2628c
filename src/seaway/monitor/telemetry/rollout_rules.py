"""Alerts on the rollouts of one endpoint: one was taken back, or one waits for a person. `alert_rules` adds them to the others."""

from __future__ import annotations

from typing import Final

from seaway.core.checks import Verdict
from seaway.core.rollouts.state import RolloutPhase
from seaway.monitor.telemetry.rules import JOB, Group, Rule, labels
from seaway.wire import metric_names as names

_GAP: Final = "5m"
"""What a control process that starts again leaves unsaid must not begin the time of an alert anew."""
_PAUSED_S: Final = 600.0
_APPROVAL_S: Final = 3600.0
_ERRORED_S: Final = 900.0


def group(endpoint: str) -> Group:
    """The alerts of an endpoint's rollouts."""
    of = f'endpoint="{endpoint}"'
    ended = f'sum by (endpoint) (increase({names.ROLLOUTS.name}{{{of},end="rolled_back"}}[1h]))'
    paused = f'{names.ROLLOUT_PHASE.name}{{{of},phase="{RolloutPhase.PAUSED}"}}'
    judged = f'{names.ROLLOUT_PHASE.name}{{{of},phase=~"{RolloutPhase.RUNNING}|{RolloutPhase.BAKING}"}}'
    errored = f'{names.CHECK_VERDICT.name}{{{of},verdict="{Verdict.ERRORED}"}}'
    return Group(
        f"seaway-endpoint-{endpoint}-rollouts",
        (
            Rule(
                f"{ended} > 0",
                alert="SeawayRolloutRolledBack",
                labels=labels("ticket", endpoint),
                summary=f"{endpoint}: a rollout was taken back",
                description=f"The stable revision answers. Which one and why: seaway rollout {endpoint}, seaway history {endpoint}",
            ),
            Rule(
                f"{_lately(paused, 'endpoint, revision')} == 1",
                alert="SeawayRolloutPaused",
                hold_s=_PAUSED_S,
                labels=labels("ticket", endpoint),
                summary=f"{endpoint}: the rollout of revision {{{{ $labels.revision }}}} is paused",
                description=f"It stays so until a person goes on or back. Why: seaway rollout {endpoint}; then seaway resume "
                f"{endpoint}, or seaway abort {endpoint}",
            ),
            Rule(
                f"{_lately(f'{names.ROLLOUT_APPROVAL.name}{{{of}}}', 'endpoint, revision')} == 1",
                alert="SeawayRolloutWaitsForApproval",
                hold_s=_APPROVAL_S,
                labels=labels("ticket", endpoint),
                summary=f"{endpoint}: the rollout of revision {{{{ $labels.revision }}}} waits for an approval",
                description=f"Its checks hold it up no more. What they saw: seaway rollout {endpoint}; then seaway approve {endpoint}, "
                f"or seaway abort {endpoint}",
            ),
            Rule(
                f"{_lately(errored, 'endpoint, revision, check')} == 1\n"
                f"and on (endpoint, revision) {_lately(judged, 'endpoint, revision')} == 1",
                alert="SeawayRolloutCheckErrored",
                hold_s=_ERRORED_S,
                labels=labels("ticket", endpoint),
                summary=f"{endpoint}: the check {{{{ $labels.check }}}} of revision {{{{ $labels.revision }}}} cannot be judged",
                description=f"Its measuring is broken, which says nothing of the model; nothing passes meanwhile. What is broken: "
                f"seaway rollout {endpoint}",
            ),
        ),
    )


def control_process() -> Rule:
    """Workers go on without the control process, and nothing is judged or taken back meanwhile."""
    return Rule(
        f'absent({names.CONTROL_PROCESSES.name}{{job="{JOB}"}}) and on () up{{job="{JOB}"}} == 1',
        alert="SeawayControlDown",
        hold_s=120,
        labels=(("severity", "ticket"),),
        summary="The control process gives no answer",
        description="Answers are not touched by it, but nothing is deployed, and no rollout is judged or taken back. See: the log "
        "of seaway up",
    )


def _lately(series: str, by: str) -> str:
    return f"max by ({by}) (last_over_time({series}[{_GAP}]))"
