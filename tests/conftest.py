"""What all tests share: the data sets, and a home that is never the user's own."""

from __future__ import annotations

import os

import hypothesis
import pytest

# The machine that runs the tests may be busy: slowness is never a failure. CI tries the same examples each time.
hypothesis.settings.register_profile(
    "seaway",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("seaway")


@pytest.fixture(autouse=True)
def _no_home_of_the_user(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test gets an empty SEAWAY_HOME, and none of the user's SEAWAY_ settings."""
    for variable in [name for name in os.environ if name.startswith("SEAWAY_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("SEAWAY_HOME", str(tmp_path_factory.mktemp("home")))
