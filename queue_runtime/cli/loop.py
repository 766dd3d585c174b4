"""Runs a command's event loop to its end, whatever a handler does to it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from queue_runtime.hosts.poller import forked
from queue_runtime.observability.events import events

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


def run_to_its_end(begin: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run what `begin` gives; begin again where a handler has cancelled every task.

    A handler's `loop.stop()` stops nothing. A process that a handler forked ends here at last.
    """
    with asyncio.Runner() as runner:
        while True:
            try:
                _run(runner.get_loop(), begin())
                return
            except asyncio.CancelledError:  # nobody but a handler: a signal stops, and cancels none
                text = "a handler has cancelled every task: polling begins anew"
                events.error(None, "poll", text)
            finally:
                if forked.forked:
                    os._exit(1)


def _run(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> None:
    task = loop.create_task(work)
    while True:
        try:
            loop.run_until_complete(task)
            return
        except RuntimeError:
            if task.done():
                raise
            events.error(None, "poll", "a handler has stopped the event loop: it goes on")
