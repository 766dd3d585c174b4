"""Reads numbers that a producer or a queue service wrote, within bounds.

Python's own `int` takes thousands of digits, and makes numbers that it then refuses to print, that
no database or AMQP field holds, and that no clock knows.
"""

from __future__ import annotations

from math import isfinite
from typing import Final

# A signed number of 64 bits has 19 digits.
LARGEST: Final = 2**63 - 1
_MOST_DIGITS: Final = 19
# Longer than any number that SQS takes: 38 digits of precision, up to 10**126.
_LONGEST_TEXT: Final = 160


def whole_number(value: object, *, least: int = 0, most: int = LARGEST) -> int | None:
    """Read a whole number, written in digits or a number already.

    Returns:
        The number, or the bound where it lies beyond `least` or `most`; None where it is none.
    """
    if isinstance(value, str):
        value = digits(value.strip())
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return max(least, min(value, most))


def number(text: object) -> int | float:
    """Read a number attribute: an int, or a finite float where it has a fraction or an exponent.

    Raises:
        ValueError: it is no number that a queue service takes.
    """
    if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
        raise ValueError("no number")
    try:
        return int(text)
    except ValueError:
        value = float(text)
    if not isfinite(value):
        raise ValueError("no number")
    return value


def digits(text: str) -> int | None:
    """Read digits with or without a minus, as `json.loads(..., parse_int=digits)` does too.

    A number of more digits than the largest has is the largest; None where it is none.
    """
    sign, plain = (-1, text[1:]) if text.startswith("-") else (1, text)
    if not (plain.isascii() and plain.isdecimal()):
        return None
    return sign * (int(plain) if len(plain) <= _MOST_DIGITS else LARGEST)
