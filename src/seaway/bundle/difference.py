"""What differs between two versions, for `seaway diff`; pure, on their manifests and environment locks."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping

import msgspec

from seaway.bundle import steps
from seaway.core.bundles import Manifest
from seaway.core.steps import Steps
from seaway.core.tensors import TensorSpec, describe


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One difference: `area` is the part of the bundle; `before` or `after` is None where it was not there."""

    area: str
    what: str
    before: str | None
    after: str | None


def difference(
    a: Manifest, b: Manifest, locks: tuple[bytes | None, bytes | None] = (None, None)
) -> tuple[Change, ...]:
    """The changes from `a` to `b`, area by area; `locks` are the bytes of their environment locks, if any."""
    changes: list[Change] = []
    changes += _compare("model", _facts(a), _facts(b))
    changes += _compare("input", _tensors(a.signature.inputs), _tensors(b.signature.inputs))
    changes += _compare("output", _tensors(a.signature.outputs), _tensors(b.signature.outputs))
    changes += _compare("source", a.source.versions, b.source.versions)
    changes += _compare(
        "requirement", dict.fromkeys(a.requirements, "asked"), dict.fromkeys(b.requirements, "asked")
    )
    changes += _compare("lineage", _lineage(a), _lineage(b))
    changes += _compare("environment", _packages(locks[0]), _packages(locks[1]))
    changes += _compare("file", _files(a), _files(b))
    return tuple(changes)


def _compare(area: str, a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[Change]:
    for key in dict.fromkeys((*a, *b)):
        if a.get(key) != b.get(key):
            yield Change(area, key, a.get(key), b.get(key))


def _facts(manifest: Manifest) -> dict[str, str]:
    tolerance = manifest.tolerance
    facts = {
        "name": manifest.name,
        "task": manifest.task.value,
        "source": manifest.source.description or manifest.source.kind,
        "classes": ", ".join(str(value) for value in manifest.classes),
        "size": f"{sum(file.size_bytes for file in manifest.files):,} bytes",
        "tolerance": f"{tolerance.absolute:g} + {tolerance.relative:g}·|x|, labels {tolerance.label_agreement:.4%}",
    }
    if isinstance(manifest.steps, Steps):
        facts["steps"] = steps.describe(manifest.steps.rules)
    if manifest.golden is not None:
        facts["golden set"] = f"{manifest.golden.rows} rows, truth {manifest.golden.target}"
    return facts


def _tensors(specs: tuple[TensorSpec, ...]) -> dict[str, str]:
    return {
        spec.name: " ".join(
            part
            for part in (
                describe(spec),
                spec.meaning.value,
                "may be missing" if spec.nullable else "",
                f"({', '.join(spec.columns)})" if spec.columns else "",
            )
            if part
        )
        for spec in specs
    }


def _lineage(manifest: Manifest) -> dict[str, str]:
    lineage = manifest.lineage
    facts = {"data": lineage.data, "data_digest": lineage.data_digest, "code": lineage.code}
    return {
        **{key: value for key, value in facts.items() if value is not None},
        **{f"param.{key}": value for key, value in lineage.parameters.items()},
        **{f"metric.{key}": repr(value) for key, value in lineage.metrics.items()},
        **lineage.extra,
    }


def _packages(lock: bytes | None) -> dict[str, str]:
    if lock is None:
        return {}
    found = tomllib.loads(lock.decode("utf-8"))
    return {package["name"]: package.get("version", "") for package in found.get("packages", ())}


def _files(manifest: Manifest) -> dict[str, str]:
    return {file.path: f"{file.size_bytes:,} bytes, {file.digest[:19]}…" for file in manifest.files}
