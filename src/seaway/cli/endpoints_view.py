"""How endpoints, their way to a new revision and a plan look in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from seaway.cli import history_view, output, rollouts_view, serving_view
from seaway.cli.patience import Patience
from seaway.cli.rollouts_follow import Rolling, events, superseded, under_way
from seaway.core.checks import Verdict
from seaway.core.deployments import Phase
from seaway.core.errors import TemporaryError, UserError
from seaway.core.events import Event, EventKind, timestamp
from seaway.core.rollouts.state import RolloutPhase

if TYPE_CHECKING:
    from seaway.control import views
    from seaway.control.rollouts import views as rollouts
    from seaway.validate.plan import ChangeReport
    from seaway.validate.slices import SliceChange
    from seaway.wiring.control_access import Control
    from seaway.wiring.plans import Plan

Progress = Callable[[str], None]

_REQUESTS = {EventKind.DEPLOY_REQUESTED, EventKind.ROLLBACK_REQUESTED, EventKind.DELETE_REQUESTED}
_NOT_THE_MODELS_FAULT = {"digest_mismatch", "blob_missing", "internal"}


def follow(
    control: Control,
    accepted: views.Accepted,
    progress: Progress,
    now_s: Callable[[], float],
    *,
    tell: Progress = lambda _text: None,
    to_end: bool = False,
) -> views.Accepted:
    """Wait for the event that ends this change; of a rollout for its first step, or with `to_end` for its end. Where the
    change found itself under way already, `to_end` waits for that, and what is answered says how it ended.

    `tell` gets what happens on the way there. Raises `revision_failed`, `rollout_rolled_back`, `generation_conflict` where
    a later change of the endpoint took its place, or that the control process went away, or that no worker is there to
    take it (`cli.patience`).
    """
    if accepted.deferred or not (accepted.changed or to_end):
        return accepted
    begun = None
    if not accepted.changed:
        begun = under_way(control, accepted)
        if begun is None:
            return accepted
        tell(f"{accepted.endpoint}: {accepted.ref} is on its way already; this follows it")
    progress(f"{accepted.endpoint}: loading and warming {accepted.ref or ''}")
    asked = begun is not None
    patience = Patience(control, accepted, progress, now_s)
    rolling = Rolling(control, accepted, tell, to_end, begun=begun == "rollout")
    for event in events(control, accepted.after, patience.look, now_s, again=to_end):
        if event.endpoint != accepted.endpoint:
            continue
        if event.kind in _REQUESTS:
            if event.revision == accepted.revision:
                asked = True
            elif asked:
                raise superseded(accepted, event)
        elif event.kind is EventKind.REVISION_FAILED and event.revision == accepted.revision:
            raise UserError(
                "revision_failed",
                f"revision {event.revision} of {accepted.endpoint} ({event.ref}) failed: {event.message}",
                f"traffic stayed where it was; {_mend(event)}",
            )
        elif (event.kind is EventKind.ENDPOINT_DELETED and accepted.revision is None) or (
            accepted.revision is not None and rolling.over(event)
        ):
            if begun is None:
                return accepted
            return msgspec.structs.replace(accepted, message=f"{accepted.ref} is live")
    raise TemporaryError(
        "control_unavailable",
        f"{accepted.message}; it is stored, but the control process went away before it took effect",
        "seaway status",
    )


def _mend(event: Event) -> str:
    """What helps against the cause of a failure, which its event names by a code."""
    if event.details.get("code") in _NOT_THE_MODELS_FAULT:
        return f"the model may be sound: `seaway verify {event.ref or '--all'}` checks its bytes, then deploy it again"
    return "mend the model and package it again"


def superseding(endpoint: str, found: views.Superseded) -> str:
    """What a deploy did to the rollout before it; told at once, whatever comes of the deploy."""
    return f"supersedes the rollout of {endpoint}/{found.revision}, which was at {found.percent:g} %"


def print_accepted(
    accepted: views.Accepted, rollout: rollouts.RolloutStatus | None = None, *, waited: bool
) -> None:
    """What was done, with its warnings, and the `rollout` that it began."""
    for warning in accepted.warnings:
        output.say(f"[yellow]warning[/] {output.plain(warning)}")
    if accepted.deferred:
        output.say(
            f"[green]recorded[/] {output.plain(accepted.message)}; no server runs, so it "
            f"{'is live' if rollout is None else 'goes on its way'} with: seaway up"
        )
    elif not accepted.changed:
        output.say(output.plain(accepted.message))
    elif accepted.revision is None:
        output.say(f"[green]{'deleted' if waited else 'deleting'}[/] {accepted.endpoint}")
    else:
        word = "live" if waited else "accepted"
        if rollout is not None and rollout.state.open:
            word = "begun"
        output.say(f"[green]{word}[/] {output.plain(accepted.message)}  {accepted.digest}")
        if rollout is not None and rollout.state.judged:
            rollouts_view.print_begun(rollout)


def only(status: views.Status, endpoint: str) -> views.EndpointStatus:
    """One endpoint of a status. Raises `UserError("endpoint_not_found")`."""
    for found in status.endpoints:
        if found.endpoint == endpoint:
            return found
    known = ", ".join(e.endpoint for e in status.endpoints) or "none"
    raise UserError("endpoint_not_found", f"there is no endpoint {endpoint!r}", f"endpoints: {known}")


def status_document(status: views.Status, endpoint: str | None, server: str | None) -> dict[str, Any]:
    """The status as one JSON document, each endpoint with its live revision spelled out.

    `server` is the address of the server that runs; None means that none does.
    """
    endpoints = []
    for found in status.endpoints:
        if endpoint in (None, found.endpoint):
            live = found.live_revision
            shown = None if live is None else {"number": live.number, "digest": live.digest, "ref": live.ref}
            endpoints.append({**msgspec.to_builtins(found), "live": shown})
    return {
        "running": server is not None,
        "server": server,
        "endpoints": endpoints,
        "workers": status.workers,
        "webhooks": status.webhooks,
    }


def print_status(status: views.Status, endpoint: str | None, server: str | None) -> None:
    """The server's address (None: none runs), endpoints, then workers."""
    chosen = [found for found in status.endpoints if endpoint in (None, found.endpoint)]
    if server is None:
        output.say("[yellow]no server runs on this home[/]: seaway up")
    else:
        output.say(f"served at {server}\n")
    if not chosen:
        output.say("no endpoints yet; begin with: seaway deploy NAME:v1")
    else:
        rows = [(e.endpoint, e.phase.value, *_live(e), _coming(e)) for e in chosen]
        output.table(None, ("endpoint", "phase", "revision", "version", "digest", "by", "note"), rows)
    if status.workers:
        output.say("")
        workers = [
            (
                f"worker {w.slot}",
                w.pid,
                "ready" if w.ready else "not ready",
                output.human_bytes(w.rss_bytes),
                f"{100.0 * w.recorder_rate:.3g} %",
                "; ".join([*w.failing, *(f"cannot keep {fault}" for fault in w.recorder_faults)]),
            )
            for w in status.workers
        ]
        output.table(None, ("", "pid", "state", "memory", "sampled", "failing"), workers)
    _print_webhooks(status.webhooks)
    serving_view.print_serving(status, endpoint)


