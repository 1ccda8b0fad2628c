"""The capture sink: what is chosen, what reaches the disk, and what a full one does to it."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from capture_requests import ALL, BASE_S, SIGNATURE, Ended, block, place, sink, written

from seaway.core.records import RecordRules
from seaway.core.tensors import DType, Signature, TensorSpec
from seaway.monitor.capture import files as capture_files
from seaway.monitor.capture import rows as capture_rows
from seaway.monitor.capture import sink as capture
from seaway.monitor.capture import spool as capture_spool
from seaway.monitor.capture.columns import MOST_VALUES
from seaway.testing.clock import VirtualClock

REDACTED = RecordRules(
    capture_percent=100.0,
    redact=("income", "probabilities", "text:email", "text:phone", "text:card", "text:iban", "text:ip"),
    subject="x-user-id",
)


def cells(root: Path) -> dict[str, list[object]]:
    """All that the spools hold, as rows."""
    spools = [capture_spool.read(path) for path in sorted(capture_files.spools(place(root)))]
    return dict(capture_rows.rows_of(spools, lambda _: True).cells)


def test_nothing_is_touched_where_nothing_is_captured(tmp_path: Path) -> None:
    taken = sink(tmp_path, VirtualClock(BASE_S))
    taken.take(block([Ended(1)], RecordRules()))
    taken.tick(BASE_S)
    taken.close()
    assert list(tmp_path.iterdir()) == []


def test_the_choice_is_by_id_alone_and_in_the_stated_share() -> None:
    requests = [Ended(i) for i in range(20_000)]
    first = {r.request_id for r in capture.chosen(requests, 10.0)}
    assert 1850 < len(first) < 2150
    assert {r.request_id for r in capture.chosen(requests[::-1], 10.0)} == first
    assert first < {r.request_id for r in capture.chosen(requests, 30.0)}
    assert len(capture.chosen(requests, 100.0)) == 20_000


def test_a_request_comes_back_as_typed_columns(tmp_path: Path) -> None:
    taken = sink(tmp_path, VirtualClock(BASE_S))
    taken.take(block([Ended(1, rows=2, subject="ada"), Ended(2, code="execution_failed")]))
    found = cells(tmp_path)
    assert found["request_id"] == ["request-1", "request-1", "request-2"]
    assert found["row"] == [0, 1, 0] and found["rows"] == [2, 2, 1]
    assert found["received_at"] == [BASE_S + 1, BASE_S + 1, BASE_S + 2]
    assert found["input.age"] == [1.0, 4.0, 2.0] and found["input.zip"] == [3.0, 6.0, 4.0]
    assert found["output.label"] == [1, 1, None]
    assert found["output.probabilities"] == ["[0.5,0.5]", "[0.5,0.5]", None]
    assert found["subject"] == ["ada", "ada", None]
    assert found["code"] == ["200", "200", "execution_failed"]


SECRETS = (
    "ada@example.org",
    "+49 170 1234567",
    "4111 1111 1111 1111",
    "DE89 3704 0044 0532 0130 00",
    "192.168.77.13",
    "424242.5",
    "eve@example.net",
    "0.8125",
)


def test_w12_nothing_redacted_is_in_any_file(tmp_path: Path) -> None:
    inputs = {
        "x": np.array([[30, 424242.5, 7]], np.float32),
        "note": np.array(["; ".join(SECRETS[:5])], dtype=object),
    }
    outputs = {"label": np.array([1]), "probabilities": np.array([[0.8125, 0.1875]], np.float32)}
    request = Ended(
        1,
        tensors=inputs,
        outputs=outputs,
        subject="eve@example.net",
        caller="192.168.77.13",
        request_id="ada@example.org",
    )
    taken = sink(tmp_path, VirtualClock(BASE_S))
    taken.take(block([request], REDACTED))
    taken.close()
    on_disk = written(tmp_path)
    for secret in SECRETS:
        assert secret.encode() not in on_disk
    assert (
        np.float32(424242.5).tobytes() not in on_disk and np.float64(424242.5).tobytes()[::-1] not in on_disk
    )
    assert np.float64(0.8125).tobytes()[::-1] not in on_disk, "as msgpack writes it"
    found = cells(tmp_path)
    assert found["input.note"] == ["[email]; [phone]; [card]; [iban]; [ip]"]
    assert found["input.age"] == [30.0] and "input.income" not in found
    assert found["caller"] == ["[ip]"] and str(found["subject"][0]).startswith("hidden:")


def test_a_redacted_header_leaves_a_pseudonym_that_is_equal_for_equal_subjects(tmp_path: Path) -> None:
    rules = RecordRules(capture_percent=100.0, redact=("header:X-User-Id",), subject="x-user-id")
    for slot in (0, 1):  # two workers, one secret
        taken = sink(tmp_path, VirtualClock(BASE_S), slot)
        taken.take(block([Ended(slot, subject="anne"), Ended(slot + 10, subject="bob")], rules))
        taken.close()
    subjects = cells(tmp_path)["subject"]
    assert b"anne" not in written(tmp_path) and len(set(subjects)) == 2


def test_a_large_tensor_leaves_its_shape_and_digest(tmp_path: Path) -> None:
    signature = Signature(
        (TensorSpec("image", DType.UINT8, (-1, -1, 3)), TensorSpec("text", DType.BYTES, (-1,))),
        (TensorSpec("total", DType.FP32, (1,)),),
    )
    image = np.zeros((1, MOST_VALUES, 3), np.uint8)
    text = np.array(["ß" * 70_000], dtype=object)
    taken = sink(tmp_path, VirtualClock(BASE_S))
    request = Ended(1, tensors={"image": image, "text": text}, outputs={"total": np.array([2.5], np.float32)})
    taken.take(block([request], signature=signature))
    found = cells(tmp_path)
    assert found["input.image"] == [None] and found["input.text"] == [None]
    assert found["output.total"] == ["[2.5]"]
    omitted = str(found["omitted"][0])
    assert '"input.image":{"shape":[1,65536,3],"dtype":"uint8","blake2b":"' in omitted
    assert '"input.text":{"shape":[1],"dtype":"object"' in omitted
    assert len(written(tmp_path)) < 4096


def test_lone_surrogates_nan_and_none_are_written(tmp_path: Path) -> None:
    inputs = {
        "x": np.array([[np.nan, np.inf, 1]], np.float32),
        "note": np.array(["a\ud800b"], dtype=object),
    }
    taken = sink(tmp_path, VirtualClock(BASE_S))
    taken.take(block([Ended(1, tensors=inputs), Ended(2, tensors={})]))
    found = cells(tmp_path)
    assert found["input.note"] == ["a?b", None] and str(found["input.age"]) == "[nan, None]"


def test_spools_are_closed_by_age_and_by_size(tmp_path: Path) -> None:
    clock = VirtualClock(BASE_S)
    taken = sink(tmp_path, clock)
    taken.take(block([Ended(1)]))
    taken.tick(clock.now_s() + 1)
    taken.take(block([Ended(2)]))
    first = capture_files.spools(place(tmp_path))
    assert len(first) == 1 and not capture_spool.is_closed(first[0])
    clock.advance(61)
    taken.tick(clock.now_s())
    assert capture_spool.is_closed(first[0])
    large = Ended(3, rows=20_000, tensors={"x": np.ones((20_000, 3), np.float32)})
    for _ in range(40):
        taken.take(block([large]))
    sizes = [path.stat().st_size for path in capture_files.spools(place(tmp_path))]
    assert len(sizes) >= 3 and max(sizes) < 10 * 1024 * 1024
    taken.close()
    taken.close()


def test_a_torn_tail_and_a_damaged_frame_cost_themselves_alone(tmp_path: Path) -> None:
    taken = sink(tmp_path, VirtualClock(BASE_S))
    taken.take(block([Ended(i) for i in range(10)]))
    taken.close()
    path = capture_files.spools(place(tmp_path))[0]
    whole = path.read_bytes()
    for cut in range(0, len(whole), 7):
        path.write_bytes(whole[:cut])
        found = capture_spool.read(path)
        assert [r.request_id for r in found.requests] == [f"request-{i}" for i in range(len(found.requests))]
        assert found.torn <= 1
    damaged = bytearray(whole)
    damaged[whole.index(b"request-4")] ^= 1
    path.write_bytes(damaged)
    found = capture_spool.read(path)
    assert len(found.requests) == 9 and found.torn == 1


@pytest.fixture
def small_files() -> Iterator[None]:
    """A disk on which a file can have 4 KiB: what comes beyond fails as on a full one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_files")
