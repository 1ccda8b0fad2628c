"""README's commands and those of docs/capabilities.md, typed as they stand, in order, in an empty directory."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ports import free_port

ROOT = Path(__file__).resolve().parents[2]
# What CI runs anyway, or what would change the environment that the tests run in.
LEFT_OUT = ("make ", "pip install", "git clone", "cd seaway")
DEFAULT_ADDRESS = "127.0.0.1:8080"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
SLEEP = re.compile(r"(.*\bsleep \d+)(?: && (.*))?")


class Shell:
    """A user's terminal: one directory, one home, the server in the background."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.address = f"127.0.0.1:{free_port()}"
        self.waits = False
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SEAWAY_HOME": str(directory / "home"),
            "SEAWAY_HTTP": self.address,
            "SEAWAY_HANG_S": "60",
        }
        self.background: list[subprocess.Popen[bytes]] = []

    def type(self, line: str) -> str:
        """Run one line; a line that ends in & stays in the background until the server answers.

        What follows a `sleep` is typed until it says something: a slow machine may take longer to write what is read.
        """
        line = line.replace(DEFAULT_ADDRESS, self.address)
        if line.endswith("&"):
            self._start(line)
            return ""
        slept = SLEEP.fullmatch(line)
        if slept is not None:
            self._run(slept[1])
            self.waits = True
            return self.type(slept[2]) if slept[2] else ""
        deadline = time.monotonic() + 60
        while self.waits and time.monotonic() < deadline:
            try:
                if said := self._run(line):
                    return said
            except AssertionError:
                pass  # not yet; the last one counts
            time.sleep(0.5)
        return self._run(line)

    def _run(self, line: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=1200,
        )
        assert done.returncode == 0, f"$ {line}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _start(self, line: str) -> None:
        with (self.directory / "background.log").open("ab") as log:
            words = line.rstrip("& ").split()
            self.background.append(
                subprocess.Popen(words, cwd=self.directory, env=self.environment, stdout=log, stderr=log)
            )
        deadline = time.monotonic() + 300
        control = self.directory / "home" / "control.sock"
        while True:
            with socket.socket(socket.AF_UNIX) as client:
                if client.connect_ex(str(control)) == 0:
                    return
            assert time.monotonic() < deadline, (self.directory / "background.log").read_text()
            time.sleep(0.05)

    def close(self) -> None:
        for process in self.background:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=300)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """The terminal after README's commands."""
    opened = Shell(tmp_path_factory.mktemp("user"))
    try:
        for line in readme_lines(opened.directory):
            opened.type(line)
        opened.waits = False
        yield opened
    finally:
        opened.close()


def readme_lines(directory: Path) -> list[str]:
    """README's shell lines in order; its Python blocks are written to the files that their first line names."""
    lines: list[str] = []
    for language, block in re.findall(
        r"^```(\w+)\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.M | re.S
    ):
        if language == "python":
            name = re.match(r"# (\S+\.py)\n", block)
            assert name, f"a Python block of README names no file: {block[:60]!r}"
            (directory / name.group(1)).write_text(block, "utf-8")
        elif language == "sh":
            joined = block.replace("\\\n", " ")
            lines += [line.split("  #")[0].strip() for line in joined.splitlines() if line.strip()]
    return [line for line in lines if not line.startswith((*LEFT_OUT, "#"))]


def capability_commands() -> list[tuple[str, str]]:
    """(ids, command) of each row of docs/capabilities.md."""
    text = (ROOT / "docs" / "capabilities.md").read_text("utf-8")
    rows = re.findall(r"^\| ([^|]+?) \| [^|]+ \| `([^`]+)` \|", text, re.M)
    return [(ids, command.replace("\\|", "|")) for ids, command in rows]


def test_the_readme_has_commands_and_all_of_them_work(shell: Shell) -> None:
    assert len(readme_lines(shell.directory)) >= 8


@pytest.mark.parametrize(("ids", "command"), capability_commands(), ids=lambda text: text[:40])
def test_a_capability_is_shown_by_its_command(ids: str, command: str, shell: Shell) -> None:
    try:
        assert shell.type(command).strip()
    finally:
        shell.waits = False


def test_every_listed_id_is_one_of_the_capabilities() -> None:
    for ids, _ in capability_commands():
        assert all(re.fullmatch(r"[A-Z$]\d{1,2}", one) for one in re.split(r",\s*", ids)), ids
    assert len(capability_commands()) >= 20
