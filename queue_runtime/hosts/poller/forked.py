"""Ends a process that a handler forked, before it could run its parent's queue."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from typing import Final

_RETURNED: Final = (
    b"queue-runtime: a process that a handler forked came back from the handler; it ends here, "
    b"since the queue is its parent's: end it with os._exit(), or use subprocess\n"
)
# Whether this process is a fork of one that polls.
forked = False
_loops: list[asyncio.AbstractEventLoop] = []


def watch_forks(loop: asyncio.AbstractEventLoop) -> None:
    """Have forks noticed from now on, on whatever thread, and `loop` not go on in them."""
    if not _loops:
        os.register_at_fork(after_in_child=_in_child)
    if loop not in _loops:
        _loops[:] = [each for each in _loops if not each.is_closed()]
        _loops.append(loop)


def end_fork(code: int = 1) -> None:
    """End a forked process as it comes back to us; nothing of its parent's is touched."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # what the handler printed there is the child's own
            stream.flush()
    with suppress(OSError):
        os.write(2, _RETURNED)
    os._exit(code)


def _in_child() -> None:
    global forked
    forked = True
    for loop in _loops:
        # Before anything else that the loop has to do: all of that is the parent's.
        ready = getattr(loop, "_ready", None)
        if ready is not None:
            ready.appendleft(asyncio.Handle(end_fork, (), loop))
        else:
            loop.stop()
