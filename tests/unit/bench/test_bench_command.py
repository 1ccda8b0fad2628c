"""The bench's command line and its set-ups."""

from __future__ import annotations

import re

import pytest

from bench import __main__ as command
from bench import catalogue, measure, models, places


def test_names_are_kept_in_their_own_order_and_unknown_ones_refused() -> None:
    assert command._chosen("kserve,mlserver", catalogue.PEERS) == ["mlserver", "kserve"]
    assert command._chosen("", catalogue.PEERS) == list(catalogue.PEERS)
    assert command._chosen("none", catalogue.PEERS) == []
    with pytest.raises(SystemExit):
        command._chosen("kserver", catalogue.PEERS)


def test_no_two_systems_share_a_port() -> None:
    ports = [measure.Plan().port(system) for system in catalogue.SYSTEMS]
    assert len(set(ports)) == len(ports)
    assert min(abs(a - b) for a in ports for b in ports if a != b) >= 10


@pytest.mark.parametrize("peer", catalogue.PEERS)
def test_every_version_of_a_peer_is_pinned(peer: str) -> None:
    lines = (places.PEERS / peer / "requirements.txt").read_text("utf-8").splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert len(wanted) > 5
    assert all(re.fullmatch(r"[A-Za-z0-9._\[\]-]+==[A-Za-z0-9.+]+", line) for line in wanted)


@pytest.mark.parametrize("system", catalogue.SYSTEMS)
def test_a_setup_stays_on_the_loopback_interface(
    system: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "CACHE", tmp_path)
    for work in models.MODELS:
        made = catalogue.setup(system, work, 18_100)
        assert made.routes
        assert "0.0.0.0" not in " ".join(made.command)
