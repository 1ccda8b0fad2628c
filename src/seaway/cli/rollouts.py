"""The verbs of rollouts: rollout, promote, pause, resume, abort, approve, traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from seaway.cli import output
from seaway.cli.options import COMMON, Common, Flag, Reason, given
from seaway.core.errors import UserError

if TYPE_CHECKING:
    from seaway.control.rollouts import views

_Endpoint = Annotated[str, Parameter(help="The endpoint.")]
_Wait = Annotated[bool, Parameter(negative="--no-wait", help="Wait until it took effect.")]


def rollout(endpoint: _Endpoint, /, *, common: Common = COMMON) -> int:
    """Show an endpoint's last rollout: its step, what it waits for, and what each check says."""
    from seaway.cli import rollouts_view
    from seaway.wiring import control_access
    from seaway.wiring.home import Home

    with control_access.open_control(Home(common.configuration())) as control:
        found = control.rollout(endpoint)
    if common.json:
        output.print_json(found)
    else:
        rollouts_view.print_rollout(found, running=control.running)
    return 0


def promote(
    endpoint: _Endpoint,
    /,
    *,
    full: Annotated[bool, Flag, Parameter(help="All the traffic at once, not the next step.")] = False,
    reason: Reason = None,
    wait: _Wait = True,
    common: Common = COMMON,
) -> int:
    """Take the rollout's next step now, whatever its hold and its checks say; --full gives it all traffic."""
    from seaway.control.rollouts import views

    return _move(endpoint, views.Promote(full, given(reason)), common, wait=wait)


def pause(endpoint: _Endpoint, /, *, reason: Reason = None, common: Common = COMMON) -> int:
    """Keep the rollout at its share until `resume`; a check that fails still takes it back."""
    from seaway.control.rollouts import views

    return _move(endpoint, views.Pause(given(reason)), common)


def resume(endpoint: _Endpoint, /, *, reason: Reason = None, common: Common = COMMON) -> int:
    """Let a paused rollout go on; where a failed check paused it, that failure is accepted."""
    from seaway.control.rollouts import views

    return _move(endpoint, views.Resume(given(reason)), common)


def abort(
    endpoint: _Endpoint, /, *, reason: Reason = None, wait: _Wait = True, common: Common = COMMON
) -> int:
    """End the rollout: all traffic goes back to the stable revision."""
    from seaway.control.rollouts import views

    return _move(endpoint, views.Abort(given(reason)), common, wait=wait)


def approve(endpoint: _Endpoint, /, *, reason: Reason = None, common: Common = COMMON) -> int:
    """Approve the step that waits for a person; it is left once its checks have passed."""
    from seaway.control.rollouts import views

    return _move(endpoint, views.Approve(given(reason)), common)


def traffic(
    endpoint: _Endpoint,
    share: Annotated[str, Parameter(help="The candidate's share of the traffic, such as 30%.")],
    /,
    *,
    reason: Reason = None,
    common: Common = COMMON,
) -> int:
    """Give the candidate of a rollout this share by hand; the rollout pauses there."""
    from seaway.control.rollouts import views

    return _move(endpoint, views.Traffic(_percent(share), given(reason)), common)


def _move(endpoint: str, move: views.Move, common: Common, *, wait: bool = False) -> int:
    from seaway.cli import rollouts_follow, rollouts_view
    from seaway.wiring import control_access
    from seaway.wiring.home import Home

    home = Home(common.configuration())
    with (
        control_access.open_control(home) as control,
        output.progress(common.json) as progress,
    ):
        accepted = control.move(endpoint, move)
        if wait:
            rollouts_follow.follow_move(control, accepted, move, progress, home.clock.monotonic_s)
        found = control.rollout(endpoint)
    if common.json:
        output.print_json({"accepted": accepted, "rollout": found})
    else:
        rollouts_view.print_moved(accepted, found)
    return 0


def _percent(text: str) -> float:
    import msgspec

    from seaway.core import sections

    try:
        return sections.percent(msgspec.convert(text, sections.Percent))
    except msgspec.ValidationError as error:
        raise UserError(
            "invalid_request", f"{text[:40]!r} is no share from 0% to 100%", "such as 30%"
        ) from error
