"""The list of isolated models on a full disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from seaway.control.isolation import Isolation
from seaway.core.bundles import Digest
from seaway.wire import isolation

A = Digest("sha256:" + "a" * 64)


def test_f10_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    listed = Isolation(tmp_path)
    assert not listed.unwritten
    blocked = tmp_path / "isolated.part"
    blocked.mkdir()
    listed.add([A], 1.0)
    with pytest.raises(OSError, match="directory"):
        listed.write()
    assert listed.unwritten
    assert isolation.read(tmp_path / isolation.FILE).models == {}
    blocked.rmdir()
    listed.write()
    assert not listed.unwritten
    assert set(isolation.read(tmp_path / isolation.FILE).models) == {A}
