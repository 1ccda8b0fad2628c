"""The running server keeps what its OpenAPI document promises, whatever schemathesis makes of it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import checks
from serve_process import WorkerProcess, revision, route

from seaway.core.traffic import RoutingTable
from seaway.testing import tiny_models

pytestmark = pytest.mark.slow

EXAMPLES = 40


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    home = tmp_path_factory.mktemp("openapi")
    table = RoutingTable(
        1,
        (
            route("prices", revision(3, tiny_models.linear(home / "m", 10.0))),
            route("words", revision(1, tiny_models.lookup(home / "w"))),
        ),
    )
    process = WorkerProcess(home / "run", table)
    yield process
    assert process.stop() == 0, process.log.read_text()
