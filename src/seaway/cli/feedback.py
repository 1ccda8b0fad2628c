"""The verbs of outcomes: `feedback import` and `quality`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from seaway.cli import output
from seaway.cli.options import COMMON, Common
from seaway.core.errors import UserError

if TYPE_CHECKING:
    from seaway.core.feedback import FeedbackAnswer
    from seaway.core.quality import GroupQuality, Quality

_HEADS = ("labelled", "share", "accuracy", "precision", "recall", "F1", "ECE", "Brier")
_NUMBER_HEADS = ("labelled", "share", "MAE", "RMSE", "bias", "p50", "p90", "worst")
_MOST_CLASSES = 20
_MOST_NAMED = 5


def import_file(
    file: Annotated[Path, Parameter(help="CSV with a header (.csv), or JSON lines.")],
    /,
    *,
    common: Common = COMMON,
) -> int:
    """Tell what became of predictions. CSV columns: request_id, row, outcome, id, at, kpi.NAME, slice.NAME.

    Importing a file again counts nothing twice: after an interruption, run the same command again.
    """
    from seaway.core.feedback import FeedbackAnswer
    from seaway.wiring import control_access, feedback_files
    from seaway.wiring.home import Home

    total = FeedbackAnswer()
    with (
        control_access.open_control(Home(common.configuration())) as control,
        output.progress(common.json) as progress,
    ):
        for part in feedback_files.parts(file):
            try:
                total = total.plus(control.feedback(part.body, feedback_files.LINES))
            except UserError as error:
                where = f"{file}, in the part that begins with row {part.first}"
                kept = f"{total.rows} rows before it are kept; mend it and import the file again"
                raise UserError(error.code, f"{where}: {error.message}", kept) from error
            progress(f"{file.name}: {total.rows} rows")
    if common.json:
        output.print_json(total)
    else:
        _print_total(file, total)
    return 0


def quality(
    endpoint: Annotated[str, Parameter(help="The endpoint.")],
    /,
    *,
    since: Annotated[str, Parameter(help="Predictions since then: 7d, 24h, or an ISO 8601 time.")] = "7d",
    until: Annotated[str | None, Parameter(help="Until before then; now when omitted.")] = None,
    by: Annotated[str, Parameter(help="revision, window (an hour), or the name of a slice.")] = "revision",
    revision: Annotated[int | None, Parameter(help="One revision alone.")] = None,
    slice: Annotated[str | None, Parameter(help="NAME=VALUE: only rows of that slice.")] = None,
    common: Common = COMMON,
) -> int:
    """Say how good the answers were, by the outcomes that came."""
    from seaway.wiring import control_access
    from seaway.wiring.home import Home

    given = {"since": since, "until": until, "by": by, "slice": slice}
    asked = {name: value for name, value in given.items() if value is not None}
    if revision is not None:
        asked["revision"] = str(revision)
    with control_access.open_control(Home(common.configuration())) as control:
        found = control.quality(endpoint, asked)
    if common.json:
        output.print_json(found)
    else:
        _print_quality(found)
    return 0


def _print_total(file: Path, total: FeedbackAnswer) -> None:
    facts = total.accepted + total.duplicates + total.conflicting
    output.say(f"{output.plain(file)}: {total.rows} rows, {facts} facts (an outcome and each KPI is one)")
    rows = [
        ("accepted", total.accepted, "kept, and safe on disk"),
        ("  of them pending", total.pending, "their prediction was not seen yet"),
        (
            "  of them unusable",
            total.unusable,
            "their prediction has no such row, or no answer to compare with",
        ),
        ("duplicates", total.duplicates, "were known already"),
        ("conflicting", total.conflicting, "contradict what came first; not used"),
    ]
    output.table(None, ("facts", "", ""), rows)


def _print_quality(found: Quality) -> None:
    output.say(f"{found.endpoint}: predictions from {found.since} until {found.until}")
    classes = [group for group in found.groups if group.classes is not None]
    numbers = [group for group in found.groups if group.numbers is not None]
    label = {"revision": "revision", "window": "window"}.get(found.by, output.plain(found.by))
    if classes:
        output.table(None, (label, *_HEADS), [(_label(g), *_class_cells(g)) for g in classes])
    if numbers:
        output.table(None, (label, *_NUMBER_HEADS), [(_label(g), *_number_cells(g)) for g in numbers])
    if not classes and not numbers:
        output.say("no outcome of that time: send them to POST /feedback, or: seaway feedback import FILE")
    if any(group.label_share is None for group in classes + numbers):
        output.note(
            "share is - where answered rows are not counted: by slice, more than two days ago, in the last seconds"
        )
    _print_unknown(classes)
    for note in found.notes:
        output.note(output.plain(note))
    kpis = [(_label(g), k.name, k.n, k.mean, k.sum) for g in found.groups for k in g.kpis]
    if kpis:
        output.table(None, (label, "KPI", "n", "mean", "sum"), kpis)
    if len(classes) == 1:
        _print_classes(classes[0])
    state = found.state
    output.say(
        f"not counted: {state.pending} pending and {state.unmatched} unmatched (of all endpoints); "
        f"{state.unusable} unusable, {state.conflicting} conflicting"
    )
    if found.groups_left_out:
        output.note(f"{found.groups_left_out} groups with the fewest outcomes are left out")


def _print_unknown(groups: list[GroupQuality]) -> None:
    """Outcomes of a class that none of the labelled answers was: a rare class or selection, or one that the model does not have."""
    support, answered = Counter[str](), Counter[str]()
    for group in groups:
        assert group.classes is not None
        support.update({one.name: one.support for one in group.classes.classes})
        answered.update({one.name: one.answered for one in group.classes.classes})
    never = sorted(
        (name for name in support if support[name] and not answered[name]), key=lambda n: (-support[n], n)
    )
    if never:
        more = f" and {len(never) - _MOST_NAMED} more" if len(never) > _MOST_NAMED else ""
        shown = ", ".join(output.plain(name) for name in never[:_MOST_NAMED])
        total = sum(support[name] for name in never)
        noun = "outcome names" if total == 1 else "outcomes name"
        output.note(f"{total} {noun} what none of the labelled answers of this selection was: {shown}{more}")


def _print_classes(group: GroupQuality) -> None:
    """Each class of the one group that is shown."""
    assert group.classes is not None
    by_size = sorted(group.classes.classes, key=lambda one: (-one.support, one.name))
    rows = [
        (one.name, one.support, one.answered, _ratio(one.precision), _ratio(one.recall), _ratio(one.f1))
        for one in by_size[:_MOST_CLASSES]
    ]
    output.table(None, ("class", "true", "answered", "precision", "recall", "F1"), rows)
    if len(by_size) > _MOST_CLASSES:
        output.note(f"{len(by_size) - _MOST_CLASSES} more classes: --json shows them")


def _label(group: GroupQuality) -> str:
    what = group.window_at or group.slice
    return f"{group.revision}" if what is None else f"{group.revision} {what}"


def _class_cells(group: GroupQuality) -> tuple[object, ...]:
    found = group.classes
    assert found is not None
    sure = found.calibration
    return (
        group.labelled,
        _share(group),
        *(_ratio(one) for one in (found.accuracy, found.precision, found.recall, found.f1)),
        None if sure is None else _ratio(sure.ece),
        None if sure is None else _ratio(sure.brier),
    )


def _number_cells(group: GroupQuality) -> tuple[object, ...]:
    found = group.numbers
    assert found is not None
    figures = (found.mae, found.rmse, found.bias, found.p50, found.p90, found.worst)
    return group.labelled, _share(group), *figures


def _share(group: GroupQuality) -> str | None:
    return None if group.label_share is None else f"{group.label_share:.1%}"


def _ratio(value: float) -> str:
    return f"{value:.4f}"
