"""What a worker learned reaches its successor, and nothing that goes wrong with the file matters."""

from __future__ import annotations

from pathlib import Path

import pytest

from seaway.core.bundles import Digest
from seaway.engine.jobs import Learned
from seaway.serve.learned import LearnedFile

KNOWN = {Digest("sha256:" + "a" * 64): Learned(0.001, 0.0001, 40, inline_allowed=False)}


def test_a_successor_reads_what_was_written(tmp_path: Path) -> None:
    LearnedFile(tmp_path, 3).write(lambda: KNOWN)
    assert LearnedFile(tmp_path, 3).read() == KNOWN
    assert LearnedFile(tmp_path, 4).read() == {}


def test_only_a_change_is_written(tmp_path: Path) -> None:
    file = LearnedFile(tmp_path, 0)
    file.write(lambda: KNOWN)
    before = (tmp_path / "learned-0.json").stat().st_ino
    file.write(lambda: dict(KNOWN))
    assert (tmp_path / "learned-0.json").stat().st_ino == before
    file.write(dict)
    assert LearnedFile(tmp_path, 0).read() == {}


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": 1}', b"\xff\xff", b'{"a": {"a_s": "x"}}'])
def test_a_damaged_file_is_no_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "learned-0.json").write_bytes(content)
    assert LearnedFile(tmp_path, 0).read() == {}


def test_a_directory_that_is_gone_is_no_reason_to_fail(tmp_path: Path) -> None:
    LearnedFile(tmp_path / "gone", 0).write(lambda: KNOWN)
    assert LearnedFile(tmp_path / "gone", 0).read() == {}
