"""The circuit breaker on Lambda: an outage gives messages back unrun instead of using them up."""

import asyncio
from typing import Any

import pytest

from queue_runtime import DeadLetter, queue_handler
from tests.lambda_rig import Rig, fifo, records

ran: list[str] = []
down: list[bool] = []


def _work(body: str) -> None:
    ran.append(body)
    if body == "dead":
        raise DeadLetter("bad")
    if down:
        raise ConnectionError


@queue_handler
def sync(body: str) -> None:
    _work(body)


@queue_handler
async def in_loop(body: str) -> None:
    await asyncio.sleep(0)
    _work(body)


@pytest.fixture(autouse=True)
def _clean() -> None:
    ran.clear()
    down[:] = [True]


def _rig(handler: Any, **settings: Any) -> Rig:
    return Rig(handler, breaker_failures=3, breaker_seconds=60.0, breaker_successes=2, **settings)


@pytest.mark.parametrize("handler", [sync, in_loop])
def test_an_open_breaker_gives_everything_back_unrun_until_it_lets_one_try(handler: Any) -> None:
    rig = _rig(handler, dead_letter="dlq", max_deliveries=1)
    rig(*records("a", "b", "c", deliveries=1))
    ran.clear()
    rig.clock.advance(10)
    result = rig(*records("a", "b", deliveries=9))
    assert (ran, result.failed) == ([], ["m1", "m2"])
    assert all(outcome.unrun and outcome.delay == 50 for outcome in result.outcomes)
    assert len(rig.sqs.sent) == 3  # those of the failures before it opened
    rig.clock.advance(50)
    down.clear()
    assert rig(*records("a", "b")).failed == ["m2"]
    assert rig(*records("c")).failed == []
    assert rig(*records("d", "e", "f")).failed == []
    assert ran == ["a", "c", "d", "e", "f"]


def test_a_trial_that_fails_opens_it_again_and_holds_the_rest_as_long() -> None:
    rig = _rig(sync)
    rig(*fifo(("a", "1"), ("b", "2"), ("c", "3")))
    rig.clock.advance(60)
    result = rig(*fifo(("a", "1"), ("a", "2")))
    assert ran[3:] == ["1"]
    assert result.outcomes[0].delay == result.outcomes[1].delay
    assert rig(*fifo(("a", "1"))).outcomes[0].delay == 60


def test_without_failures_in_a_row_it_never_opens() -> None:
    rig = _rig(sync, dead_letter="dlq")
    for _ in range(3):
        assert rig(*records("dead", "a", "dead", "b")).fates == [
            "dead-letter",
            "retry",
            "dead-letter",
            "retry",
        ]
        down.clear()
        assert rig(*records("good")).fates == ["ack"]
        down.append(True)


def test_zero_failures_means_no_breaker() -> None:
    rig = Rig(sync, breaker_failures=0)
    for _ in range(5):
        rig(*records(*"abcdefghij"))
    assert len(ran) == 50
