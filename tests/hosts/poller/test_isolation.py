"""What one message's handler sets in its context is never seen by another message's."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime import Message, queue_handler
from tests.hosts.poller.rig import ScriptedQueue, in_group, messages, polled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queue_runtime.middleware import Messages, Process
    from queue_runtime.outcome import Outcome

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
receive_of: ContextVar[str] = ContextVar("receive_of", default="none")


@pytest.mark.parametrize("ordered", [True, False])
def test_an_async_handler_that_waits_leaves_nothing_behind(ordered: bool) -> None:
    seen: list[str] = []

    @queue_handler(concurrency=1)
    async def handle(message: Message[bytes]) -> None:
        seen.append(tenant.get())
        tenant.set(message.id)
        await asyncio.sleep(0)

    queue = ScriptedQueue(*in_group("a", "a1", "a2", "a3"), *messages(25), ordered=ordered)
    polled(handle, queue)
    assert seen == ["nobody"] * 28


def test_nor_does_a_sync_one() -> None:
    seen: list[str] = []

    @queue_handler(concurrency=1)
    def handle(message: Message[bytes]) -> None:
        seen.append(tenant.get())
        tenant.set(message.id)

    polled(handle, ScriptedQueue(*messages(25)))
    assert seen == ["nobody"] * 25


def test_whoever_observes_is_in_no_handlers_context() -> None:
    seen: set[str] = set()

    @queue_handler
    async def handle(message: Message[bytes]) -> None:
        await asyncio.sleep(0)
        tenant.set(message.id)

    class Looking(ScriptedQueue):
        async def settle(self, settlements: Any) -> Any:
            seen.add(tenant.get())
            return await super().settle(settlements)

        async def receive(self, limit: int, wait: float) -> Any:
            seen.add(tenant.get())
            return await super().receive(limit, wait)

    polled(handle, Looking(*messages(35)))
    assert seen == {"nobody"}


class Setting:
    """Says for the whole delivery what its handlers may rely on, as a tracer does."""

    def __init__(self, *, blocking: bool) -> None:
        self.blocking = blocking

    async def __call__(self, messages: Messages, call_next: Process) -> Sequence[Outcome]:
        if not self.blocking:
            await asyncio.sleep(0)
        receive_of.set(messages[0].id)
        return await call_next(messages)


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("blocking", [True, False])
def test_what_a_delivery_middleware_sets_reaches_all_its_messages(
    blocking: bool, is_async: bool
) -> None:
    seen: list[tuple[str, str]] = []

    async def asynchronous(message: Message[bytes]) -> None:
        seen.append((message.id, receive_of.get()))
        await asyncio.sleep(0)

    def synchronous(message: Message[bytes]) -> None:
        seen.append((message.id, receive_of.get()))

    function: Any = asynchronous if is_async else synchronous
    handle = queue_handler(concurrency=2, delivery_middleware=[Setting(blocking=blocking)])(
        function
    )
    polled(handle, ScriptedQueue(*messages(20)))
    assert dict(seen) == {f"m{n}": "m0" if n < 10 else "m10" for n in range(20)}
