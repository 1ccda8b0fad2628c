"""What must not reach the disk: the rules of `record.redact`, and the masking of text.

Used by `monitor.capture.sink` before anything is written, and by `control` to refuse rules that cannot be read.

Patterns find what they look like, no more: a name, an address, a number spelled in words or split over two values stays.
They err on the side of masking: an order number of ten digits is masked as a phone number. Numbers in numeric
columns are no text; such a column is redacted by its name.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from seaway.core.errors import UserError
from seaway.core.tensors import Signature

_EMAIL: Final = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,8}")
_PHONE: Final = re.compile(r"(?<!\w)(?:\+|00)?\(?\d(?:[ ./()\u00a0\u2011\u2013-]{0,3}\d){7,14}(?!\w)")
_DIGITS: Final = re.compile(r"(?<!\d)\d(?:[ .\u00a0-]?\d){12,}(?!\d)")
_IBAN: Final = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}")
_IPV4: Final = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)")
_IPV6: Final = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{2,39}(?:(?:\d{1,3}\.){3}\d{1,3})?(?![\w:]|\.\d)")
_CARD_DIGITS: Final = range(13, 20)
_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def _email(text: str) -> str:
    return _EMAIL.sub("[email]", text) if "@" in text else text


def _phone(text: str) -> str:
    return _PHONE.sub("[phone]", text)


def _card(text: str) -> str:
    return _DIGITS.sub(_cards_in_run, text)


def _cards_in_run(found: re.Match[str]) -> str:
    """A run of digits, in which cards stand from one separator to another: 13 to 19 digits with a right check digit."""
    pieces = re.split(r"([ .\u00a0-])", found[0])  # groups of digits at even places, separators between them
    kept: list[str] = []
    at = 0
    while at < len(pieces):
        end = _card_end(pieces, at)
        kept += pieces[at : at + 1] if end is None else ["[card]"]
        after = at + 1 if end is None else end
        kept += pieces[after : after + 1]
        at = after + 1
    return "".join(kept)


def _card_end(pieces: list[str], at: int) -> int | None:
    """Where the longest card ends that begins with the group `at`; None where none does.

    The check digit is that of ISO/IEC 7812-1, annex B. `single` and `double` are the sums up to here with the last digit as
    it is, and doubled.
    """
    count = single = double = 0
    found = None
    for place in range(at, len(pieces), 2):
        count += len(pieces[place])
        if count >= _CARD_DIGITS.stop:
            break
        for digit in pieces[place]:
            value = int(digit)
            single, double = double + value, single + _DOUBLED[value]
        if count in _CARD_DIGITS and single % 10 == 0:
            found = place + 1
    return found


def _iban(text: str) -> str:
    return _IBAN.sub(_iban_in_run, text)


def _iban_in_run(found: re.Match[str]) -> str:
    """The longest beginning of the run whose check digits are right (ISO 13616); words may follow without a break."""
    run = found[0]
    for end in range(len(run), 14, -1):
        plain = re.sub(r"[ -]", "", run[:end])
        if run[end - 1].isalnum() and len(plain) >= 15 and plain.isascii() and _mod97(plain):
            return "[iban]" + run[end:]
    return run


def _mod97(plain: str) -> bool:
    return int("".join(str(int(character, 36)) for character in plain[4:] + plain[:4])) % 97 == 1


def _ip(text: str) -> str:
    return _IPV4.sub(_address, _IPV6.sub(_address, text) if ":" in text else text)


def _address(found: re.Match[str]) -> str:
    try:
        ipaddress.ip_address(found[0])
    except ValueError:
        return found[0]
    return "[ip]"


_PATTERNS: Final[dict[str, Callable[[str], str]]] = {
    "email": _email,
    "iban": _iban,
    "card": _card,
    "ip": _ip,
    "phone": _phone,
}
"""In the order in which they are applied: what is found by a check digit goes before what is only a run of digits."""


class Redaction(msgspec.Struct, frozen=True):
    """The rules, read. `names` are columns and tensors, `headers` are in lower case, `patterns` keys of the table above."""

    names: frozenset[str] = frozenset()
    headers: frozenset[str] = frozenset()
    patterns: tuple[str, ...] = ()

    def hides(self, *names: str) -> bool:
        """Whether a column that goes by any of these names is left out."""
        return not self.names.isdisjoint(names)

    def mask(self, text: str) -> str:
        """The text with everything that a pattern finds in it replaced, such as by `[email]`."""
        for name in self.patterns:
            text = _PATTERNS[name](text)
        return text

    def mask_id(self, text: str) -> str:
        """A request id: only e-mail addresses are masked, since any digits may look like a phone number or a card."""
        return _email(text) if "email" in self.patterns else text


def parse(rules: Sequence[str]) -> Redaction:
    """Read `record.redact`: `NAME` of a column or tensor (also `input.NAME`, `output.NAME`), `header:NAME`, `text:PATTERN`.

    Raises `UserError("invalid_spec")`.
    """
    names, headers, patterns = set(), set(), set()
    for rule in rules:
        kind, colon, rest = rule.partition(":")
        if colon and kind == "text":
            if rest not in _PATTERNS:
                raise UserError(
                    "invalid_spec",
                    f"redact: there is no pattern {rest[:40]!r}",
                    f"one of {', '.join(f'text:{name}' for name in _PATTERNS)}",
                )
            patterns.add(rest)
        elif colon and kind == "header":
            headers.add(rest.strip().lower())
        elif rule:
            names.add(rule)
        else:
            raise UserError(
                "invalid_spec", "redact: an empty name", "name a column, header:NAME or text:PATTERN"
            )
    return Redaction(frozenset(names), frozenset(headers), tuple(p for p in _PATTERNS if p in patterns))


def unmatched(redaction: Redaction, signature: Signature) -> tuple[str, ...]:
    """Names that no input or output of a model has, sorted: a misspelt one would protect nothing."""
    known = set()
    for side, specs in (("input", signature.inputs), ("output", signature.outputs)):
        for spec in specs:
            for name in (spec.name, *spec.columns):
                known |= {name, f"{side}.{name}"}
    return tuple(sorted(redaction.names - known))
