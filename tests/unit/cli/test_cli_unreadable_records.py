"""Records that cannot be read are told as that by every verb that reads them, and never as "nothing is kept"."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from seaway.cli import main as cli
from seaway.core.errors import PermanentError
from seaway.monitor.feedback import quality
from seaway.monitor.provenance import explanations


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """HOME/records that nobody can list, root neither."""
    path = tmp_path / "records"
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize("verb", [["explain", "5f2a-1"], ["records", "prices"], ["profile", "prices"]])
def test_verbs_name_the_directory_and_the_fix(
    verb: list[str], records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*verb, "--home", str(records.parent), "--json"]) == 1
    said = json.loads(capsys.readouterr().err)
    assert said["code"] == "records_unreadable"
    assert str(records) in said["error"] and f"chmod 700 {records}" in said["hint"]


def test_quality_refuses_too(records: Path) -> None:
    with pytest.raises(PermanentError) as caught:
        quality.read(records, quality.Question("prices", 0.0, 1.0))
    assert caught.value.code == "records_unreadable"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads all")
def test_a_directory_without_permissions_is_named(tmp_path: Path) -> None:
    kept = tmp_path / "records" / "_requests"
    kept.mkdir(parents=True, mode=0o000)
    with pytest.raises(PermanentError, match="Permission denied"):
        explanations.explain(tmp_path / "records", "5f2a-1")
