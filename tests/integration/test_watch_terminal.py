"""`seaway watch` in a real terminal, over a real server: it shows what is answered, and gives the terminal back."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from control_process import ENVIRONMENT, Prober, Server, make_home, until

pytestmark = pytest.mark.slow
ENTER, LEAVE, CURSOR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"
ENDED = re.compile(r"ended +([0-9.,]+)/s")
# The test runner may set COLUMNS and LINES, which win over a terminal's own size.
SIZELESS = {key: value for key, value in ENVIRONMENT.items() if key not in ("COLUMNS", "LINES")}
NO_COLOUR = {**SIZELESS, "TERM": "xterm-256color", "NO_COLOR": "1"}


class Terminal:
    """A terminal of a size, in which `seaway watch` runs as a shell would start it."""

    def __init__(self, home: Path, *more: str, columns: int = 100, lines: int = 30) -> None:
        self._master, self._own = pty.openpty()
        fcntl.ioctl(self._own, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.before = termios.tcgetattr(self._own)
        words = [sys.executable, "-m", "seaway", "watch", "prices", "--home", str(home), *more]
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *words], stdin=self._own, stdout=self._own, stderr=self._own, env=NO_COLOUR
        )
        self.written = b""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._own)
        os.close(self._master)

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def read(self, enough: Callable[[str], object], seconds: float = 60.0) -> str:
        """What is written from now on, without escapes, once it is enough."""
        end, found = time.monotonic() + seconds, b""
        while True:
            ready = select.select([self._master], [], [], 0.2)[0]
            if ready:
                found += os.read(self._master, 65_536)
            text = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", found.decode("utf-8", "replace"))
            if enough(text):
                self.written += found
                return text
            assert time.monotonic() < end, text
            assert self.process.poll() is None or ready, text

    def end(self) -> int:
        """The exit code, once the rest of what was written is read."""
        until(lambda: self._drain() and self.process.poll() is not None)
        self._drain()
        return self.process.returncode

    def _drain(self) -> bool:
        while select.select([self._master], [], [], 0)[0]:
            self.written += os.read(self._master, 65_536)
        return True

    def assert_restored(self) -> None:
        assert termios.tcgetattr(self._own) == self.before
        assert self.written.count(ENTER) == self.written.count(LEAVE) == 1
        assert self.written.rindex(LEAVE) > self.written.rindex(ENTER)
        assert CURSOR in self.written[self.written.rindex(ENTER) :]
        assert b"Traceback" not in self.written


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("watched") / "home"
    make_home(home)
    server = Server(home)
    server.up()
    server.deploy(1)
    yield server
    server.clean()


def traffic(text: str) -> float:
    rates = ENDED.findall(text)
    return float(rates[-1].replace(",", "")) if rates else 0.0


@pytest.mark.parametrize("how", ["q", "ctrl-c", "terminated"])
def test_it_shows_the_traffic_and_gives_the_terminal_back(server: Server, how: str) -> None:
    with Prober(server), Terminal(server.home, "--interval", "300ms") as terminal:
        # Of a server that has just started, or that was away a moment ago, the first pictures tell less.
        text = terminal.read(lambda text: traffic(text) and "2 workers ready" in text)
        assert "prices  live  revision 1  prices:v1" in text
        assert "REVISIONS" in text and "1 live" in text
        if how == "terminated":
            terminal.process.send_signal(signal.SIGTERM)
        else:
            terminal.press(b"q" if how == "q" else b"\x03")
        assert terminal.end() == 0
        terminal.assert_restored()


def test_while_the_server_is_away_it_says_so_and_goes_on(server: Server) -> None:
    with Terminal(server.home, "--interval", "300ms") as terminal:
        terminal.read(lambda text: "prices  live" in text)
        assert server.down() == 0
        text = terminal.read(lambda text: "no answer since" in text)
        assert "all below is of then" in text
        server.up()
        with Prober(server):
            terminal.read(
                lambda text: "no answer" not in text.rpartition("prices  live")[2] and traffic(text)
            )
        terminal.press(b"q")
        assert terminal.end() == 0
        terminal.assert_restored()


def test_a_new_size_is_taken_at_once(server: Server) -> None:
    with Terminal(server.home, "--interval", "1h") as terminal:
        terminal.read(lambda text: "requests a second in the last 100 s" in text or "EVENTS" in text)
        fcntl.ioctl(terminal._own, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        terminal.read(lambda text: re.search("EVENTS.*WORKERS", text))  # side by side
        terminal.press(b"q")
        assert terminal.end() == 0


def run(home: Path, *more: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "seaway", "watch", *more, "--home", str(home)]
    return subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)


def test_in_a_pipe_it_prints_one_picture_and_ends(server: Server) -> None:
    done = run(server.home, "prices")
    assert done.returncode == 0 and done.stderr == ""
    assert "\x1b" not in done.stdout
    assert done.stdout.startswith("prices  live  revision 1")
    assert "EVENTS" in done.stdout and max(map(len, done.stdout.splitlines())) <= 120


def test_what_it_shows_is_what_was_answered(server: Server) -> None:
    def complete() -> dict[str, Any]:
        """The document, once it holds all that ended before now."""
        asked_s = time.time()
        while True:
            done = run(server.home, "prices", "--json")
            assert done.returncode == 0
            document: dict[str, Any] = json.loads(done.stdout)
            if document["through_s"] >= asked_s:
                return document
            assert time.time() < asked_s + 60

    before = complete()
    for _ in range(25):
        server.predict()
    after = complete()
    assert sum(after["traffic"][before["through_s"] - after["through_s"] :]) == 25
    (revision,) = after["revisions"]
    assert revision["answers"]["kind"] == "number"
    assert revision["answers"]["numbers"]["median"] == pytest.approx(6.0, rel=0.05)


def test_an_endpoint_that_is_not_there_is_named(server: Server) -> None:
    done = run(server.home, "nothing")
    assert done.returncode == 2
    assert "nothing" in done.stderr and "endpoint_not_found" in done.stderr
