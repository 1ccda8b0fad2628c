"""How one version, and the difference of two, look in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seaway.bundle import steps
from seaway.bundle.difference import Change
from seaway.bundle.parity import ParityReport
from seaway.cli import gates, output
from seaway.core.bundles import Manifest, Version
from seaway.core.checks import GateReport
from seaway.core.steps import Steps
from seaway.core.tensors import TensorSpec, describe


def show(
    version: Version,
    manifest: Manifest,
    report: GateReport | None,
    parity: ParityReport | None,
    page: Path | None,
) -> None:
    """Identity, Signature, origin, what it promises, and the last gate."""
    output.say(f"[bold]{version.ref}[/]  {version.digest}")
    source = f"{manifest.source.kind} {manifest.source.description}".strip()
    versions = ", ".join(f"{name} {number}" for name, number in sorted(manifest.source.versions.items()))
    facts: list[tuple[str, object]] = [
        ("packaged", version.created_at),
        ("size", f"{output.human_bytes(version.size_bytes)} in {len(manifest.files)} files"),
        ("source", f"{source} ({versions})" if versions else source),
        ("task", manifest.task.value),
    ]
    if isinstance(manifest.steps, Steps):
        facts.append(("steps", steps.describe(manifest.steps.rules)))
    if manifest.golden:
        facts.append(("golden set", f"{manifest.golden.rows} rows, truth in {manifest.golden.target!r}"))
    if manifest.requirements:
        facts.append(("requires", ", ".join(manifest.requirements)))
    facts += _lineage(manifest)
    if parity is not None:
        facts.append(("parity", parity.summary()))
    facts.append(("environment", manifest.environment or "not locked"))
    output.table(None, ("", ""), facts)
    output.say("")
    rows = [("input", *_spec(spec)) for spec in manifest.signature.inputs]
    rows += [("output", *_spec(spec)) for spec in manifest.signature.outputs]
    output.table("signature", ("", "name", "type", "meaning"), rows)
    output.say("")
    if report is None:
        output.say(f"gate: not validated yet; seaway validate {version.ref}")
    else:
        gates.print_report(report, page)


def _lineage(manifest: Manifest) -> list[tuple[str, object]]:
    lineage = manifest.lineage
    facts: list[tuple[str, object]] = []
    if lineage.data or lineage.data_digest:
        facts.append(("trained on", f"{lineage.data or ''} {lineage.data_digest or ''}".strip()))
    if lineage.code:
        facts.append(("code", lineage.code))
    named = {**lineage.parameters, **{k: f"{v:g}" for k, v in lineage.metrics.items()}, **lineage.extra}
    return [*facts, *named.items()]


def _spec(spec: TensorSpec) -> tuple[str, str, str]:
    extra = " may be missing" if spec.nullable else ""
    columns = ", ".join(spec.columns[:8]) + (" …" if len(spec.columns) > 8 else "")
    return spec.name, describe(spec), f"{spec.meaning.value}{extra}" + (f": {columns}" if columns else "")


def changes(found: Sequence[Change]) -> None:
    """One line per difference; says so where there is none."""
    if not found:
        output.say("nothing that decides predictions differs")
        return
    rows = [(change.area, change.what, change.before, change.after) for change in found]
    output.table(None, ("", "what", "old", "new"), rows)
