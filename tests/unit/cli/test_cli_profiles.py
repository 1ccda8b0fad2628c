"""`seaway profile`: the summaries of all workers beside the bundle's own profile, from files alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from seaway import settings
from seaway.bundle import oci
from seaway.cli import main
from seaway.core import live_summaries, profiles
from seaway.core.answers import answer_spec
from seaway.core.bundles import BundleFile, Manifest, Source, Task, Version
from seaway.core.tensors import Array, DType, Meaning, Signature, TensorSpec
from seaway.monitor.summaries import windows
from seaway.wiring import profiles as profiling
from seaway.wiring.home import Home

SIGNATURE = Signature(
    (
        TensorSpec("x", DType.FP32, (-1, 2), columns=("age", "a-column-with-a-very-long-name-indeed")),
        TensorSpec("note", DType.BYTES, (-1,)),
    ),
    (
        TensorSpec("label", DType.INT64, (-1,), Meaning.LABEL),
        TensorSpec("sure", DType.FP32, (-1, 2), Meaning.PROBABILITY),
    ),
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(settings.load(tmp_path))


def package(home: Home) -> Version:
    """A version whose bundle holds a reference profile of ages around 40."""
    draw = np.random.default_rng(1)
    reference = profiles.profile(
        {"age": draw.normal(40, 5, 1000)}, {"label": draw.integers(0, 2, 1000)}, ["label"]
    )
    files = {"model.onnx": b"weights", "profile.json": profiles.encode_profile(reference)}
    listed = tuple(BundleFile(path, oci.sha256(data), len(data)) for path, data in sorted(files.items()))
    manifest = Manifest(
        "prices", Task.OTHER, "model.onnx", SIGNATURE, Source("onnx"), listed, profile="profile.json"
    )
    version, _ = home.bundles.add(dict(files), manifest)
    return version


def record(home: Home, digest: str, rows: int = 1000, back_s: int = 60, writer: str = "0-1") -> None:
    """Summaries as a worker writes them."""
    draw = np.random.default_rng(2)
    live = live_summaries.LiveSummary(SIGNATURE, answer_spec(SIGNATURE))
    x = np.stack([draw.normal(60, 5, rows), draw.normal(0, 1e-7, rows)], axis=1).astype(np.float32)
    x[:10, 0] = np.nan
    note = np.array([f"Grüße number {place}" for place in range(rows)], dtype=object)
    sure = draw.random((rows, 2)).astype(np.float32)
    outputs: dict[str, Array] = {"label": draw.integers(0, 2, rows), "sure": sure}
    live.add([{"x": x, "note": note}], [outputs], [rows])
    start_s = int(home.clock.now_s() - back_s) // 60 * 60
    window = windows.Window(
        "prices", 4, digest, "prices:v1", start_s, 60, 4 * rows, 4 * rows, rows, 0.2, live.summary()
    )
    where = windows.directory(home.paths.records, "prices", 4, digest)
    where.mkdir(parents=True, exist_ok=True)
    windows.write(where / windows.minute_name(start_s, writer, 0), window, durable=False)


def run(home: Home, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main.main(["profile", *words, "--home", str(home.configuration.home)])
    out, err = capsys.readouterr()
    return code, re.sub(r"\x1b\[[0-9;]*m", "", out), err


def test_a_table_beside_what_the_bundle_expects(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    version = package(home)
    record(home, version.digest)
    record(home, version.digest, writer="1-2")
    code, out, _ = run(home, capsys, "prices")
    lines = [line.rstrip() for line in out.splitlines()]
    assert code == 0 and max(map(len, lines)) <= 100
    assert lines[0].startswith("prices revision 4 (prices:v1)")
    assert lines[1] == "rows: 8,000 seen, 2,000 taken, rate 25.00% (lowest 20.00%); 8,000 requests"
    age = next(place for place, line in enumerate(lines) if line.startswith("age"))
    assert lines[age].split()[1:4] == ["2000", "20", "0"]
    assert lines[age + 1].split()[:4] == ["expected", "1000", "0", "0"]
    live, expected = (float(lines[place].split()[-2]) for place in (age, age + 1))
    assert live == pytest.approx(60, rel=0.06) and expected == pytest.approx(40, rel=0.06)
    label = next(place for place, line in enumerate(lines) if line.startswith("label"))
    assert re.search(r"[01] 5\d%, [01] 4\d%", lines[label]) and "expected" in lines[label + 1]
    assert any(line.startswith("note") and "length 14/16/16 latin 100%" in line for line in lines)
    assert any(line.startswith("(confidence)") for line in lines)


def test_json_is_one_document(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    version = package(home)
    record(home, version.digest)
    code, out, _ = run(home, capsys, "prices", "--revision", "4", "--json")
    found = msgspec.json.decode(out, type=profiling.Profiled)
    assert code == 0 and (found.revision, found.rows, found.rate, found.has_reference) == (
        4,
        1000,
        0.25,
        True,
    )
    age = next(column for column in found.inputs if column.name == "age")
    assert age.found.missing == 10
    assert age.expected is not None and age.expected.count == 1000
    assert found.confidence is not None and found.confidence.count == 1000


def test_without_the_bundle_the_live_figures_are_shown(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    record(home, "sha256:" + "1" * 64)
    code, out, _ = run(home, capsys, "prices")
    assert code == 0 and "no reference profile" in out and "expected" not in out


def test_a_damaged_file_is_named(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    digest = "sha256:" + "1" * 64
    for writer in ("0-1", "1-2"):
        record(home, digest, writer=writer)
    where = windows.directory(home.paths.records, "prices", 4, digest)
    path = sorted(where.iterdir())[0]
    path.write_bytes(path.read_bytes()[:100])
    code, out, err = run(home, capsys, "prices")
    assert code == 0 and "1,000 taken" in out and "damaged" in err


def test_nothing_in_that_time(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    record(home, "sha256:" + "1" * 64, back_s=7200)
    code, out, err = run(home, capsys, "prices", "--since", "1h")
    assert (code, out) == (0, "") and "nothing was summarised of prices in the last 1h" in err
    code, out, _ = run(home, capsys, "prices", "--since", "1h", "--json")
    assert (code, json.loads(out)) == (0, None)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("nobody",), "endpoint_not_found"),
        (("prices", "--since", "soon"), "invalid_request"),
        (("../etc",), "invalid_name"),
    ],
)
def test_what_it_refuses(
    words: tuple[str, ...], error: str, home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(home, capsys, *words)
    assert code == 2 and error in err
