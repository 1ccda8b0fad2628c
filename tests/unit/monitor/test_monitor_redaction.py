"""What the patterns of `record.redact` find, and what they leave."""

from __future__ import annotations

import time

import pytest
from capture_requests import SIGNATURE

from seaway.core.errors import UserError
from seaway.monitor.capture import redaction

ALL = redaction.parse(["text:email", "text:phone", "text:card", "text:iban", "text:ip"])


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to Ada.Lovelace+x@mail.example.org.", "write to [email]."),
        ("root@localhost", "[email]"),
        ("call +49 (170) 123-45 67 today", "call [phone] today"),
        ("0170/1234567", "[phone]"),
        ("00491701234567", "[phone]"),
        ("card 4111 1111 1111 1111, thanks", "card [card], thanks"),
        ("4111-1111-1111-1111 123", "[card] 123"),
        ("378282246310005", "[card]"),
        ("IBAN de89 3704 0044 0532 0130 00 please", "IBAN [iban] please"),
        ("GB82WEST12345698765432", "[iban]"),
        ("from 192.168.10.17:8080", "from [ip]:8080"),
        ("from 2001:db8::8a2e:370:7334 too", "from [ip] too"),
        ("::ffff:10.0.0.1", "[ip]"),
    ],
)
def test_w12_masked(text: str, masked: str) -> None:
    assert ALL.mask(text) == masked


@pytest.mark.parametrize(
    "text",
    ["", "3 rooms, 120 m²", "at 12:30", "v1.2.3", "a @ b", "price 1234567", "std::vector", "abc12345678"],
)
def test_left_as_it_is(text: str) -> None:
    assert ALL.mask(text) == text


def test_a_number_with_a_wrong_check_digit_is_no_card_and_no_iban() -> None:
    assert redaction.parse(["text:card"]).mask("4111 1111 1111 1112") == "4111 1111 1111 1112"
    iban = "DE89 3704 0044 0532 0130 01"
    assert redaction.parse(["text:iban"]).mask(iban) == iban


def test_only_the_patterns_that_were_asked_for_apply() -> None:
    assert redaction.parse(["text:email"]).mask("a@b.de, 10.0.0.1") == "[email], 10.0.0.1"


@pytest.mark.timeout(100)
@pytest.mark.parametrize("piece", ["a.", "1 ", "1", "a@", "DE12", "4 ", "::", "1.", "@", "(", "a@b."])
def test_hostile_text_takes_time_in_proportion_to_its_length(piece: str) -> None:
    text = piece * (65_536 // len(piece))
    began = time.thread_time()
    ALL.mask(text)
    assert time.thread_time() - began < 5  # in proportion to its square it would be far more, on any machine


def test_rules_are_read_and_misspelt_ones_found() -> None:
    rules = redaction.parse(["age", "output.label", "wages", "header:X-User-Id", "text:card"])
    assert rules.hides("age") and rules.hides("label", "output.label") and not rules.hides("label")
    assert rules.headers == {"x-user-id"}
    assert redaction.unmatched(rules, SIGNATURE) == ("wages",)
    for wrong in ("text:phones", ""):
        with pytest.raises(UserError) as raised:
            redaction.parse([wrong])
        assert raised.value.code == "invalid_spec"
