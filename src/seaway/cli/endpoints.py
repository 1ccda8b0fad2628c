"""The verbs of endpoints: deploy, status, predict, rollback, history, delete."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from seaway.cli import endpoints_view, history_view, output
from seaway.cli.options import COMMON, Common, Flag, Reason, given
from seaway.core.errors import UserError

if TYPE_CHECKING:
    from seaway.client.predictions import Client
    from seaway.control import views
    from seaway.control.rollouts import views as rollouts
    from seaway.wiring.control_access import Control

_ROWS_PER_REQUEST = 1000

Wait = Annotated[bool, Parameter(negative="--no-wait", help="Wait until it is live, and show the way there.")]


def deploy(
    ref: Annotated[str | None, Parameter(help="NAME:v3 or NAME@sha256:…")] = None,
    /,
    *,
    file: Annotated[Path | None, Parameter(name=["--file", "-f"], help="An endpoint.yaml.")] = None,
    endpoint: Annotated[str | None, Parameter(help="The endpoint; else the model's name.")] = None,
    plan: Annotated[bool, Flag, Parameter(help="Only say what would change and what would be done.")] = False,
    override: Annotated[
        str | None, Parameter(help="Deploy although the gate failed, for this recorded reason.")
    ] = None,
    force_from_broken: Annotated[
        str | None,
        Parameter(help="All traffic at once, since what is live is broken itself; for this recorded reason."),
    ] = None,
    wait: Wait = True,
    follow: Annotated[
        bool, Flag, Parameter(help="Wait to the end of the rollout; exits 3 where it is taken back.")
    ] = False,
    common: Common = COMMON,
) -> int:
    """Put a version behind an endpoint, once its gate passed; by a rollout where its file has one.

    Returns when it is live, or when its rollout has begun. Exits 3 where the gate, the first prediction or the rollout
    fails.
    """
    from seaway.control import views
    from seaway.core.bundles import ModelRef
    from seaway.wiring import control_access
    from seaway.wiring.home import Home

    home = Home(common.configuration())
    for option, reason in (("--override", override), ("--force-from-broken", force_from_broken)):
        if reason is not None and not reason.strip():
            raise UserError("invalid_request", f"{option} needs a reason; it is recorded", f"{option} 'WHY'")
    if follow and not wait:
        raise UserError("invalid_request", "--follow waits, and --no-wait does not", "leave one of them out")
    if (ref is None) == (file is None):
        raise UserError(
            "invalid_request", "name either a version or a file", "seaway deploy NAME:v3, or -f endpoint.yaml"
        )
    if file is not None:
        spec = control_access.read_endpoint_file(file)
        if endpoint is not None:
            raise UserError("invalid_request", "the file names the endpoint already", "leave --endpoint out")
        name = spec.endpoint
        request = views.DeployRequest(spec=spec, override=override, force=force_from_broken)
    else:
        name = endpoint or ModelRef.parse(ref or "").name
        request = views.DeployRequest(bundle=ref, override=override, force=force_from_broken)
    if plan:
        return _plan(home, name, request, common)
    with control_access.open_control(home) as control, output.progress(common.json) as progress:
        progress(f"{name}: running the gate")
        accepted = control.deploy(name, request)
        return _finish(control, accepted, wait, common, progress, to_end=follow)


def _plan(home: object, endpoint: str, request: views.DeployRequest, common: Common) -> int:
    from seaway.wiring import plans
    from seaway.wiring.home import Home

    assert isinstance(home, Home)
    with output.progress(common.json) as progress:
        plan = plans.make(home, endpoint, request, progress)
    if common.json:
        output.print_json(plan)
    else:
        endpoints_view.print_plan(plan)
    return 3 if plan.refused else 0


def _finish(
    control: Control,
    accepted: views.Accepted,
    wait: bool,
    common: Common,
    progress: endpoints_view.Progress,
    *,
    to_end: bool = False,
) -> int:
    """Follow a change until it took effect; raises `revision_failed` where it did not."""
    import msgspec

    from seaway.wiring.clock import SystemClock

    if accepted.superseded is not None and not common.json:
        _note(endpoints_view.superseding(accepted.endpoint, accepted.superseded))
    if wait:
        tell = progress if common.json else _note
        now_s = SystemClock().monotonic_s
        accepted = endpoints_view.follow(control, accepted, progress, now_s, tell=tell, to_end=to_end)
    rollout = _rollout(control, accepted)
    if common.json:
        more = {} if rollout is None else {"rollout": rollout}
        output.print_json({**msgspec.to_builtins(accepted), **more})
    else:
        endpoints_view.print_accepted(accepted, rollout, waited=wait)
    return 0


def _note(text: str) -> None:
    """What an event says may hold brackets, as ONNX Runtime's messages do."""
    output.note(output.plain(text))


def _rollout(control: Control, accepted: views.Accepted) -> rollouts.RolloutStatus | None:
    """The rollout that a change began; None where it began none."""
    if not accepted.changed or accepted.revision is None:
        return None
    found = next((e.rollout for e in control.status().endpoints if e.endpoint == accepted.endpoint), None)
    if found is None or found.candidate != accepted.revision:
        return None
    return control.rollout(accepted.endpoint)


