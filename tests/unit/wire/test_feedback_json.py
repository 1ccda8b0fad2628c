"""Bodies of feedback: what is taken, and what each attack row (R01 to R04, R07, R10) gets."""

from __future__ import annotations

import re

import pytest

from seaway.core.errors import UserError
from seaway.core.feedback import MAX_BODY_BYTES, MAX_ROWS, FeedbackRow
from seaway.wire.feedback_json import read_rows, refuse_encoding

LINES = "application/x-ndjson"
A, B = FeedbackRow("a", outcome=1), FeedbackRow("b", outcome="yes")


@pytest.mark.parametrize(
    ("body", "media", "rows"),
    [
        (b'{"request_id": "a", "outcome": 1}', None, [A]),
        (b' [{"request_id": "a", "outcome": 1}, {"request_id": "b", "outcome": "yes"}]', None, [A, B]),
        (b'{"request_id":"a","outcome":1}\n\n{"request_id":"b","outcome":"yes"}\n', LINES, [A, B]),
        (b"[]", "application/json; charset=utf-8", []),
        (b'{"request_id":"a","row":1,"kpi":{"x":2}}', None, [FeedbackRow("a", 1, kpi={"x": 2})]),
    ],
)
def test_the_three_forms_of_a_body(body: bytes, media: str | None, rows: list[FeedbackRow]) -> None:
    assert read_rows(body, media) == rows


BAD = [
    ("r01 not JSON", b"outcome=1", "invalid_json", ""),
    ("r01 empty", b"", "invalid_json", ""),
    ("r01 BOM", b'\xef\xbb\xbf{"request_id":"a","outcome":1}', "invalid_json", ""),
    ("r01 bad UTF-8", b'{"request_id":"\xff","outcome":1}', "invalid_json", ""),
    ("r01 lone surrogate", b'{"request_id":"a","outcome":"\\ud800"}', "invalid_json", ""),
    ("r02 deep arrays", b"[" * 100_000, "invalid_request", "row 1"),
    ("r02 deep value", b'[{"request_id":"a","outcome":' + b"[" * 100_000, "invalid_request", "outcome"),
    ("r03 NaN", b'{"request_id":"a","outcome":NaN}', "invalid_json", ""),
    ("r03 Infinity", b'{"request_id":"a","kpi":{"x":Infinity}}', "invalid_json", ""),
    ("r03 1e999", b'{"request_id":"a","outcome":1e999}', "invalid_request", "outcome"),
    ("r03 10^5000", b'{"request_id":"a","outcome":1' + b"0" * 5000 + b"}", "invalid_request", "outcome"),
    ("r03 1e200", b'{"request_id":"a","outcome":1e200}', "invalid_request", "outcome"),
    ("wrong type", b'[{"request_id":"a","outcome":1},{"request_id":7,"outcome":1}]', "invalid_request", "row 2"),
    ("unknown field", b'{"request_id":"a","outcome":1,"label":1}', "invalid_request", "label"),
    ("no request id", b'{"outcome":1}', "invalid_request", "request_id"),
    ("nothing told", b'[{"request_id":"a","outcome":1},{"request_id":"a"}]', "invalid_request", "row 2"),
    ("negative row", b'{"request_id":"a","row":-1,"outcome":1}', "invalid_request", "row"),
    ("no such id can be", b'{"request_id":"a b","outcome":1}', "invalid_request", "request_id"),
    ("time without zone", b'{"request_id":"a","outcome":1,"at":"2026-01-01T00:00:00"}', "invalid_request", "at"),
    (
        "too many slices",
        b'{"request_id":"a","outcome":1,"slices":{"a":1,"b":1,"c":1,"d":1,"e":1}}',
        "invalid_request",
        "slices",
    ),
    ("bad KPI name", b'{"request_id":"a","kpi":{"a b":1}}', "invalid_request", "kpi"),
    ("text KPI", b'{"request_id":"a","kpi":{"a":"1"}}', "invalid_request", "kpi"),
    ("long class", b'{"request_id":"a","outcome":"' + b"x" * 257 + b'"}', "invalid_request", "outcome"),
    ("r07 too large", b" " * (MAX_BODY_BYTES + 1), "body_too_large", ""),
    ("too many rows", b"[" + b'{"request_id":"a","outcome":1},' * MAX_ROWS + b'{"request_id":"a","outcome":1}]', "body_too_large", "100001"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code", "named"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_a_bad_body_is_refused_whole(body: bytes, code: str, named: str) -> None:
    with pytest.raises(UserError) as raised:
        read_rows(body, None)
    assert raised.value.code == code
    assert named in raised.value.message
    assert len(raised.value.message) < 500


def test_the_bad_line_of_many_is_named() -> None:
    lines = b'{"request_id":"a","outcome":1}\n' * 6 + b'{"request_id":"a","outcome":[1]}\n'
    with pytest.raises(UserError, match=r"row 7: .*field `outcome`"):
        read_rows(lines, LINES)


def test_r04_the_last_of_a_doubled_key_counts() -> None:
    assert read_rows(b'{"request_id":"b","request_id":"a","outcome":1}', None) == [A]


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-pickle", "application/vnd.bentoml+pickle", "multipart/form-data"]
)
def test_r10_other_media_are_not_read(media: str) -> None:
    with pytest.raises(UserError, match=re.escape(media)) as raised:
        read_rows(b"[]", media)
    assert raised.value.code == "unsupported_media_type"


@pytest.mark.parametrize(
    ("body", "media", "said"),
    [
        (b'{"request_id":"a b","outcome":1}', None, r"row 1: a request id is 1 to 128 of .* \(field `request_id`\)"),
        (b'{"request_id":"a","kpi":{"a b":1}}', None, r"row 1: a name is a letter or _"),
        (b'{"request_id":"a","outcome":"\\ud800"}', None, r"the body .* half of a surrogate pair"),
        (b'{"request_id":"a","outcome":1}\n\n{"request_id":"a","outcome":"\\ud800"}', LINES, r"row 2 .* half of a surrogate"),
        (b'{"request_id":"a","outcome":1}\n{"request_id":"\xff","outcome":1}', LINES, r"row 2 .* not UTF-8"),
        (b'{"request_id":"a","outcome":"\\ud83d\\ude00"', None, r"(?!.*surrogate)"),
        (b'{"request_id":"a","outcome":"\\\\ud800"', None, r"(?!.*surrogate)"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_is_wrong_in_words(body: bytes, media: str | None, said: str) -> None:
    with pytest.raises(UserError) as raised:
        read_rows(body, media)
    assert re.match(said, raised.value.message) and "\\Z" not in raised.value.message


@pytest.mark.parametrize("given", [None, "", "identity", " Identity"])
def test_a_body_as_it_is_is_taken(given: str | None) -> None:
    refuse_encoding(given)
