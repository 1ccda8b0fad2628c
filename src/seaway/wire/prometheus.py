"""Prometheus text format 0.0.4: rendering families of samples, and adding up what several workers report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Sample(msgspec.Struct, frozen=True):
    """One line; `suffix` is such as `_bucket`."""

    labels: Mapping[str, str]
    value: float
    suffix: str = ""


class Family(msgspec.Struct, frozen=True):
    """One metric; `kind` is counter, gauge or histogram."""

    name: str
    kind: str
    help: str
    samples: list[Sample]


def render(families: Iterable[Family]) -> str:
    """Families without samples are left out."""
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        lines.append(f"# HELP {family.name} {family.help}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for sample in family.samples:
            labels = ",".join(f'{key}="{_escape(value)}"' for key, value in sample.labels.items())
            name = f"{family.name}{sample.suffix}"
            lines.append(
                f"{name}{{{labels}}} {sample.value:.17g}" if labels else f"{name} {sample.value:.17g}"
            )
    return "\n".join(lines) + "\n" if lines else ""


def merge(texts: Iterable[str]) -> str:
    """One text out of several made by `render`: lines of the same name and labels are added up."""
    families: dict[str, tuple[list[str], dict[str, float]]] = {}
    for text in texts:
        current: tuple[list[str], dict[str, float]] = ([], {})
        for line in text.splitlines():
            if line.startswith("# HELP "):
                name = line.split(" ", 3)[2]
                current = families.setdefault(name, ([], {}))
                if not current[0]:
                    current[0].append(line)
            elif line.startswith("# TYPE "):
                if len(current[0]) == 1:
                    current[0].append(line)
            elif line:
                series, _, value = line.rpartition(" ")
                current[1][series] = current[1].get(series, 0.0) + float(value)
    lines: list[str] = []
    for head, series_values in families.values():
        lines += head
        lines += [f"{series} {value:.17g}" for series, value in series_values.items()]
    return "\n".join(lines) + "\n" if lines else ""


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
