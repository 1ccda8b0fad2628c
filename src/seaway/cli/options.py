"""Options that every verb takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from seaway import settings


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
