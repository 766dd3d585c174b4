"""The circuit breaker in the poller: it pauses receives, tries one message, and closes again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queue_runtime import Message, queue_handler
from queue_runtime.hosts.poller import Until
from tests.hosts.poller.rig import ScriptedQueue, messages, polled, until_true

if TYPE_CHECKING:
    from queue_runtime.hosts.poller import Poller


def test_it_pauses_lets_one_try_and_goes_on() -> None:
    broken = True

    @queue_handler
    async def handle(message: Message[bytes]) -> None:
        if broken:
            raise ConnectionError

    queue = ScriptedQueue(*messages(40))
    seen: list[int] = []

    async def meanwhile(poller: Poller) -> None:
        nonlocal broken
        await until_true(lambda: len(queue.settled) >= 10)
        seen.append(poller.stats.received)
        broken = False
        await until_true(lambda: not queue.waiting and not queue.held)
        poller.stop()

    polled(
        handle,
        queue,
        Until.STOPPED,
        meanwhile=meanwhile,
        breaker_failures=5,
        breaker_seconds=0.05,
        breaker_successes=2,
    )
    # It did not run through the queue while everything failed, and tried with single messages.
    assert seen[0] < 40
    assert 1 in queue.limits
    assert len(queue.settled) == 40


def test_it_is_off_unless_it_is_asked_for() -> None:
    @queue_handler
    async def broken(message: Message[bytes]) -> None:
        raise ConnectionError

    queue = ScriptedQueue(*messages(50))
    assert polled(broken, queue).retried == 50
    assert set(queue.limits) == {10}
