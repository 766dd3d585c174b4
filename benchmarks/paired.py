"""Times two things in turn, so that a machine whose speed drifts moves both alike."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Figure(NamedTuple):
    """One line of the table.

    - `ours`, `theirs`: medians in `unit`; `theirs` is None where only a number is promised.
    - `ratio`: the median of the rounds' ratios, or `ours` itself where `theirs` is None.
    - `limit`: what the ratio must not exceed; None where it is told and not promised.
    """

    name: str
    ours: float
    theirs: float | None
    unit: str
    ratio: float
    limit: float | None
    at_least: bool = False

    @property
    def kept(self) -> bool | None:
        """Whether the limit is kept; None where there is none."""
        if self.limit is None:
            return None
        return self.ratio >= self.limit if self.at_least else self.ratio <= self.limit


def seconds_each(call: Callable[[], object], number: int) -> float:
    """Time `number` calls, and give the time of one."""
    started = perf_counter()
    for _ in range(number):
        call()
    return (perf_counter() - started) / number


def paired(
    name: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    *,
    per_call: int,
    limit: float | None,
    seconds: float = 1.0,
) -> Figure:
    """Compare two calls that each process `per_call` things, in microseconds a thing.

    One call of each in turn: a function that is invoked never runs hot in a loop either.
    """
    ours(), theirs()
    pairs: list[tuple[float, float]] = []
    ends = perf_counter() + seconds
    while perf_counter() < ends or len(pairs) < 5:
        took = seconds_each(ours, 1), seconds_each(theirs, 1)
        pairs.append((took[0] / per_call * 1e6, took[1] / per_call * 1e6))
    return figure(name, pairs, "us", limit)


def figure(name: str, pairs: list[tuple[float, float]], unit: str, limit: float | None) -> Figure:
    """Sum up rounds of (ours, theirs)."""
    ratios = [a / b for a, b in pairs]
    ours, theirs = median(a for a, _ in pairs), median(b for _, b in pairs)
    return Figure(name, ours, theirs, unit, median(ratios), limit)
