"""The main job of Seaway on real data, in a minute and a half: package, check, deploy, replace, refuse, take back, promote
by a canary what is better, catch in one what is worse, know.

`make demo` runs it. Every command that it shows can be typed; it uses a home of its own under `.cache/demo`.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.rule import Rule

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import datasets
import seaway
from electricity import canary, models
from electricity.shell import HOME, ROOT, SEAWAY, console, environment, run, started, step


@contextmanager
def server(address: str) -> Iterator[None]:
    """`seaway up` in the background."""
    console.print(f"[bold cyan]$ seaway up --http {address} &[/]")
    with (HOME / "up.log").open("w") as log:
        process = subprocess.Popen(
            [SEAWAY, "up", "--http", address], stdout=log, stderr=log, env=environment()
        )
    try:
        deadline = time.monotonic() + 30
        while subprocess.run(
            [SEAWAY, "status"], capture_output=True, env=environment()
        ).returncode or not _ready(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the server did not start:\n" + (HOME / "up.log").read_text())
        console.print(f"  ready on http://{address}")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def _ready(address: str) -> bool:
    done = subprocess.run(["curl", "-sf", "-o", os.devnull, f"http://{address}/v2/health/ready"])
    return done.returncode == 0


def free_address() -> str:
    """A free port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def curl(address: str, row: dict[str, Any]) -> None:
    """Call the endpoint with a client that knows nothing of Seaway."""
    body = json.dumps({"instances": [row]})
    command = [
        "curl",
        "-s",
        "-i",
        f"http://{address}/predict/electricity",
        "-H",
        "content-type: application/json",
    ]
    console.print(f"[bold cyan]$ {shlex.join([*command, '-d', body])}[/]", soft_wrap=True)
    answer = subprocess.run([*command, "-d", body], capture_output=True, text=True, check=True).stdout
    for line in answer.splitlines():
        if line.startswith(("HTTP", "seaway-", "{")):
            console.print(f"  {line}", markup=False, soft_wrap=True)


class Callers:
    """Three clients that call without a pause while versions change, and count what they lose."""

    def __init__(self, address: str, rows: list[dict[str, Any]]) -> None:
        self.answered = 0
        self.lost: list[str] = []
        self.revisions: set[int] = set()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call, args=(address, rows)) for _ in range(3)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, address: str, rows: list[dict[str, Any]]) -> None:
        client = seaway.Client(f"http://{address}")
        while not self._stop.is_set():
            try:
                answer = client.answer("electricity", rows)
                with self._lock:
                    self.answered += 1
                    self.revisions.add(answer.revision)
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller lost a request
                with self._lock:
                    self.lost.append(str(error))


def outcomes(address: str, split: models.Split) -> Path:
    """Ask for the last half-hours one by one, and write the file of what the price then did."""
    features = split.golden[models.WORDS + models.NUMBERS].tail(300)
    client = seaway.Client(f"http://{address}")
    lines = ["request_id,outcome"]
    for number, row in enumerate(features.to_dict("records")):
        client.answer("electricity", [row], request_id=f"halfhour-{number}")
    for number, truth in enumerate(split.golden[models.TARGET].tail(300)):
        lines.append(f"halfhour-{number},{truth}")
    path = HOME / "outcomes.csv"
    path.write_text("\n".join(lines) + "\n")
    console.print(
        f"  {len(features)} half-hours asked for, and what the price then did written to {path.name}"
    )
    return path


