"""`python -m seaway` is `seaway`."""

from __future__ import annotations

from seaway.cli.entry import run

if __name__ == "__main__":
    run()
