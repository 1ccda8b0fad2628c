"""`wiring.record_checks`: what an endpoint file wants recorded or compared is refused at the deploy where it cannot be."""

from __future__ import annotations

import importlib.util

import msgspec
import pytest
from control_fakes import FakeBundles

from seaway.core.bundles import Manifest, ModelRef, OpenedBundle, Source, Task, Version
from seaway.core.deployments import Backend, Deployment, RecordSection, Subject
from seaway.core.errors import PermanentError, UserError
from seaway.core.rollouts.spec import Rollout
from seaway.core.tensors import DType, Meaning, Signature, TensorSpec
from seaway.wiring.record_checks import RecordChecks

SIGNATURE = Signature(
    (
        TensorSpec("x", DType.FP32, (-1, 2), columns=("age", "income")),
        TensorSpec("note", DType.BYTES, (-1,)),
    ),
    (TensorSpec("price", DType.FP32, (-1,)),),
)


class Bundles(FakeBundles):
    """With named columns; `opened` counts how often a bundle was read."""

    opened = 0
    outputs = SIGNATURE.outputs

    def open(self, version: Version) -> OpenedBundle:
        self.opened += 1
        signature = Signature(SIGNATURE.inputs, self.outputs)
        manifest = Manifest(version.name, Task.OTHER, "m.onnx", signature, Source("onnx"), ())
        return OpenedBundle(version.digest, manifest, "/b", str(version.ref), 1)


def check(bundles: Bundles | None = None, **record: object) -> tuple[str, ...]:
    known = bundles or Bundles()
    spec = Deployment(1, "e", serve=Backend(bundle="m:v1"), record=RecordSection(**record))  # type: ignore[arg-type]
    return RecordChecks(known)(spec, known.resolve(ModelRef.parse("m:v1")))


@pytest.mark.parametrize(
    "name", ["age", "input.income", "note", "output.price", "header:x-key", "text:email"]
)
def test_names_that_the_model_has_are_taken(name: str) -> None:
    assert check(redact=(name,)) == ()


@pytest.mark.parametrize("name", ["agee", "input.price", "output.age"])
def test_a_misspelt_redact_name_is_refused_for_it_would_protect_nothing(name: str) -> None:
    with pytest.raises(UserError, match=r"record\.redact") as refused:
        check(redact=("age", name))
    assert refused.value.code == "invalid_spec"
    assert "m:v1" in refused.value.message and name.removeprefix("input.").removeprefix("output.") in str(
        refused.value
    )
    assert refused.value.hint


def test_slices_are_columns_or_inputs_and_never_outputs() -> None:
    assert check(slices=("age", "note")) == ()
    for wrong in ("x", "price", "agee"):
        with pytest.raises(UserError, match=rf"record\.slices.*{wrong}") as refused:
            check(slices=("age", wrong))
        assert refused.value.code == "invalid_spec"


@pytest.mark.parametrize("name", ["age", "input.age", "x", "input.x"])
def test_w12_a_redacted_column_is_no_slice(name: str) -> None:
    with pytest.raises(UserError, match="age is redacted") as refused:
        check(redact=(name,), slices=("age", "note"))
    assert refused.value.code == "invalid_spec" and refused.value.hint
    assert check(redact=("income",), slices=("age",)) == ()


def test_capture_without_pyarrow_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pyarrow") as refused:
        check(capture="10%", subject=Subject("X-User"))
    assert refused.value.code == "missing_extra" and "seaway[records]" in (refused.value.hint or "")
    assert check() == ()  # nobody asked for it


def test_capture_without_a_subject_is_warned_of() -> None:
    (warning,) = check(capture="10%")
    assert "erased" in warning and "record.subject" in warning
    assert check(capture="10%", subject=Subject("X-User")) == ()


def test_no_bundle_is_read_where_nothing_is_named() -> None:
    bundles = Bundles()
    check(bundles, capture="1%")
    assert bundles.opened == 0


PROBABILITIES = TensorSpec("sure", DType.FP32, (-1, 3), meaning=Meaning.PROBABILITY)
ANSWERS = {
    "a number": (TensorSpec("price", DType.FP32, (-1,)),),
    "classes with probabilities": (PROBABILITIES,),
    "an image": (TensorSpec("picture", DType.FP32, (-1, -1, -1)),),
}


def compare(answer: str, *checks: str) -> tuple[str, ...]:
    known = Bundles()
    known.outputs = ANSWERS[answer]
    spec = Deployment(
        1,
        "e",
        serve=Backend(bundle="m:v1"),
        rollout=msgspec.convert({"steps": ["5%", "100%"], "checks": checks, "shadow": "10%"}, Rollout),
    )
    return RecordChecks(known)(spec, known.resolve(ModelRef.parse("m:v1")))


@pytest.mark.parametrize(
    ("answer", "check"),
    [
        ("a number", "confidence"),
        ("an image", "confidence"),
        ("an image", "predictions"),
        ("an image", "quality"),
        ("an image", "shadow_quality"),
    ],
)
def test_a_check_that_this_model_can_never_pass_is_refused_at_once(answer: str, check: str) -> None:
    with pytest.raises(UserError, match=rf"{check} has nothing to compare: in m:v1 no output") as refused:
        compare(answer, "errors", check)
    assert refused.value.code == "invalid_spec"
    assert refused.value.hint == f"take {check} out of rollout.checks"


def test_checks_that_the_model_can_pass_are_taken() -> None:
    assert compare("classes with probabilities", "errors", "predictions", "confidence", "quality") == ()
    assert compare("a number", "predictions", "quality", "shadow_quality", "cost") == ()
    assert compare("an image", "errors", "latency", "cost") == ()


def test_the_live_version_must_have_something_to_compare_with_too() -> None:
    class Mixed(Bundles):
        damaged = False

        def open(self, version: Version) -> OpenedBundle:
            if version.number == 2 and self.damaged:
                raise PermanentError("digest_mismatch", "a bit is flipped")
            self.outputs = ANSWERS["classes with probabilities" if version.number == 1 else "a number"]
            return super().open(version)

    known = Mixed()
    spec = Deployment(
        1, "e", serve=Backend(bundle="m:v1"), rollout=Rollout(steps=("5%", "100%"), checks=("confidence",))
    )
    new, live = (known.resolve(ModelRef.parse(f"m:v{number}")) for number in (1, 2))
    assert RecordChecks(known)(spec, new) == ()
    with pytest.raises(UserError, match="in m:v2 no output holds the probabilities"):
        RecordChecks(known)(spec, new, live)
    known.damaged = True
    assert RecordChecks(known)(spec, new, live) == (), "what is damaged may be replaced"
