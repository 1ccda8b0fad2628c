"""How the demo talks: headings, and `seaway` commands as a user would type them, in a home of its own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.rule import Rule

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".cache" / "demo"
SEAWAY = str(Path(sys.executable).with_name("seaway"))
console = Console(highlight=False, width=118, soft_wrap=True)
started = time.monotonic()


def step(number: int, title: str) -> None:
    """A heading with the time that has passed."""
    console.print()
    console.print(
        Rule(f"[bold]{number}. {title}[/]  [dim]{time.monotonic() - started:.0f} s[/]", align="left")
    )


def run(*words: str, expect: int = 0, show: bool = True) -> str:
    """Run a `seaway` command as a user would type it, show what it prints, and stop the demo where it goes wrong."""
    if show:
        console.print(f"[bold cyan]$ seaway {shlex.join(words)}[/]")
    together = subprocess.STDOUT if show else subprocess.PIPE
    with subprocess.Popen(
        [SEAWAY, *words], stdout=subprocess.PIPE, stderr=together, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        printed = []
        for line in process.stdout:
            printed.append(line)
            if show:
                console.print(f"  {line.rstrip()}", markup=False)
    if show and process.returncode:
        console.print(f"  [dim](exit code {process.returncode})[/]")
    if process.returncode != expect:
        raise SystemExit(
            f"expected exit code {expect}, got {process.returncode}: seaway {shlex.join(words)}\n{''.join(printed)}"
        )
    return "".join(printed)


def environment() -> dict[str, str]:
    """The caller's, with the demo's home and a width that the output fits."""
    return {**os.environ, "SEAWAY_HOME": str(HOME), "COLUMNS": "114"}
