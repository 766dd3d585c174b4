"""Runs a blocking call on a thread that cannot keep the process from ending."""

from __future__ import annotations

from contextvars import copy_context
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

from queue_runtime.transports.threads import Job

if TYPE_CHECKING:
    from collections.abc import Callable

ResultT = TypeVar("ResultT")


async def in_daemon_thread(function: Callable[[], ResultT]) -> ResultT:
    """Await a blocking call; for calls that are rare, since each has a thread of its own.

    An executor's threads are joined when the process ends, so a handler that never returns would
    keep it alive.
    """
    job = Job(partial(copy_context().run, function))
    Thread(target=job.run, name="queue-runtime-call", daemon=True).start()
    return await job.answer
