"""Sizes, doors and reserved ports: what `seaway up` and `seaway serve` hand to the supervisor."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from seaway import settings, sockets
from seaway.cli import main as cli
from seaway.cli import servers
from seaway.control.orphans import Orphan, grpc_ports
from seaway.core.errors import UserError


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("512KiB", 512 << 10), ("300MiB", 300 << 20), ("2GiB", 2 << 30), ("1TiB", 1 << 40)],
)
def test_sizes(text: str, size: int) -> None:
    assert settings.size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "0", "2GB", "-1GiB", "1.5GiB", "2 GiB", "2gib", "9" * 30])
def test_what_is_no_size_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        settings.size_bytes(text)
    assert refused.value.code == "invalid_config"
    if text:
        with pytest.raises(UserError, match="worker_memory"):
            settings.load(tmp_path, {"SEAWAY_WORKER_MEMORY": text})


def test_the_command_line_wins_over_the_settings_for_each_door(
    tmp_path: Path, make_certificate: Callable[[str], tuple[Path, Path]]
) -> None:
    cert, key = make_certificate("DNS:models.test")
    chosen = settings.Settings(grpc="127.0.0.1:1", tls_cert=str(cert), tls_key=str(key))
    both = ["--tls-cert", str(cert), "--tls-key", str(key)]
    assert servers._doors(settings.Settings(), None, None, None) == []
    assert servers._doors(chosen, None, None, None) == ["--grpc", "127.0.0.1:1", *both]
    assert servers._doors(chosen, "127.0.0.1:2", None, None)[:2] == ["--grpc", "127.0.0.1:2"]
    assert servers._doors(settings.Settings(), None, cert, key) == both
    with pytest.raises(UserError, match="is no file"):
        servers._doors(settings.Settings(), None, tmp_path / "gone.pem", key)


@pytest.mark.parametrize("verb", [["up"], ["serve", "model.onnx"]])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("another key", "the key does not belong to the certificate"),
        ("junk for a certificate", "is no PEM certificate"),
        ("junk for a key", "is no PEM private key"),
        ("no such file", "which is no file"),
        ("no key", "a certificate and its key"),
    ],
)
def test_a_pair_that_cannot_be_used_is_refused_before_anything_starts(
    verb: list[str],
    wrong: str,
    said: str,
    tmp_path: Path,
    make_certificate: Callable[[str], tuple[Path, Path]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    cert, key = make_certificate("DNS:models.test")
    junk = tmp_path / "junk.pem"
    junk.write_bytes(b"junk\n" * 100)
    if wrong == "another key":
        key = make_certificate("DNS:models.test")[1]
    elif wrong == "junk for a certificate":
        cert = junk
    elif wrong == "junk for a key":
        key = junk
    elif wrong == "no such file":
        key = tmp_path / "gone.pem"
    words = ["--tls-cert", str(cert)] + ([] if wrong == "no key" else ["--tls-key", str(key)])
    assert cli.main([*verb, *words]) == 2
    shown = capsys.readouterr()
    cause, fix = shown.err.splitlines()
    assert said in cause and fix.startswith("  fix ") and shown.out == ""


def test_a_reserved_port_is_kept_from_others_and_shared_with_our_own() -> None:
    with sockets.reserve_tcp("127.0.0.1", 0) as held:
        host, port = held.getsockname()
        with pytest.raises(UserError, match="cannot bind"):
            sockets.reserve_tcp(host, port)
        with sockets.reserve_tcp(host, port, shared=True), socket.socket() as door:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            door.bind((host, port))
            door.listen()
            for _ in range(20):  # none of them goes to the two that never listen
                with socket.create_connection((host, port), 60):
                    door.accept()[0].close()


def test_the_ports_of_orphans_are_known_by_their_command_lines() -> None:
    pidfd = os.pidfd_open(os.getpid())
    try:
        alive = [
            Orphan(1, 0, pidfd, "127.0.0.1:7001"),
            Orphan(2, 1, pidfd, "[::1]:7002"),
            Orphan(3, 2, pidfd),
        ]
        assert grpc_ports(alive) == {7001, 7002}
        assert grpc_ports([]) == set()
    finally:
        os.close(pidfd)
