import pytest

from queue_runtime.untrusted import LARGEST, number, whole_number


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (7, 7),
        ("7", 7),
        (" 007 ", 7),
        (-3, 0),
        ("-3", 0),
        (10**30, LARGEST),
        ("9" * 19, LARGEST),
        ("9" * 5000, LARGEST),
        ("-" + "9" * 5000, 0),
        ("9" * 250_000, LARGEST),
    ],
)
def test_a_whole_number_from_outside_is_cut_to_its_bounds(value: object, read: int) -> None:
    assert whole_number(value) == read


@pytest.mark.parametrize(
    "value",
    [None, True, 3.0, "", "-", "x", "3.0", "1_000", "\u0663", "1e3", b"7", [7], float("nan")],
)
def test_what_is_no_whole_number_is_none(value: object) -> None:
    assert whole_number(value) is None


def test_the_bounds_are_the_callers() -> None:
    assert [whole_number(n, least=1, most=5) for n in ("0", "3", "9")] == [1, 3, 5]


@pytest.mark.parametrize(
    ("text", "read"),
    [("7", 7), ("-7", -7), ("1.5", 1.5), ("1e3", 1000.0), ("9" * 127, int("9" * 127))],
)
def test_a_number_attribute_is_exact(text: str, read: float) -> None:
    assert number(text) == read


@pytest.mark.parametrize(
    "text", [None, 7, [1], {}, "", "x", "NaN", "-Infinity", "1e999", "9" * 5000, "0." + "1" * 5000]
)
def test_what_no_queue_service_takes_as_a_number_is_none(text: object) -> None:
    with pytest.raises(ValueError, match=r"number|float"):
        number(text)
