"""Whose request it is, from what a client sends: bounded, whatever that is."""

from __future__ import annotations

import pytest

from seaway.core.user_keys import UserKey, cookie_value


@pytest.mark.parametrize(
    ("cookies", "value"),
    [
        (b"uid=ada", b"ada"),
        (b"a=b; uid=ada; c=d", b"ada"),
        (b'uid="ada"', b"ada"),
        (b" uid = ada ;uid=bob", b"ada"),
        (b"uid=a=b", b"a=b"),
        (b"xuid=ada; uidx=eve", None),
        (b"uid", None),
        (b"UID=ada", None),
        (b"", None),
    ],
)
def test_the_value_of_a_cookie(cookies: bytes, value: bytes | None) -> None:
    assert cookie_value(cookies, "uid") == value


def test_a_cookie_header_made_to_cost_much_is_read_in_part() -> None:
    many = b"a=b;" * 255
    assert cookie_value(many + b"uid=ada;" + many, "uid") == b"ada"
    assert cookie_value(many * 32 + b"uid=ada", "uid") is None


def test_an_empty_key_is_none_and_a_long_one_is_cut() -> None:
    key = UserKey(header="x-user-id")
    assert key.read({"x-user-id": b""}.get) is None
    assert key.read({}.get) is None
    assert key.read({"x-user-id": b"u" * 10_000}.get) == b"u" * 512
    assert UserKey(cookie="uid").read({"cookie": b"uid="}.get) is None
