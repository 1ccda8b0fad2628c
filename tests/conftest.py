"""What all tests share: the data sets, and a home that is never the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _no_home_of_the_user(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test gets an empty SEAWAY_HOME, and none of the user's SEAWAY_ settings."""
    import os

    for variable in [name for name in os.environ if name.startswith("SEAWAY_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("SEAWAY_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def dataset_path() -> object:
    """A function from a data set's name to its CSV file; `make` fetches them beforehand."""
    import datasets

    return datasets.fetch
