"""What Prometheus rules are made of; `alert_rules` and `rollout_rules` make them."""

from __future__ import annotations

from typing import Final

import msgspec

JOB: Final = "seaway"


class Rule(msgspec.Struct, frozen=True):
    """One rule: with `alert`, or with `record` alone. `hold_s` is Prometheus' `for`."""

    expr: str
    record: str | None = None
    alert: str | None = None
    hold_s: float = 0.0
    labels: tuple[tuple[str, str], ...] = ()
    summary: str = ""
    description: str = ""


class Group(msgspec.Struct, frozen=True):
    """Rules that are evaluated one after the other."""

    name: str
    rules: tuple[Rule, ...]


def labels(severity: str, endpoint: str, *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """Those of an alert about an endpoint."""
    return (("severity", severity), ("endpoint", endpoint), *more)
