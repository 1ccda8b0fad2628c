"""The model card: a bundle's README.md, written from its manifest, for people who read the artefact without Seaway."""

from __future__ import annotations

from seaway.core.bundles import Manifest
from seaway.core.tensors import TensorSpec, describe


def model_card(manifest: Manifest) -> bytes:
    """Markdown; equal manifests give equal bytes."""
    lines = [f"# {manifest.name}", "", f"A {manifest.task.value} model, packaged by Seaway.", ""]
    source = manifest.source
    made = ", ".join(f"{name} {version}" for name, version in sorted(source.versions.items()))
    lines += ["## Source", "", f"{source.description or source.kind}{f' ({made})' if made else ''}", ""]
    lines += ["## Inputs", "", *(_tensor(spec) for spec in manifest.signature.inputs), ""]
    lines += ["## Outputs", "", *(_tensor(spec) for spec in manifest.signature.outputs), ""]
    if manifest.classes:
        lines += ["Classes: " + ", ".join(f"`{value}`" for value in manifest.classes), ""]
    if manifest.requirements:
        lines += ["## Requirements", "", *(f"- `{text}`" for text in manifest.requirements), ""]
    if manifest.golden is not None:
        lines += [
            "## Golden set",
            "",
            f"{manifest.golden.rows} rows; the truth is `{manifest.golden.target}`.",
            "",
        ]
    lineage = manifest.lineage
    facts = {"data": lineage.data, "data digest": lineage.data_digest, "code": lineage.code, **lineage.extra}
    known = [f"- {name}: `{value}`" for name, value in facts.items() if value]
    known += [f"- parameter {name}: `{value}`" for name, value in sorted(lineage.parameters.items())]
    known += [f"- metric {name}: {value!r}" for name, value in sorted(lineage.metrics.items())]
    if known:
        lines += ["## Lineage", "", *known, ""]
    return "\n".join(lines).encode()


def _tensor(spec: TensorSpec) -> str:
    columns = f": {', '.join(spec.columns)}" if spec.columns else ""
    return f"- `{spec.name}` {describe(spec)}, {spec.meaning.value}{columns}"
