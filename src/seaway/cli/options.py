"""Options that every verb takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from seaway import settings
from seaway.core.errors import UserError


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """Where the home is, and how to print."""

    home: Annotated[
        Path | None, Parameter(help="Seaway's home directory; else SEAWAY_HOME, else ~/.seaway.")
    ] = None
    json: Annotated[bool, Parameter(negative="", help="Print one JSON document instead of text.")] = False

    def configuration(self) -> settings.Configuration:
        return settings.load(self.home)


COMMON = Common()
Many = Parameter(negative="", show_default=False)
Flag = Parameter(negative="")
Reason = Annotated[str | None, Parameter(help="Why; it is recorded.")]


def given(reason: str | None) -> str | None:
    """A `Reason` as it is recorded. Raises `UserError("invalid_request")` for an empty one."""
    if reason is not None and not reason.strip():
        raise UserError("invalid_request", "the reason is empty; it is recorded", "--reason 'WHY'")
    return reason
