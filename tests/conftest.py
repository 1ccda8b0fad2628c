"""What all tests share: the data sets, and a home that is never the user's own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

# The machine that runs the tests may be busy: slowness is never a failure. The same examples are tried each time, so that
# a run fails only for what was changed; SEAWAY_EXPLORE=1 tries others.
hypothesis.settings.register_profile(
    "seaway",
    deadline=None,
    derandomize="SEAWAY_EXPLORE" not in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("seaway")


@pytest.fixture(autouse=True)
def _no_home_of_the_user(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test gets an empty SEAWAY_HOME, and none of the user's SEAWAY_ settings."""
    for variable in [name for name in os.environ if name.startswith("SEAWAY_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("SEAWAY_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="session")
def make_certificate(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """Makes the files of a self-signed certificate for a name such as `DNS:models.test`, and of its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command line")

    def make(name: str) -> tuple[Path, Path]:
        directory = tmp_path_factory.mktemp("tls")
        chain, key = directory / "chain.pem", directory / "key.pem"
        words = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
        )
        files = ["-addext", f"subjectAltName={name}", "-out", str(chain), "-keyout", str(key)]
        subprocess.run([*words.split(), *files], check=True, capture_output=True)
        return chain, key

    return make