def status(
    endpoint: Annotated[str | None, Parameter(help="One endpoint; all when omitted.")] = None,
    /,
    *,
    common: Common = COMMON,
) -> int:
    """What is live, what is on its way, and how the workers are."""
    from seaway.client import address
    from seaway.wiring import control_access
    from seaway.wiring.home import Home

    configuration = common.configuration()
    with control_access.open_control(Home(configuration)) as control:
        found = control.status()
        server = address.server_url(configuration) if control.running else None
    if endpoint is not None:
        endpoints_view.only(found, endpoint)
    if common.json:
        output.print_json(endpoints_view.status_document(found, endpoint, server))
    else:
        endpoints_view.print_status(found, endpoint, server)
    return 0


def predict(
    endpoint: Annotated[str, Parameter(help="The endpoint.")],
    /,
    *,
    data: Annotated[
        str,
        Parameter(
            allow_leading_hyphen=True,
            help="CSV, JSON lines or Parquet; - reads CSV or JSON lines from standard input.",
        ),
    ],
    stream: Annotated[
        bool,
        Flag,
        Parameter(
            help="The data is one JSON row; print each reply of the model when it comes, one per line."
        ),
    ] = False,
    url: Annotated[
        str | None, Parameter(help="The server's address, http:// or https://; else the one of this home.")
    ] = None,
    ca: Annotated[
        Path | None, Parameter(help="PEM certificates to trust over HTTPS; else those of the system.")
    ] = None,
    common: Common = COMMON,
) -> int:
    """Send the rows of a file to an endpoint and print one prediction per line (JSON)."""
    from seaway.bundle import datafiles
    from seaway.cli import endpoint_metadata
    from seaway.client.predictions import Client
    from seaway.wiring import adapters

    if stream:
        return _stream(endpoint, data, Client(url, home=common.home, ca=ca), common)
    if data == "-":
        file = datafiles.DataFile(sys.stdin.buffer.read(), "standard input")
    else:
        file = datafiles.DataFile.open(Path(data), adapters.table_readers())
    client = Client(url, home=common.home, ca=ca)
    table = file.table(endpoint_metadata.signature(client.address, endpoint))
    predictions: list[object] = []
    for start in range(0, table.rows, _ROWS_PER_REQUEST):
        predictions += client.predict(endpoint, table.take(slice(start, start + _ROWS_PER_REQUEST)))
    if common.json:
        output.print_json({"predictions": predictions})
    else:
        output.print_lines(predictions)
    return 0


def _stream(endpoint: str, data: str, client: Client, common: Common) -> int:
    """Print the replies to one row as they come."""
    import msgspec

    try:
        text = sys.stdin.buffer.read() if data == "-" else Path(data).read_bytes()
        row = msgspec.json.decode(text)
    except OSError as error:
        raise UserError("file_not_found", f"{data} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise UserError(
            "invalid_data", f"{data} is not one JSON row: {error}", 'such as {"x": [0.5, 0.25]}'
        ) from error
    replies = client.stream(endpoint, row)
    if common.json:
        output.print_json({"replies": list(replies)})
        return 0
    for reply in replies:
        output.print_line(reply)
    return 0


def rollback(
    endpoint: Annotated[str, Parameter(help="The endpoint.")],
    /,
    *,
    to: Annotated[int | None, Parameter(help="The revision to go back to; else the last good one.")] = None,
    reason: Reason = None,
    wait: Wait = True,
    common: Common = COMMON,
) -> int:
    """Take an endpoint back to an earlier revision; at once where that revision is still warm."""
    from seaway.wiring import control_access
    from seaway.wiring.home import Home

    with (
        control_access.open_control(Home(common.configuration())) as control,
        output.progress(common.json) as progress,
    ):
        return _finish(control, control.rollback(endpoint, to, given(reason)), wait, common, progress)


def history(
    endpoint: Annotated[str | None, Parameter(help="One endpoint; all when omitted.")] = None,
    /,
    *,
    at: Annotated[str | None, Parameter(help="Say what was live at this time (ISO 8601).")] = None,
    common: Common = COMMON,
) -> int:
    """Who did what when, with digests; with --at, what answered at that time."""
    from seaway.wiring import control_access
    from seaway.wiring.home import Home

    with control_access.open_control(Home(common.configuration())) as control:
        found = control.live_at(at, endpoint) if at else control.history(endpoint)
    if common.json:
        output.print_json(found)
    else:
        history_view.print_history(found, at, endpoint)
    return 0


def delete(
    endpoint: Annotated[str, Parameter(help="The endpoint.")],
    /,
    *,
    wait: Wait = True,
    common: Common = COMMON,
) -> int:
    """Delete an endpoint after its last request; its models and its history stay."""
    from seaway.wiring import control_access
    from seaway.wiring.home import Home

    with (
        control_access.open_control(Home(common.configuration())) as control,
        output.progress(common.json) as progress,
    ):
        return _finish(control, control.delete(endpoint), wait, common, progress)
