"""Text from outside is escaped and cut before it is shown."""

from __future__ import annotations

import pytest

from queue_runtime.printable import MOST, bounded, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("order-1", "order-1"),
        ("", ""),
        ("größe 注文\u3000\u200c", "größe 注文\u3000\u200c"),
        ("a\nFORGED LINE", "a\\nFORGED LINE"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
        ("half \ud800", "half \\ud800"),
        ("\u2028\u2029\x85", "\\u2028\\u2029\\x85"),
        ("\u202etxt.exe", "\\u202etxt.exe"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_a_terminal_or_a_reader_of_lines_obeys_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("unit", ["x", "\n", "\ud800", "é"])
def test_a_long_text_is_cut_and_says_how_long_it_was(unit: str) -> None:
    shown = printable(unit * 250_000)
    assert len(shown) == MOST
    assert shown.endswith("… (250000 characters)")


def test_a_text_that_only_escaping_makes_too_long_is_cut_too() -> None:
    assert printable("\n" * 600) == "\\n" * 491 + "… (600 characters)"
    assert len(printable("\n" * 500)) == MOST
    assert printable("x" * MOST) == "x" * MOST


def test_a_bound_may_be_given() -> None:
    assert printable("x" * 41, 40) == "x" * 23 + "… (41 characters)"


class Unshowable:
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (3, "3"),
        (b"\x1b", "b'\\x1b'"),
        (ValueError("a\nb"), "a\\nb"),
        (Unshowable(), "<Unshowable>"),
        pytest.param(10**5000, "<int>", id="many digits"),
    ],
)
def test_any_value_is_shown(value: object, shown: str) -> None:
    assert printable(value) == shown


def test_a_number_has_a_bound() -> None:
    assert bounded(3) == 3
    assert bounded(10**5000) == 2_147_483_647
    assert bounded(-(10**5000)) == -2_147_483_647
