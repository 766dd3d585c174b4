"""A clock that stands still until a test moves it."""

from __future__ import annotations


class MovableClock:
    """Both of a queue's clocks; they start apart, so that nothing takes one for the other."""

    def __init__(self) -> None:
        self.wall = 1_760_000_000.25
        self.since_start = 5_000.5

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.since_start

    def move(self, seconds: float) -> None:
        self.wall += seconds
        self.since_start += seconds