def _print_webhooks(found: Sequence[views.WebhookStatus]) -> None:
    if not found:
        return
    output.say("")
    rows = []
    for one in found:
        since = ""
        if one.failing_since_s is not None:
            since = f"takes none since {history_view.moment(timestamp(one.failing_since_s))} UTC: "
        rows.append((one.name, one.delivered, one.waiting, f"{since}{one.fault or ''}"))
    output.table(None, ("webhook", "delivered to event", "waiting", "failing"), rows)


def _live(status: views.EndpointStatus) -> tuple[object, ...]:
    live = status.live_revision
    return (
        (None, None, None, None)
        if live is None
        else (live.number, live.ref, live.digest[:19], live.created_by)
    )


def _coming(status: views.EndpointStatus) -> str:
    if status.opening and status.phase is Phase.PROGRESSING:
        return f"opening {', '.join(status.opening)}: every byte is checked first"
    rollout = status.rollout
    if rollout is not None and rollout.open:
        phase = rollouts_view.in_words(rollout.phase)
        return f"rollout of {rollout.candidate}: {phase} at {rollout.percent:g} %"
    if rollout is not None and rollout.phase is RolloutPhase.BAKING:
        return f"rollout of {rollout.candidate}: baking, {rollout.stable} kept warm"
    if (
        rollout is not None
        and rollout.phase is RolloutPhase.ROLLED_BACK
        and rollout.candidate == status.failed
    ):
        found = f"seaway explain {status.endpoint}/{rollout.candidate}"
        return f"rollout of {rollout.candidate}: rolled back ({rollout.cause or rollout.why}); {found}"
    if status.desired is not None and status.desired != status.live:
        return f"revision {status.desired} is on its way"
    if status.failed is not None:
        return f"revision {status.failed} failed: {status.reason}"
    if status.previous is not None and status.warm_until is not None:
        return f"revision {status.previous} is kept warm until {status.warm_until[11:19]} UTC"
    return ""


