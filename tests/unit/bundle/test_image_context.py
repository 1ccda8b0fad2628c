"""The build context of an image, made of a lock whose wheels lie in the cache."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from seaway.bundle import image, sources
from seaway.core.bundles import OpenedBundle
from seaway.core.errors import PermanentError, TemporaryError, UserError
from seaway.testing import tiny_models


def quiet(text: str) -> None:
    """No progress in tests."""


def wheel(directory: Path, name: str, version: str) -> tuple[str, str]:
    """A wheel with nothing in it; its file name and sha256."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path.name, hashlib.sha256(path.read_bytes()).hexdigest()


def lock(cache: Path, names: tuple[str, ...] = ("pip", "leaf")) -> bytes:
    text = 'lock-version = "1.0"\nrequires-python = "==3.11.*"\ncreated-by = "seaway"\n'
    for name in names:
        file, digest = wheel(cache, name, "1.0")
        text += f'[[packages]]\nname = "{name}"\nversion = "1.0"\n'
        text += f'wheels = [{{name = "{file}", path = "wheels/{file}", hashes = {{sha256 = "{digest}"}}}}]\n'
    return text.encode()


@pytest.fixture
def bundle(tmp_path: Path) -> OpenedBundle:
    directory = tmp_path / "bundle"
    tiny_models.linear(directory, 0.5)
    return sources.open_directory(directory)


def contents(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_the_context_holds_all_that_the_build_needs(bundle: OpenedBundle, tmp_path: Path) -> None:
    cache, out = tmp_path / "cache", tmp_path / "context"
    written = image.write_context(bundle, lock(cache), out, cache, quiet)
    assert written.wheels == 3
    assert sources.open_directory(out / "bundle").digest == bundle.digest == written.digest
    dockerfile = (out / "Dockerfile").read_text()
    assert dockerfile.count("FROM ${BASE}") == 2
    assert "USER 65532:65532" in dockerfile and "STOPSIGNAL SIGTERM" in dockerfile
    assert f'io.seaway.digest="{bundle.digest}"' in dockerfile
    assert "RUN [" in dockerfile and "RUN p" not in dockerfile  # no shell is asked for
    requirements = (out / "requirements.txt").read_text().splitlines()
    assert all("--hash=sha256:" in line for line in requirements)
    assert [line.partition("==")[0] for line in requirements] == ["pip", "leaf", "seaway"]
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in out.rglob("*"))


def test_the_same_version_gives_the_same_bytes(bundle: OpenedBundle, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    locked = lock(cache)
    for name in ("one", "two"):
        image.write_context(bundle, locked, tmp_path / name, cache, quiet)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_own_wheel_is_one_that_pip_installs_and_runs(tmp_path: Path) -> None:
    made = image.own_wheel(tmp_path)
    with zipfile.ZipFile(made) as archive:
        names = archive.namelist()
        record = next(name for name in names if name.endswith("/RECORD"))
        rows = {row[0]: row[1] for row in csv.reader(io.StringIO(archive.read(record).decode()))}
        assert set(rows) == set(names)
        for name, told in rows.items():
            if name != record:
                digest = base64.urlsafe_b64encode(hashlib.sha256(archive.read(name)).digest()).decode()
                assert told == f"sha256={digest.rstrip('=')}"
    assert "seaway/py.typed" in names and "seaway/validate/templates/gate.html.jinja" in names
    assert not any("__pycache__" in name for name in names)
    target = tmp_path / "installed"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--target",
        str(target),
    ]
    subprocess.run([*pip, str(made)], check=True, capture_output=True)
    code = "import seaway.core.checks as c; print(c.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith(str(target))


def test_the_base_has_the_python_of_the_lock(bundle: OpenedBundle, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    locked = lock(cache).replace(b'"==3.11.*"', b'"==3.12.*"')
    written = image.write_context(bundle, locked, tmp_path / "context", cache, quiet)
    dockerfile = (tmp_path / "context" / "Dockerfile").read_text()
    assert written.base == "python:3.12-slim"
    assert "ARG BASE=python:3.12-slim\n" in dockerfile and 'RUN ["python3.12", ' in dockerfile
    assert "3.11" not in dockerfile


def test_an_empty_working_directory_is_filled_and_stays_the_same(
    bundle: OpenedBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "here"
    out.mkdir()
    monkeypatch.chdir(out)
    image.write_context(bundle, lock(tmp_path / "cache"), Path(), tmp_path / "cache", quiet)
    assert sorted(path.name for path in Path().iterdir()) == [
        ".dockerignore", "Dockerfile", "bundle", "pylock.toml", "requirements.txt", "wheels",
    ]  # fmt: skip


def test_an_empty_directory_is_empty_again_after_a_failure(bundle: OpenedBundle, tmp_path: Path) -> None:
    out = tmp_path / "here"
    out.mkdir()
    with pytest.raises(PermanentError):
        image.write_context(bundle, lock(tmp_path / "cache", ("leaf",)), out, tmp_path / "cache", quiet)
    assert list(out.iterdir()) == []


def test_a_directory_with_something_in_it_is_left_alone(bundle: OpenedBundle, tmp_path: Path) -> None:
    out = tmp_path / "context"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(UserError) as raised:
        image.write_context(bundle, lock(tmp_path / "cache"), out, tmp_path / "cache", quiet)
    assert raised.value.code == "image_unavailable"
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_a_wheel_that_is_not_the_locked_one_is_refused_and_nothing_is_left(
    bundle: OpenedBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    cache = tmp_path / "cache"
    locked = lock(cache).replace(b'name = "leaf"', b'name = "leaf-of-no-index"')
    with pytest.raises(TemporaryError) as raised:
        image.write_context(bundle, locked, tmp_path / "context", cache, quiet)
    assert raised.value.code == "image_unavailable"
    good = lock(cache)
    (cache / "leaf-1.0-py3-none-any.whl").write_bytes(b"PK\x05\x06" + b"\0" * 18)
    with pytest.raises(TemporaryError):
        image.write_context(bundle, good, tmp_path / "context", cache, quiet)
    assert [path.name for path in tmp_path.iterdir() if "context" in path.name] == []


def test_a_lock_without_pip_cannot_build(bundle: OpenedBundle, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(PermanentError, match="pip"):
        image.write_context(bundle, lock(cache, ("leaf",)), tmp_path / "context", cache, quiet)


def test_p21_a_damaged_bundle_is_not_put_into_an_image(bundle: OpenedBundle, tmp_path: Path) -> None:
    model = Path(bundle.directory) / bundle.manifest.entry
    model.write_bytes(model.read_bytes()[:-1] + b"\xff")
    with pytest.raises(PermanentError) as raised:
        image.write_context(bundle, lock(tmp_path / "cache"), tmp_path / "context", tmp_path / "cache", quiet)
    assert raised.value.code == "digest_mismatch"
    assert not (tmp_path / "context").exists()
