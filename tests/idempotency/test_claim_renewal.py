"""Claims live as long as the locks of what is worked on, and no longer."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import Message
from queue_runtime.idempotency.claim_renewal import ClaimKeeper, Holding, seconds_left
from queue_runtime.idempotency.store import Claim
from tests.lambda_rig import Clock

if TYPE_CHECKING:
    from collections.abc import Sequence

CLAIMS = [Claim("h@q#1"), Claim("h@q#2")]


class Extensions:
    """Writes down what was extended; fails as often as it is told."""

    def __init__(self) -> None:
        self.made: list[tuple[list[str], float]] = []
        self.failures = 0
        self.happened = Event()

    def __call__(self, claims: Sequence[Claim], owner: str, seconds: float) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError
        self.made.append(([claim.key for claim in claims], seconds))
        self.happened.set()


class Failed:
    """Writes down for which messages an extension failed."""

    def __init__(self) -> None:
        self.ids: list[list[str]] = []

    def __call__(self, messages: Sequence[Message[Any]], _error: Exception) -> None:
        self.ids.append([message.id for message in messages])


@pytest.fixture
def clock() -> Clock:
    return Clock()


def locked(*until: float) -> list[Message[Any]]:
    messages = [Message.of(b"", id=f"m{n}") for n in range(len(until))]
    for message, ends in zip(messages, until, strict=True):
        message.locked_until = ends
    return messages


class Stopped(ClaimKeeper):
    """A keeper that only looks when a test tells it to."""

    def hold(self, holding: Holding) -> None:
        self._held[id(holding)] = holding


def test_a_renewed_lock_extends_its_claim(clock: Clock) -> None:
    extend, failed = Extensions(), Failed()
    keeper = Stopped(extend, failed, clock)
    messages = locked(clock() + 30, clock() + 30)
    keeper.hold(Holding(messages, CLAIMS, "me", clock(), 30))
    clock.advance(8)
    keeper.sweep()
    assert extend.made == []  # nothing was renewed yet
    messages[0].locked_until = clock() + 30
    clock.advance(6)
    keeper.sweep()
    assert extend.made == [(["h@q#1"], 24)]


def test_a_lock_that_was_lost_extends_nothing(clock: Clock) -> None:
    extend = Extensions()
    keeper = Stopped(extend, lambda _messages, _error: None, clock)
    keeper.hold(Holding(locked(clock() + 30, clock() + 30), CLAIMS, "me", clock(), 30))
    for _ in range(40):
        clock.advance(1)
        keeper.sweep()
    assert extend.made == []


def test_an_extension_that_fails_is_tried_again(clock: Clock) -> None:
    extend, failed = Extensions(), Failed()
    extend.failures = 1
    keeper = Stopped(extend, failed, clock)
    messages = locked(clock() + 60, clock() + 60)
    keeper.hold(Holding(messages, CLAIMS, "me", clock(), 30))
    clock.advance(8)
    keeper.sweep()
    assert failed.ids == [["m0", "m1"]]
    keeper.sweep()
    assert extend.made == []  # not at once
    clock.advance(6)
    keeper.sweep()
    assert len(extend.made) == 1


def test_what_is_over_is_not_extended(clock: Clock) -> None:
    extend = Extensions()
    keeper = Stopped(extend, lambda _messages, _error: None, clock)
    holding = Holding(locked(clock() + 60), CLAIMS[:1], "me", clock(), 30)
    keeper.hold(holding)
    keeper.drop(holding)
    clock.advance(20)
    keeper.sweep()
    assert extend.made == []


def test_the_thread_looks_in_time() -> None:
    extend = Extensions()
    keeper = ClaimKeeper(extend, lambda _messages, _error: None)
    holding = Holding(locked(float("inf")), CLAIMS[:1], "me", 0.0, 0.0)
    keeper.hold(holding)
    try:
        assert extend.happened.wait(10)
    finally:
        keeper.drop(holding)
    assert extend.made == [(["h@q#1"], 60.0)]


def test_claims_are_made_for_as_long_as_all_messages_are_held(clock: Clock) -> None:
    assert seconds_left(locked(clock() + 30, clock() + 20), clock()) == 20
    assert seconds_left(locked(float("inf")), clock()) == 60
    assert seconds_left(locked(clock() - 5), clock()) == 1
