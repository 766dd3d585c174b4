"""Runs a blocking call on a thread that cannot keep the process from ending."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

ResultT = TypeVar("ResultT")


async def in_daemon_thread(function: Callable[[], ResultT]) -> ResultT:
    """Await a blocking call; for calls that are rare, since each has a thread of its own.

    An executor's threads are joined when the process ends, so a handler that never returns would
    keep it alive.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[ResultT] = loop.create_future()
    context = copy_context()

    def work() -> None:
        try:
            result = context.run(function)
        except BaseException as error:
            _tell(loop, answer, answer.set_exception, error)
        else:
            _tell(loop, answer, answer.set_result, result)

    Thread(target=work, name="queue-runtime-call", daemon=True).start()
    return await answer


def _tell(
    loop: asyncio.AbstractEventLoop,
    answer: asyncio.Future[ResultT],
    tell: Callable[..., None],
    value: object,
) -> None:
    def unless_given_up() -> None:
        if not answer.done():
            tell(value)

    try:
        loop.call_soon_threadsafe(unless_given_up)
    except RuntimeError:
        return  # the loop has ended, and nobody waits any more
