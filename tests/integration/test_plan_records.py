"""`seaway deploy --plan` refuses and warns of what is to be recorded as the deploy itself would."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from control_process import ENVIRONMENT, make_home

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("planned") / "home"
    make_home(home)
    return home


def plan(home: Path, record: str) -> subprocess.CompletedProcess[str]:
    file = home / "endpoint.yaml"
    file.write_text(f"version: 1\nendpoint: prices\nserve: {{bundle: prices:v1}}\nrecord: {record}\n")
    words = [
        sys.executable,
        "-m",
        "seaway",
        "deploy",
        "-f",
        str(file),
        "--plan",
        "--json",
        "--home",
        str(home),
    ]
    return subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, check=False)


def test_a_misspelt_name_is_refused(home: Path) -> None:
    done = plan(home, "{redact: [xx]}")
    assert done.returncode == 2
    assert "record.redact" in done.stdout + done.stderr and "xx" in done.stdout + done.stderr


def test_what_the_deploy_would_warn_of_is_in_the_plan(home: Path) -> None:
    done = plan(home, "{capture: 10%}")
    assert done.returncode == 0, done.stderr
    (warning,) = json.loads(done.stdout)["warnings"]
    assert "record.subject" in warning
    assert json.loads(plan(home, "{redact: [x]}").stdout)["warnings"] == []
