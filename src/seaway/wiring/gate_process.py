"""The process in which the control process has a version judged: `python -m seaway.wiring.gate_process HOME NEW [OLD]`.

Prints the report as JSON; the report is kept beside the version too.
"""

from __future__ import annotations

import sys

import msgspec

from seaway import settings
from seaway.core.errors import SeawayError
from seaway.validate import report as pages
from seaway.wiring import gates
from seaway.wiring.home import Home


def main(arguments: list[str]) -> int:
    """Judge one version; 0 with a report on standard output, `gates.REFUSED` with an error there."""
    home = Home(settings.load(arguments[0]))
    try:
        baseline = home.version(arguments[2]) if len(arguments) > 2 else None
        report = gates.current_report(home, home.version(arguments[1]), baseline, lambda _text: None)
    except SeawayError as error:
        sys.stdout.buffer.write(msgspec.json.encode(gates.Fault(error.code, error.message, error.hint)))
        return gates.REFUSED
    sys.stdout.buffer.write(pages.to_json(report))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