def test_f10_a_full_disk_is_an_oserror_and_keeps_whole_blocks(tmp_path: Path) -> None:
    taken = sink(tmp_path, VirtualClock(BASE_S))
    taken.take(block([Ended(i) for i in range(5)]))
    with pytest.raises(OSError, match="File too large"):
        taken.take(block([Ended(i) for i in range(100, 300)]))
    taken.take(block([Ended(i) for i in range(5, 8)]))
    ids = {str(name) for name in cells(tmp_path)["request_id"]}
    assert ids == {f"request-{i}" for i in range(8)}
    assert sum(capture_spool.read(path).torn for path in capture_files.spools(place(tmp_path))) == 0
    assert not list(place(tmp_path).glob(".new-*"))


def test_f10_spools_that_nobody_converts_end_at_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "SPOOLS_BYTES", 1)
    clock = VirtualClock(BASE_S)
    taken = sink(tmp_path, clock)
    taken.take(block([Ended(1)]))
    clock.advance(61)
    taken.tick(clock.now_s())
    with pytest.raises(OSError, match="wait to be converted"):
        taken.take(block([Ended(2)], ALL))
    assert cells(tmp_path)["request_id"] == ["request-1"]


def test_layouts_of_several_revisions_share_a_spool(tmp_path: Path) -> None:
    other = Signature((TensorSpec("note", DType.INT64, (-1,)),), SIGNATURE.outputs)
    taken = sink(tmp_path, VirtualClock(BASE_S))
    taken.take(block([Ended(1, note="seven")]))
    taken.take(block([Ended(2, tensors={"note": np.array([8])})], revision=4, signature=other))
    taken.take(block([Ended(3)]))
    found = cells(tmp_path)
    assert found["revision"] == [3, 4, 3] and found["input.note"] == ["seven", "8", "nothing"]
    assert found["input.age"] == [1.0, None, 3.0]
