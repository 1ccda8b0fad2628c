"""A whole server with TLS: what it says of itself, and how the home's own verbs and clients reach it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from control_process import Server, make_home, until

import seaway
from seaway.cli import main as cli

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path, make_certificate: Callable[[str], tuple[Path, Path]]) -> Iterator[Server]:
    make_home(tmp_path / "home")
    server = Server(tmp_path / "home", workers=1)
    chain, key = make_certificate("DNS:models.test")
    server.up("--tls-cert", str(chain), "--tls-key", str(key))
    yield server
    server.clean()


def test_a_home_with_tls_is_called_by_https_and_says_so(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"https://127.0.0.1:{server.address[1]}"
    server.deploy(2)
    assert f"seaway serves on {url} with 1 worker" in server.log()
    with seaway.Client(home=server.home) as client:
        assert client.predict("prices", [[1, 2, 3]]) == [12.0]
    home = ["--home", str(server.home)]
    rows = server.home / "rows.csv"
    rows.write_text("a,b,c\n1,2,3\n")
    assert cli.main(["predict", "prices", "--data", str(rows), *home]) == 0
    assert capsys.readouterr().out == "12.0\n"
    assert cli.main(["status", *home]) == 0
    assert capsys.readouterr().out.startswith(f"served at {url}\n")
    assert cli.main(["doctor", "--json", *home]) == 0
    found = {one["subject"]: one["text"] for one in json.loads(capsys.readouterr().out)}
    assert found["server"] == f"runs; {url}"
    assert "extra grpc" in found


def test_a_removed_control_socket_is_named_and_the_fix_mends_it(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seaway.wiring.control_access._WAIT_S", 0.2)
    server.client.status()
    (server.home / "control.sock").unlink()
    assert cli.main(["status", "--home", str(server.home)]) == 4
    shown = capsys.readouterr().err
    control = server.record()["control"]
    assert "control.sock is gone" in shown and f"kill {control} " in shown
    os.kill(control, signal.SIGTERM)
    until(server.control_answers)
    assert cli.main(["status", "--home", str(server.home)]) == 0


def test_a_killed_worker_is_told_in_the_log(server: Server) -> None:
    (pid,) = server.record()["workers"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: f"worker 0 (process {pid}) was ended by SIGKILL; starting it again" in server.log())
