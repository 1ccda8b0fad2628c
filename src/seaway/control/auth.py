"""Who asks, and whether they may: every use case calls `authorize` first."""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from seaway.core.errors import UserError


class Role(enum.StrEnum):
    """What a principal is to this home."""

    OWNER = "owner"
    STRANGER = "stranger"


class Principal(msgspec.Struct, frozen=True):
    """Who acts; `name` is what events record."""

    name: str
    role: Role


class Action(enum.StrEnum):
    """What can be asked of the control plane."""

    READ = "read"
    DEPLOY = "deploy"
    ROLLBACK = "rollback"
    DELETE = "delete"
    PROMOTE = "promote"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    APPROVE = "approve"
    TRAFFIC = "traffic"
    FEEDBACK = "feedback"
    ERASE = "erase"


_GRANTS: Final[dict[Role, frozenset[Action]]] = {Role.OWNER: frozenset(Action)}


def authorize(principal: Principal, action: Action, resource: str) -> None:
    """Raises `UserError("forbidden")` unless a grant allows it: what nobody granted is denied.

    `resource` is `endpoints` or `endpoints/NAME`.
    """
    if action not in _GRANTS.get(principal.role, frozenset()):
        raise UserError(
            "forbidden",
            f"{principal.name} may not {action} {resource}",
            "ask the owner of this Seaway, or run the command as the user who started it",
        )
