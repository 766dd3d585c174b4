"""What the conformance tests stand on: the hooks, the features, and steps that many take."""

# ruff: noqa: S101  (the steps of tests assert)

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from queue_runtime.outcome import ACK, Disposition, Outcome
from queue_runtime.settlement.plan import Rules, plan
from queue_runtime.transports.base import OutgoingMessage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from queue_runtime.message import Message
    from queue_runtime.settlement.plan import Step
    from queue_runtime.transports.base import Transport

TestT = TypeVar("TestT", bound="Callable[..., Awaitable[None]]")

PATIENCE_SECONDS = 10.0
DAY_SECONDS = 86_400.0
# By these the suite settles: a handler of this name, and no wait after a failed dead-letter.
RULES = Rules(lambda deliveries: 0.0, handler="m.f")


@dataclass(frozen=True, slots=True)
class Features:
    """What a transport can do; the tests of what it cannot do are not collected.

    - `delay`: a send can be delayed.
    - `delayed_retry`: a retry can be delayed.
    - `long_delays`: a delay can last for days.
    - `ordered_groups`: messages of a group come in the order of their sends, one held at a time.
    - `deduplication`: a repeated deduplication id sends nothing.
    - `dead_letters`: a dead-letter is moved, with its reason, to a queue that can be read.
    - `renewal`: locks can be renewed.
    - `strict_locks`: settling after a lock's end is refused, even where nobody else has it.
    - `binary_bodies`: a body of bytes that is no text arrives as it was.
    - `depth_by_state`: messages that wait, are locked and are delayed are counted apart.
    - `dead_letter_count`: dead letters are counted.
    - `oldest_age`: the age of the oldest message that waits is told.
    """

    delay: bool = True
    delayed_retry: bool = True
    long_delays: bool = True
    ordered_groups: bool = True
    deduplication: bool = True
    dead_letters: bool = True
    renewal: bool = True
    strict_locks: bool = True
    binary_bodies: bool = True
    depth_by_state: bool = True
    dead_letter_count: bool = True
    oldest_age: bool = True


def needs(*features: str) -> Callable[[TestT], TestT]:
    """Collect a test only for transports that have these features."""

    def mark(test: TestT) -> TestT:
        test.needs = features  # type: ignore[attr-defined]  # a function takes any attribute
        return test

    return mark


class Rig:
    """Opens queues through the hooks of the class under test, and runs its async tests."""

    features: ClassVar[Features] = Features()
    # What the transport's `system` has to be.
    system: ClassVar[str]

    async def open_queue(self, *, ordered: bool) -> Transport:
        """Hook: open a queue that is new, empty and nobody else's."""
        raise NotImplementedError

    async def open_again(self, transport: Transport) -> Transport:
        """Hook: open another transport on the same queue, as another process would."""
        raise NotImplementedError

    async def open_dead_letters(self, transport: Transport) -> Transport:
        """Hook: open the queue that a transport's dead-letters go to."""
        raise NotImplementedError

    async def move_clock(self, seconds: float) -> None:
        """Hook: let time pass for the queue service and its transports."""
        raise NotImplementedError

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name in dir(cls):
            test = getattr(getattr(cls, name), "scenario", getattr(cls, name))
            if name.startswith("test_") and iscoroutinefunction(test):
                # pytest does not look further once a class has the name itself.
                setattr(cls, name, _plain(test) if cls._has(test) else None)

    @classmethod
    def _has(cls, test: object) -> bool:
        return all(getattr(cls.features, name) for name in getattr(test, "needs", ()))

    async def new(self, *, ordered: bool = False) -> Transport:
        """Open a new queue for this test."""
        return self._opened_now(await self.open_queue(ordered=ordered))

    async def another(self, transport: Transport) -> Transport:
        """Open the same queue once more for this test."""
        return self._opened_now(await self.open_again(transport))

    async def dead_letters_of(self, transport: Transport) -> Transport:
        """Open a queue's dead-letters for this test."""
        return self._opened_now(await self.open_dead_letters(transport))

    _opened: list[Transport]

    def _opened_now(self, transport: Transport) -> Transport:
        self._opened.append(transport)
        return transport

    async def _run(self, test: Callable[[Any], Awaitable[None]]) -> None:
        self._opened = []
        try:
            await test(self)
        finally:
            for transport in reversed(self._opened):
                await transport.aclose()


def _plain(test: Callable[[Any], Awaitable[None]]) -> Callable[[Rig], None]:
    def run(self: Rig) -> None:
        asyncio.run(self._run(test))

    run.__doc__ = test.__doc__
    run.scenario = test  # type: ignore[attr-defined]  # for classes that derive from this one
    return run


def retry(delay: float | None) -> Outcome:
    """Give a message back, after `delay` seconds."""
    return Outcome(Disposition.RETRY, delay=delay, reason="by the test")


def dead_letter(reason: str) -> Outcome:
    """Put a message aside, as a handler does whose code failed."""
    return Outcome(Disposition.DEAD_LETTER, reason=reason, error=ValueError("by the test"))


def in_group(group: str, *bodies: str) -> Iterable[OutgoingMessage]:
    """Make messages of one group."""
    return (OutgoingMessage(body=body, group_id=group) for body in bodies)


def by_body(messages: Iterable[Message[Any]]) -> dict[bytes, Message[Any]]:
    """Tell messages apart whose order is the service's affair."""
    return {message.body: message for message in messages}


async def send(queue: Transport, *messages: OutgoingMessage) -> None:
    """Send, and be sure of it: one result for each, with the id that the service gave."""
    results = await queue.send(messages)
    assert [result.error for result in results] == [None] * len(messages)


async def take(queue: Transport, count: int) -> list[Message[Any]]:
    """Receive exactly so many, in as many calls as the service needs."""
    messages: list[Message[Any]] = []
    while len(messages) < count:
        more = await queue.receive(count - len(messages), PATIENCE_SECONDS)
        assert more, f"{len(messages)} of {count} messages came within {PATIENCE_SECONDS:g} s"
        messages += more
    return messages


async def ack(queue: Transport, messages: Sequence[Message[Any]]) -> None:
    """Acknowledge, and be sure of it."""
    assert not await queue.settle(steps(queue, [(message, ACK) for message in messages]))


async def expect_none(queue: Transport) -> None:
    """Be sure that nothing may be received now."""
    assert list(await queue.receive(10, 0)) == []


async def received_one(queue: Transport, wait: float) -> Sequence[Message[Any]]:
    """Receive one message, or none; a coroutine, to make a task of."""
    return await queue.receive(1, wait)


async def drained(queue: Transport) -> list[Message[Any]]:
    """Receive a few at a time until a receive gives nothing."""
    messages: list[Message[Any]] = []
    while more := await queue.receive(3, 0):
        messages += more
    return messages


async def ack_one(queue: Transport, found: list[Message[Any]]) -> None:
    """Receive and acknowledge one message, adding it to `found`."""
    messages = await take(queue, 1)
    found += messages
    await ack(queue, messages)


def steps(queue: Transport, settlements: Sequence[tuple[Message[Any], Outcome]]) -> list[Step]:
    """Plan what is to be done with messages, as every host does before it settles them."""
    messages = [message for message, _ in settlements]
    outcomes = [outcome for _, outcome in settlements]
    return plan(messages, outcomes, queue.abilities, RULES)


def acknowledged(queue: Transport, messages: Iterable[Message[Any]]) -> list[Step]:
    """Plan that all messages are acknowledged."""
    return steps(queue, [(message, ACK) for message in messages])
