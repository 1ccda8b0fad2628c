"""The counts behind `/metrics`: a thousand endpoints keep their labels."""

from __future__ import annotations

from seaway.monitor.recording.request_counts import Key, RequestCounts


def test_a_thousand_endpoints_with_some_codes_on_each_door_keep_their_labels() -> None:
    counts = RequestCounts()
    codes = ("200", "wrong_shape", "overloaded", "deadline_exceeded")
    for number in range(1000):
        for door in ("predict", "oip", "grpc"):
            for code in codes:
                counts.add(Key(door, f"e{number}", "1", code), [0.001], 0.0)
    total = next(iter(counts.families({})))
    assert len(total.samples) == 12_000
    assert all(sample.value == 1 and sample.labels["endpoint"] for sample in total.samples)
