"""`seaway explain`: what is known of one request, or of one rollout."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from seaway.cli import output, rollout_explained
from seaway.cli.options import COMMON, Common
from seaway.core.errors import UserError
from seaway.core.records import Chosen

if TYPE_CHECKING:
    from seaway.core.provenance import Explanation

_OUTCOMES: Final = 10
_SPLIT: Final = "the split of {rollout} sent it there"
_WHY: Final = {
    Chosen.ONLY: "it had all the traffic",
    Chosen.SPLIT: _SPLIT,
    Chosen.SLICE: f"{_SPLIT} (its user is in the slice that is compared with the stable's others)",
    Chosen.NAMED: "the client asked for this revision",
    Chosen.FLAG: "a flag of {rollout} sent it there",
    Chosen.FALLBACK: "another revision could not answer it",
}


def explain(
    what: Annotated[str, Parameter(help="The x-request-id of an answer, or a rollout: ENDPOINT/NUMBER.")],
    /,
    *,
    common: Common = COMMON,
) -> int:
    """Say which revision answered a request, why, how long it took and what came true; or how a rollout went, and why."""
    rollout = rollout_explained.ROLLOUT.match(what)
    if rollout is None:
        return _request(what, common)
    try:
        return _rollout(rollout[1], int(rollout[2]), common)
    except UserError as error:
        try:
            return _request(what, common)  # a request's id may look the same
        except UserError as missing:
            raise (missing if error.code == "endpoint_not_found" else error) from None


def _rollout(endpoint: str, number: int, common: Common) -> int:
    from seaway.wiring import control_access
    from seaway.wiring.home import Home

    found = control_access.rollout_record(Home(common.configuration()), endpoint, number)
    if common.json:
        output.print_json(found)
    else:
        rollout_explained.print_record(found)
    return 0


def _request(request_id: str, common: Common) -> int:
    from seaway.monitor.feedback import reading as outcomes_read
    from seaway.monitor.provenance import explanations
    from seaway.wiring import control_access
    from seaway.wiring.home import Home

    home = Home(common.configuration())
    outcomes = functools.partial(outcomes_read.outcomes_of, home.paths.records)
    found = explanations.explain(home.paths.records, request_id, outcomes)
    found = control_access.with_rollouts(home, found)
    if common.json:
        output.print_json(found)
        return 0
    for place, request in enumerate(found.requests):
        if place:
            output.say("")
        _print(request)
    if len(found.requests) > 1:
        output.note(f"{len(found.requests)} requests had this id; the newest stands first")
    return 0


def _print(found: Explanation) -> None:
    output.say(f"[bold]{output.plain(found.request_id)}[/]  {_time(found.at_s)}")
    output.table(None, ("", ""), list(_facts(found)))
    if found.answers:
        output.say("")
        columns = ("row", "answer", "confidence", *found.by.slices)
        output.table(None, columns, list(_answers(found, len(found.by.slices))))
        rest = found.rows - len(found.answers)
        if rest > 0:
            output.say(f"and {rest} more rows")
    if found.outcomes:
        output.say("")
        rows = [(one.row, one.outcome, _time(one.at_s)) for one in found.outcomes[:_OUTCOMES]]
        output.table(None, ("row", "outcome", "told at"), rows)


def _facts(found: Explanation) -> Iterator[tuple[str, object]]:
    by = found.by
    yield "endpoint", f"{by.endpoint}, revision {by.revision}" + (f" ({by.ref})" if by.ref else "")
    yield "chosen", None if found.chosen is None else _why(found, found.chosen)
    yield "digest", by.digest
    yield "answered", f"{found.code} over {found.door}, to {found.caller}"
    yield "worker", f"slot {found.slot}, process {found.pid}"
    yield (
        "took",
        f"{_ms(found.took_s)}: queue {_ms(found.queue_s)}, run {_ms(found.run_s)}, "
        + (f"the rest {_ms(max(0.0, found.took_s - found.queue_s - found.run_s))}"),
    )
    yield "batch", f"{found.rows} of {found.batch_rows} rows" if found.batch_rows else "it did not run"
    yield "cost", f"{_ms(found.cpu_s)} of processor time"
    yield "trace", found.trace_id
    yield "recorded", "all requests" if found.rate >= 1.0 else f"{found.rate:.2%} of the requests"
    if not found.outcomes:
        yield "outcome", "not known"


def _why(found: Explanation, chosen: Chosen) -> str:
    """Why this revision got the request."""
    then = found.rollout
    if then is None:
        return _WHY[chosen].format(rollout="a rollout")
    name, share = (
        f"{found.by.endpoint}/{then.candidate}",
        f"revision {then.candidate} had {then.percent:g} % then",
    )
    if chosen is Chosen.FALLBACK:
        return f"revision {then.candidate}, the candidate of the rollout {name}, could not answer it; {share}"
    said = _WHY[chosen].format(rollout=f"the rollout {name}")
    if chosen is not Chosen.FLAG:
        return f"{said}; {share}"
    if not then.flags:
        return said
    return f"{said} ({'one of: ' if len(then.flags) > 1 else ''}{'; '.join(then.flags)})"


def _answers(found: Explanation, slices: int) -> Iterator[tuple[object, ...]]:
    for place, row in enumerate(found.answers):
        values = (*row.slices, *("",) * slices)[:slices]
        yield place, row.answer, row.confidence, *values


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"


def _time(at_s: float) -> str:
    at = datetime.datetime.fromtimestamp(at_s, tz=datetime.UTC)
    return at.strftime("%Y-%m-%d %H:%M:%S.") + f"{at.microsecond // 1000:03d} UTC"
