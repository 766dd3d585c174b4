"""Ends a poller's process that has done enough, grown too large, or does not move."""

from __future__ import annotations

import asyncio
import faulthandler
from typing import TYPE_CHECKING, Final

from queue_runtime.hosts.poller.process_metrics import resident_bytes
from queue_runtime.observability.events import events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from queue_runtime.config import Settings
    from queue_runtime.hosts.poller import Poller

# What a process ends with to be started again by its parent, though nothing is wrong.
REPLACE_ME: Final = 75
_LOOK_SECONDS: Final = 1.0
_MIB: Final = 1024 * 1024


class Limits:
    """What one process may take and do, over all of its pollers; a setting of 0 sets no limit.

    `reached` tells that the process ended for a limit, and not for a signal or an error.
    """

    def __init__(self, settings: Sequence[Settings]) -> None:
        self._messages = _least(each.max_messages for each in settings)
        self._bytes = _least(each.max_memory_mb for each in settings) * _MIB
        self._stuck = _least(each.stuck_seconds for each in settings)
        self.reached = False

    async def watch(self, pollers: Sequence[Poller], stop: Callable[[], None]) -> None:
        """Look every second; runs until it is cancelled."""
        try:
            while True:
                if self._stuck:
                    # By a thread that needs no interpreter, which is what may be held.
                    faulthandler.dump_traceback_later(self._stuck, exit=True, file=2)
                if not self.reached and (why := self._exceeded(pollers)):
                    self.reached = True
                    events.warning(None, "poll", "%s: this process ends and is to be replaced", why)
                    stop()
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            if self._stuck:
                faulthandler.cancel_dump_traceback_later()

    def _exceeded(self, pollers: Sequence[Poller]) -> str:
        received = sum(poller.stats.received for poller in pollers)
        if self._messages and received >= self._messages:
            return f"{received} messages were received (QUEUE_MAX_MESSAGES)"
        if self._bytes and (taken := resident_bytes()) > self._bytes:
            return f"{taken // _MIB} MiB of memory are taken (QUEUE_MAX_MEMORY_MB)"
        return ""


def _least(limits: Iterable[float]) -> float:
    return min((each for each in limits if each), default=0)
