"""What `seaway up` and `seaway serve` refuse before they become the server."""

from __future__ import annotations

import importlib.machinery
import sys
from pathlib import Path

import pytest

from seaway.cli import main as cli


class Without:
    """Lets nobody find a package."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(
        self, name: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name == self._package or name.startswith(self._package + "."):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


@pytest.mark.parametrize("verb", [["up"], ["serve", "model.onnx"]])
@pytest.mark.parametrize(
    ("package", "extra"), [("grpc", "grpc"), ("google.protobuf", "grpc"), ("opentelemetry.sdk", "otel")]
)
def test_a_server_without_its_extra_is_refused_before_it_starts(
    verb: list[str],
    package: str,
    extra: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in [name for name in sys.modules if name == package or name.startswith(package + ".")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Without(package), *sys.meta_path])
    options = ["--grpc", "127.0.0.1:0"]
    if extra == "otel":
        options = []
        monkeypatch.setenv("SEAWAY_OTLP", "http://127.0.0.1:4318")
    assert cli.main([*verb, *options, "--home", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "missing_extra" in said and f"pip install 'seaway[{extra}]'" in said
