"""The environment lock: what it keeps of an index, and that it covers exactly what is installed."""

from __future__ import annotations

import pytest

from seaway.bundle import environment
from seaway.core.errors import PermanentError

_HASH = {"sha256": "0" * 64}


def _found(**wheel: object) -> dict[str, object]:
    entry = {"name": "thing-1.0-py3-none-any.whl", "hashes": _HASH, **wheel}
    return {"packages": [{"name": "thing", "version": "1.0", "wheels": [entry]}]}


def test_the_closure_has_what_serves_a_model_and_not_the_extras() -> None:
    pins = environment.pinned_closure()
    assert {"onnxruntime", "numpy", "starlette", "uvicorn", "msgspec"} <= set(pins)
    assert not {"scikit-learn", "pandas", "pytest", "seaway"} & set(pins)


def test_a_file_of_a_local_mirror_is_locked_by_name_and_hash() -> None:
    lock = environment.canonical_lock(
        _found(url="file:///mirror/thing-1.0-py3-none-any.whl"), {"thing": "1.0"}
    )
    assert b"/mirror" not in lock and b"wheels/thing-1.0-py3-none-any.whl" in lock


def test_a_lock_that_lacks_a_package_is_refused() -> None:
    with pytest.raises(PermanentError, match="differ"):
        environment.canonical_lock(
            _found(url="https://index.example/t.whl"), {"thing": "1.0", "other": "2.0"}
        )


def test_a_lock_keeps_no_credentials_of_an_index() -> None:
    url = "https://user:canary-secret@index.example/thing-1.0-py3-none-any.whl"
    lock = environment.canonical_lock(_found(url=url), {"thing": "1.0"})
    assert b"canary" not in lock and b"https://index.example/thing-1.0" in lock
