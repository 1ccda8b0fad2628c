"""Rendering and adding up Prometheus text."""

from __future__ import annotations

from seaway.wire import prometheus
from seaway.wire.prometheus import Family, Sample


def test_render_escapes_labels_and_leaves_empty_families_out() -> None:
    text = prometheus.render(
        [
            Family("a_total", "counter", "A.", [Sample({"x": 'q"\\\n'}, 3)]),
            Family("b", "gauge", "B.", []),
            Family("c", "gauge", "C.", [Sample({}, 0.1)]),
        ]
    )
    assert text == (
        '# HELP a_total A.\n# TYPE a_total counter\na_total{x="q\\"\\\\\\n"} 3\n'
        "# HELP c C.\n# TYPE c gauge\nc 0.10000000000000001\n"
    )
    assert prometheus.render([]) == ""


def test_merge_adds_series_and_keeps_each_family_together() -> None:
    one = prometheus.render([Family("a", "counter", "A.", [Sample({"x": "1"}, 1), Sample({"x": "2"}, 5)])])
    two = prometheus.render(
        [
            Family("b", "gauge", "B.", [Sample({}, 7)]),
            Family("a", "counter", "A.", [Sample({"x": "3 4"}, 2), Sample({"x": "1"}, 2)]),
        ]
    )
    assert prometheus.merge([one, two]) == (
        '# HELP a A.\n# TYPE a counter\na{x="1"} 3\na{x="2"} 5\na{x="3 4"} 2\n# HELP b B.\n# TYPE b gauge\nb 7\n'
    )
    assert prometheus.merge([]) == ""
