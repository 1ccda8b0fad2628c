"""Accept-Language by its grammar (RFC 9110, section 12.5.4), and by what browsers and others send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seaway.core import accept_language


@pytest.mark.parametrize(
    ("header", "tag"),
    [
        (b"de", "de"),
        (b"de-CH, fr;q=0.9", "de-ch"),
        (b"da, en-GB;q=0.8, en;q=0.7", "da"),  # the example of the RFC
        (b"fr;q=0.5, de;q=0.7, en;q=0.7", "de"),  # the first of equal ones
        (b"*, de;q=0.1", "de"),
        (b"*", None),
        (b"", None),
        (b"de;q=0", None),
        (b"de;q=0, en;q=0.001", "en"),
        (b" de ; q = 0.3 , en ; Q=0.4", "en"),
        (b"de;q=nan, en;q=1e9, fr;q=0.2", "fr"),
        (b"de;q=, en;q=0.1", "en"),
        (b"de;q=5, en", "de"),
        (b",,;q=1,de", "de"),
        (b"de;level=1;q=0.2, en;q=0.3", "en"),
        (b"\xff\xfe;q=0.9, en;q=0.5", "\xff\xfe"),
    ],
)
def test_the_most_preferred_language(header: bytes, tag: str | None) -> None:
    assert accept_language.preferred(header) == tag


@given(st.binary(max_size=2000))
def test_whatever_a_client_sends_is_read(header: bytes) -> None:
    found = accept_language.preferred(header)
    assert found is None or found


def test_a_header_made_to_cost_much_is_read_in_part() -> None:
    assert accept_language.preferred(b"," * 31 + b"de") == "de"
    assert accept_language.preferred(b"," * 32 + b"de") is None