def print_plan(plan: Plan) -> None:
    """What users will notice, then what will be done."""
    if plan.change is None:
        output.say(f"[bold]{plan.endpoint}[/] has nothing live: {plan.new_ref} would be its first version")
    else:
        _print_change(plan.change)
    output.say(f"\ngate of {plan.new_ref}: [bold]{plan.gate.verdict.value}[/]")
    for result in plan.gate.results:
        if result.verdict is not Verdict.PASSED:
            output.say(
                f"  {result.verdict.value} {output.plain(result.check)}: {output.plain(result.reason)}"
            )
    for warning in plan.warnings:
        output.say(f"[yellow]warning[/] {output.plain(warning)}")
    output.say("\n[bold]What will be done[/]")
    for number, step in enumerate(plan.steps, 1):
        output.say(f"  {number}. {output.plain(step)}")
    if plan.rollout is not None:
        output.say("\n[bold]The rollout[/]")
        for line in plan.rollout.lines:
            output.say(f"  {output.plain(line)}")


def _print_change(change: ChangeReport) -> None:
    output.say(f"[bold]What users will notice[/]  {change.old_ref} → {change.new_ref}")
    for line in change.breaking:
        output.say(f"  [red]clients must change[/] {output.plain(line)}")
    for line in (*change.compatible, *change.notes):
        output.say(f"  {output.plain(line)}")
    if change.rows:
        output.say(
            f"  {change.changed_rows:,} of {change.rows:,} golden rows change their answer ({change.changed_percent:.1f} %)"
        )
        output.table(
            None,
            ("  metric", "old", "new", "difference", "95 % interval"),
            [(f"  {m.metric}", m.old, m.new, m.difference, _interval(m.low, m.high)) for m in change.metrics],
        )
        _print_slice("gains most", change.gains, change.slices_examined)
        _print_slice("loses most", change.loses, change.slices_examined)
        if change.moved:
            output.say("  rows that move most")
            rows = [
                (
                    f"  {m.row}",
                    m.old,
                    m.new,
                    m.truth,
                    ", ".join(f"{k}={_short(v)}" for k, v in list(m.values.items())[:6]),
                )
                for m in change.moved
            ]
            output.table(None, ("  row", "old", "new", "truth", "values"), rows)
    if change.timing is not None:
        t = change.timing
        output.say(
            f"  one row alone: p50 {t.old_p50_ms:.3g} → {t.new_p50_ms:.3g} ms, p99 {t.old_p99_ms:.3g} → {t.new_p99_ms:.3g} ms (n={t.n})"
        )
    output.say(
        f"  size: {output.human_bytes(change.old_size_bytes)} → {output.human_bytes(change.new_size_bytes)}"
    )


def _interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:+.4g} … {high:+.4g}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _print_slice(word: str, found: SliceChange | None, examined: int) -> None:
    if found is None:
        output.say(f"  no slice to name that {word} ({examined} looked at)")
        return
    sure = "certain" if found.certain else "not certain"
    output.say(
        f"  {word}: {output.plain(found.where)}, {found.rows} rows, {found.gain:+.3g} per row "
        f"({found.low:+.3g} … {found.high:+.3g}, {sure}; {examined} slices looked at)"
    )
