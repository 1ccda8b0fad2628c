"""Writes docs/images/watch.svg, what `seaway watch` shows of a real server under load: `python docs/make_watch_picture.py`.

Takes two minutes: it packages two models of the electricity market, starts a server on a home of its own,
deploys one and after a while the other by a canary, sends good, bad and heavy requests, and keeps the last picture.
"""

from __future__ import annotations

import io
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))

import datasets  # noqa: E402
import seaway  # noqa: E402
from electricity import models  # noqa: E402
from seaway import settings  # noqa: E402
from seaway.cli import watch, watch_view  # noqa: E402
from seaway.cli.watch_model import Watch  # noqa: E402
from seaway.testing import load  # noqa: E402
from seaway.wiring import control_access  # noqa: E402
from seaway.wiring.home import Home  # noqa: E402

HOME = ROOT / ".cache" / "watch-picture"
PICTURE = ROOT / "docs" / "images" / "watch.svg"
ENDPOINT = "electricity"
COLUMNS, LINES = 100, 40
RATES = (150, 250, 400, 550, 650, 600, 450, 300, 250, 350, 500, 700, 800, 750, 600, 500, 450)
"""Requests a second, each for five seconds."""
HEAVY_ROWS = 12_000
FILE = f"""\
version: 1
endpoint: {ENDPOINT}
serve: {{bundle: "{ENDPOINT}:v1"}}
limits: {{deadline: 80ms}}
rollout: {{steps: [5%, 25%, 100%], hold: 5s, checks: [errors, latency, predictions], inconclusive: {{after: 1h}}}}
"""


def main() -> None:
    """Make the picture anew."""
    shutil.rmtree(HOME, ignore_errors=True)
    rows = _package()
    (HOME / "endpoint.yaml").write_text(FILE)
    with _server() as port:
        subprocess.run(_words("deploy", "-f", str(HOME / "endpoint.yaml")), check=True)
        view = _drive(port, rows)
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(svg(view))
    print(f"{PICTURE.relative_to(ROOT)}: {view.recent.requests} requests, {view.recent.failed} failed")


def svg(view: Watch) -> str:
    """The picture in a terminal's frame, with the fonts of whoever looks at it: nothing is loaded from elsewhere."""
    console = Console(
        record=True, width=COLUMNS, force_terminal=True, color_system="truecolor", file=io.StringIO()
    )
    console.print(watch_view.render(view, COLUMNS, LINES))
    console.print()  # else the frame cuts into the last line
    text = console.export_svg(title=f"seaway watch {ENDPOINT}", theme=DIMMED_MONOKAI, unique_id="watch")
    return re.sub(r"\s*@font-face \{.*?\}", "", text, flags=re.S).replace("Fira Code, ", "")


def _package() -> list[bytes]:
    """Both versions; some rows to ask for, as JSON."""
    split = models.load(datasets.fetch("elec2"))
    golden = (split.golden.drop(columns=models.TARGET), split.golden[models.TARGET])
    for make in (models.logistic, models.boosted):
        seaway.package(make(split.train), name=ENDPOINT, golden=golden, home=HOME)
    return [json.dumps(row).encode() for row in golden[0].sample(500, random_state=0).to_dict("records")]


@contextmanager
def _server() -> Iterator[int]:
    reader, writer = os.pipe()
    words = [
        sys.executable,
        "-m",
        "seaway.wiring.supervisor",
        "--run",
        str(HOME / "run"),
        "--home",
        str(HOME),
    ]
    words += ["--http", "127.0.0.1:0", "--workers", "2", "--control", "--ready-fd", str(writer)]
    with (HOME / "up.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, pass_fds=[writer])
    os.close(writer)
    try:
        with os.fdopen(reader) as ready:
            if not select.select([ready], [], [], 60)[0]:
                raise SystemExit("the server did not start: " + (HOME / "up.log").read_text())
            line = ready.readline()
        yield int(line.strip().rpartition(":")[2])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def _drive(port: int, rows: list[bytes]) -> Watch:
    """Send requests as `RATES` say and look every five seconds; the last look."""

    def request(index: int) -> bytes:
        if index % 131 == 7:
            body = b'{"instances": [{"period": "noon"}]}'  # the caller's mistake
        elif index % 2999 == 600:
            body = b'{"instances": [' + b",".join([rows[0]] * HEAVY_ROWS) + b"]}"  # too much for the deadline
        else:
            body = b'{"instances": [' + rows[index % len(rows)] + b"]}"
        return load.post(f"/predict/{ENDPOINT}", f"127.0.0.1:{port}", body)

    home = Home(settings.load(HOME))
    with control_access.open_control(home) as control:
        poll = watch.Poll(control, ENDPOINT, home.clock)
        view = poll.look()
        for place, rate in enumerate(RATES):
            if place == len(RATES) - 8:
                deploying = subprocess.Popen(_words("deploy", f"{ENDPOINT}:v2"))
            load.run(load.Load("127.0.0.1", port, request, rate * 5, rate, seed=place))
            view = poll.look()
        if deploying.wait():
            raise SystemExit("the second version was not deployed")
    return view


def _words(*words: str) -> list[str]:
    return [sys.executable, "-m", "seaway", *words, "--home", str(HOME)]


if __name__ == "__main__":
    main()
