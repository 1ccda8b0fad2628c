"""From the options of a check to what it tolerates."""

from __future__ import annotations

import msgspec
import pytest

from seaway.core.evidence.streams import Margin
from seaway.core.rollouts import margins
from seaway.core.rollouts.spec import RolloutCheck


def said(check: str, **options: object) -> RolloutCheck:
    return msgspec.convert({"check": check, **options}, RolloutCheck)


@pytest.mark.parametrize(
    ("check", "margin"),
    [
        (said("errors"), Margin(1.2, 0.002)),
        (said("errors", harm="50%", plus="1%"), Margin(1.5, 0.01)),
        (said("rejections", plus="0%"), Margin(1.2, 0.0)),
        (said("quality"), Margin(1.0, 0.01)),
        (said("quality", harm="3%"), Margin(1.0, 0.03)),
        (said("outcome", good="bought"), Margin(1.0, 0.01)),
        (said("outcome", good="bought", gain="2%"), Margin(1.0, -0.02)),
        (said("quality", gain="0.5%"), Margin(1.0, -0.005)),
        (said("outcome", kpi="revenue"), Margin(0.95, 0.05)),
        (said("outcome", kpi="revenue", gain="3%"), Margin(1.03, -0.03)),
        (said("outcome", kpi="handling_s", better="lower", harm="10%"), Margin(1.1, 0.0)),
        (said("outcome", kpi="handling_s", better="lower", gain="10%"), Margin(0.9, 0.0)),
        (said("cost"), Margin(1.1, 0.0)),
        (said("errors", strict=True, harm="0%"), Margin(1.2, 0.002)),
    ],
)
def test_rates(check: RolloutCheck, margin: Margin) -> None:
    found = margins.margin_of(check)
    assert (found.ratio, found.extra) == pytest.approx((margin.ratio, margin.extra))


def test_times_and_answers() -> None:
    assert margins.slower_by(said("latency")) == ((0.5, 1.1, 0.0), (0.99, 1.2, 0.0025))
    assert margins.slower_by(said("latency", harm="50%", plus="1%")) == ((0.5, 1.5, 0.01), (0.99, 1.5, 0.01))
    assert margins.slower_by(said("cost", harm="20%")) == ((0.99, 1.2, 0.0025),)
    shares = [margins.tolerance_of(said(name)) for name in ("predictions", "confidence", "agreement")]
    assert shares == [0.1, 0.1, 0.05]
    assert margins.tolerance_of(said("agreement", harm="2%")) == pytest.approx(0.02)
    with pytest.raises(KeyError):
        margins.margin_of(said("latency"))


@pytest.mark.parametrize("check", ["predictions", "confidence", "agreement", "quality", "shadow_quality"])
def test_a_share_of_all_is_no_margin(check: str) -> None:
    """Of a disagreement that may be total there is no likelihood ratio, only 0/0."""
    with pytest.raises(msgspec.ValidationError, match="less than 100%"):
        said(check, harm="100%")
    assert said(check, harm="99%").harm_share == pytest.approx(0.99)
    assert said("errors", harm="100%").harm_share == 1.0
