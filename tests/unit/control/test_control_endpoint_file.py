"""endpoint.yaml: parsed whole, and each mistake named with its place and its cure."""

from __future__ import annotations

import msgspec
import pytest

from seaway.control import endpoint_file
from seaway.core import deployments
from seaway.core.errors import UserError
from seaway.core.records import RecordRules

WHOLE = b"""
version: 1
project: default
endpoint: prices
serve:
  bundle: prices:v4
  variant: auto
  replicas: {min: 1, max: 1}
  isolation: shared
batching: {max_rows: 64, wait: auto}
limits: {deadline: 1s, queue: 2s, body: 16MiB}
slo: {p99: 50ms, errors: 0.1%}
fallback: []
policies: []
rollout:
  steps: [1%, 5%, 25%, 50%, 100%]
  hold: 60s
  bake: 10m
  sticky: {header: x-user-id}
  shadow: 0%
  checks: [errors, predictions, {check: latency, harm: 10%}]
  alpha: 5%
  inconclusive: {after: 24h, then: rollback}
record: {capture: 0%, redact: [], retain: 30d}
monitors: [data, drift, estimated_quality]
target: {kind: local}
labels: {team: pricing}
"""
BASE = "version: 1\nendpoint: prices\nserve: {bundle: 'prices:v1'}\n"


def test_the_whole_file_of_the_contract_parses() -> None:
    spec = endpoint_file.parse(WHOLE, "endpoint.yaml")
    assert spec.limits.parsed.body_bytes == 16 * 2**20
    assert spec.limits.parsed.deadline_s == 1.0
    assert spec.slo == deployments.Slo(p99="50ms", errors="0.1%")
    assert (spec.rollout.steps_percent, spec.rollout.bake_s) == ((1, 5, 25, 50, 100), 600)
    missing = [line.partition(":")[0] for line in deployments.unavailable(spec)]
    assert missing == ["monitors"]
    assert msgspec.json.decode(msgspec.json.encode(spec), type=deployments.Deployment) == spec


@pytest.mark.parametrize(
    "extra",
    [
        "",
        "rollout: {steps: [0%, 100%], bake: 1h}\n",
        "rollout: {steps: [1%, 25%, 100%], shadow: 5%, checks: [errors, agreement], sticky: {cookie: uid}}\n",
        "record: {capture: 1%, redact: [age, 'header:cookie'], retain: 7d}\n",
        "record: {subject: {header: X-User-Id}, slices: [country]}\n",
        "limits: {deadline: 2s}\nslo: {p99: 50ms}\nlabels: {a: b}\n",
    ],
)
def test_what_is_built_is_available(extra: str) -> None:
    assert deployments.unavailable(endpoint_file.parse((BASE + extra).encode(), "e.yaml")) == ()


@pytest.mark.parametrize(
    "extra",
    [
        "policies: [cache, {policy: budget, options: {usd: 3}}]\n",
        "fallback: [{provider: {url: x}}]\n",
        "target: {kind: kubernetes}\n",
        "project: other\n",
    ],
)
def test_what_is_not_built_parses_and_says_so(extra: str) -> None:
    (line,) = deployments.unavailable(endpoint_file.parse((BASE + extra).encode(), "e.yaml"))
    assert line.startswith(extra.partition(":")[0])