def main() -> None:
    """Run the demo from an empty home; exits non-zero where anything is not as it should be."""
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    os.environ["SEAWAY_HOME"] = str(HOME)

    step(1, "Train: four models of the Australian electricity market (elec2, 1996-98)")
    split = models.load(datasets.fetch("elec2"))
    console.print(
        f"  {len(split.train):,} half-hours to train on, the {len(split.golden):,} after them as the golden set"
    )
    trained = {
        "linear": models.logistic(split.train),
        "boosted": models.boosted(split.train),
        "mistaken": models.mistaken(split.train),
        "swapped": models.boosted(models.swapped(split.train)),
    }
    console.print(
        "  a linear model; boosted trees; a linear model whose labels were joined six hours off; boosted trees from an\n"
        "  extract in which the prices of the two states were swapped, in its golden set too: so its gate sees no harm"
    )

    step(2, "Package: from Python object to immutable bundle, the conversion to ONNX proved")
    features, truth = split.golden[models.WORDS + models.NUMBERS], split.golden[models.TARGET]
    for label, model in trained.items():
        judged_by = models.swapped(features) if label == "swapped" else features
        console.print(
            f"[bold cyan]>>> seaway.package({label}, name='electricity', golden=(X, y), require=['accuracy>=0.65'])[/]"
        )
        result = seaway.package(
            model,
            name="electricity",
            golden=(judged_by, truth.rename(models.TARGET)),
            require=["accuracy>=0.65"],
            lineage={"data": str(datasets.fetch("elec2")), "param.model": label},
        )
        parity = result.parity
        assert parity is not None
        console.print(f"  {result.version.ref}  {result.version.digest[:19]}…  {parity.summary()}")
    run("versions", "electricity")

    address = free_address()
    step(3, "Start the server")
    with server(address):
        step(4, "Validate and deploy the first version")
        run("validate", "electricity:v1")
        run("deploy", "electricity:v1")

        step(5, "Call it")
        rows = features.head(8).to_dict("records")
        curl(address, rows[0])
        told = seaway.Client(f"http://{address}").predict("electricity", rows)
        expected = trained["linear"].predict(features.head(8)).tolist()
        assert [p["label"] for p in told] == expected, (told, expected)
        console.print(f"  8 rows through the Python client: the labels equal scikit-learn's own: {expected}")

        step(6, "A better version: see what will change, then switch while clients keep calling")
        run("deploy", "electricity:v2", "--plan")
        with Callers(address, rows) as callers:
            run("deploy", "electricity:v2")

            step(7, "A bad version is refused at the gate")
            run("deploy", "electricity:v3", expect=3)

            step(8, "Take it back")
            run("rollback", "electricity")
        if callers.lost or callers.revisions != {1, 2}:
            raise SystemExit(
                f"lost {len(callers.lost)} requests ({callers.lost[:3]}), revisions {callers.revisions}"
            )
        console.print(
            f"  [green]{callers.answered:,} requests were answered meanwhile by revisions 1 and 2, and none was lost[/]"
        )

        canaries = canary.run_both(address, split.later)

        step(11, "What really happened: outcomes come back, and every answer can be explained")
        known = outcomes(address, split)
        time.sleep(3)  # what is recorded of a request is written within two seconds
        run("feedback", "import", str(known))
        run("quality", "electricity", "--since", "1h")
        run("explain", "halfhour-7")
        run("profile", "electricity", "--revision", "1", "--since", "1h")
        run("watch", "electricity", "--once")

        step(12, "Who did what, when")
        run("history", "electricity")
        run("status", "electricity")

    console.print()
    console.print(Rule("[bold]What happened[/]", align="left"))
    console.print(
        "  Four scikit-learn pipelines became bundles whose ONNX answers were compared row by row with the originals.\n"
        "  v1 passed its gate and went live. v2 replaced it with no request lost, after the plan had shown what changes.\n"
        "  v3, trained on misaligned labels, never took a request: its gate failed (exit code 3). One command took v2 back.\n"
        "  Every answer was recorded: outcomes that came later gave the live accuracy, and each request can be explained.\n"
        f"{canary.summary(*canaries)}\n"
    )
    console.print("[bold]Type next[/]  (this home stays until the next demo)")
    console.print(
        f"  export SEAWAY_HOME={HOME.relative_to(Path.cwd()) if HOME.is_relative_to(Path.cwd()) else HOME}"
    )
    console.print(
        f"  {Path(SEAWAY).relative_to(ROOT)} show electricity:v2      # the bundle, its lineage and its gate report"
    )
    console.print(
        f"  {Path(SEAWAY).relative_to(ROOT)} up                       # then open http://127.0.0.1:8080/docs"
    )
    console.print(f"\n  {time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