def test_the_record_section_is_what_workers_are_told() -> None:
    text = (
        "record: {capture: 0.5%, redact: [age], retain: 12h, subject: {header: X-User-Id}, slices: [country]}"
    )
    assert endpoint_file.parse((BASE + text).encode(), "e.yaml").record.rules == RecordRules(
        capture_percent=0.5, redact=("age",), retain_s=43_200.0, subject="x-user-id", slices=("country",)
    )


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        (BASE + "limts: {}\n", "line 4, column 1: unknown key 'limts'", "did you mean 'limits'?"),
        (BASE + "limits: {deadlin: 1s}\n", "line 4, column 10: unknown key 'limits.deadlin'", "'deadline'"),
        (BASE + "rollout:\n  sticky: {headr: x}\n", "line 5, column 12", "'header'"),
        (
            BASE + "endpoint: other\n",
            "line 4, column 1: the key 'endpoint' is there twice, first on line 2",
            None,
        ),
        (BASE + "limits: {deadline: 1}\n", "line 4, column 20: limits.deadline", "such as 50ms"),
        (BASE + "limits: {body: 16 MB}\n", "limits.body", "such as 16MiB"),
        (BASE + "limits: {deadline: 0s}\n", "deadline and body must be more than 0", None),
        (BASE + "rollout: {steps: [5%, 101%]}\n", "line 4, column 23: rollout.steps[1]", "0% to 100%"),
        (BASE + "rollout: {steps: [-1%, 100%]}\n", "rollout.steps[0]", "0% to 100%"),
        (BASE + "rollout: {steps: [50%, 5%, 100%]}\n", "steps must rise", None),
        (BASE + "rollout: {steps: []}\n", "rollout.steps", None),
        (BASE + "record: {retain: 0s}\n", "retain must be more than 0", None),
        (BASE + "record: {slices: [a, b, c, d, e]}\n", "record.slices", None),
        (BASE + "record: {subject: {header: 'a b'}}\n", "record.subject.header", None),
        (BASE + "rollout: {hold: 0s}\n", "hold must be more than 0", None),
        (BASE + "rollout: {alpha: .nan}\n", "no number", None),
        (BASE + "rollout: {checks: [{check: nonsense}]}\n", "rollout.checks[0].check", "one of: agreement"),
        (BASE + "serve2: 1\n", "unknown key 'serve2'", "'serve'"),
        ("version: 2\nendpoint: x\nserve: {bundle: 'p:v1'}\n", "line 1, column 10: version", None),
        ("version: 1\nendpoint: X\nserve: {bundle: 'p:v1'}\n", "'X' is not a name", None),
        ("version: 1\nendpoint: x\nserve: {}\n", "exactly one of bundle, engine, provider and graph", None),
        ("version: 1\nendpoint: x\nserve: {bundle: 'p:v1', engine: e}\n", "found bundle and engine", None),
        ("version: 1\nendpoint: x\nserve: {bundle: p}\n", "'p' is not a version", None),
        ("endpoint: x\n", "missing required field `version`", None),
        ("", "the file is empty", None),
        ("- 1\n", "is a mapping", None),
        ("\tversion: 1\n", "indented with spaces", None),
        ("a: &x [1]\nb: *x\n", "anchors and aliases", "write the value out"),
        ("labels: !!python/object/apply:os.system [ls]\n", "the tag", None),
        ("a: !mine 3\n", "the tag", None),
        ("? [a]\n: b\n", "a key must be plain text", None),
        ("a: [1\n", "line", None),
        ("a: 1\n---\nb: 2\n", "another document", None),
        ("[" * 60_000, "nested too deeply", None),
        ("- " * 30_000, "nested too deeply", None),
        ("[\n" * 30_000, "not YAML", None),
        ("a: " + "{b: " * 50 + "}" * 50, "nested too deeply", None),
        ("#" * 70_000, "larger than 64 KiB", None),
    ],
    ids=lambda value: str(value)[-30:],
)
def test_a_mistake_is_named(text: str, says: str, hint: str | None) -> None:
    with pytest.raises(UserError) as caught:
        endpoint_file.parse(text.encode(), "e.yaml")
    assert caught.value.code == "invalid_spec"
    assert caught.value.message.startswith("e.yaml")
    assert says in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(UserError, match="not UTF-8"):
        endpoint_file.parse(b"version: \xff", "e.yaml")


def test_an_alias_bomb_is_refused_at_once() -> None:
    bomb = "a: &a [x]\n" + "".join(f"b{n}: &b{n} [{', '.join(['*a'] * 9)}]\n" for n in range(500))
    with pytest.raises(UserError, match="anchors and aliases"):
        endpoint_file.parse(bomb.encode(), "e.yaml")


def test_the_shipped_json_schema_is_current() -> None:
    """It is `endpoint_file.json_schema()`, written out with an indent of 2."""
    assert msgspec.json.decode(endpoint_file.shipped_schema()) == msgspec.json.decode(
        msgspec.json.encode(endpoint_file.json_schema())
    )
