"""What each of several processes tells its parent every second, through a pipe."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queue_runtime.hosts.poller import Poller
    from queue_runtime.hosts.poller.health import Health

_EVERY_SECONDS: Final = 1.0
_LAST_SECONDS: Final = 1.0


class Reporter:
    """Reports from a thread of its own, which only a held interpreter keeps from it.

    Args:
        descriptor: the pipe.
        health: of the process's pollers; None leaves out what only a health port shows.
        pollers: what is reported on.
    """

    def __init__(self, descriptor: int, health: Health | None, pollers: Sequence[Poller]) -> None:
        self._descriptor = descriptor
        self._health = health
        self._pollers = pollers
        self._over = Event()
        self._thread = Thread(target=self._run, name="queue-runtime-report", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Report once more, with what was counted at the end, and no more."""
        self._over.set()
        self._thread.join(_LAST_SECONDS)

    def _run(self) -> None:
        with suppress(OSError), asyncio.Runner() as runner:  # without a parent this process ends
            runner.run(self._send())
            while not self._over.wait(_EVERY_SECONDS):
                runner.run(self._send())
            runner.run(self._send())

    async def _send(self) -> None:
        left = json.dumps(await self._report(), separators=(",", ":")).encode() + b"\n"
        while left:
            left = left[os.write(self._descriptor, left) :]

    async def _report(self) -> dict[str, Any]:
        stuck = [why for poller in self._pollers if (why := poller.liveness.stuck())]
        late = sum(poller.liveness.overdue for poller in self._pollers)
        if late:
            stuck.append(f"{late} calls have run for longer than they may")
        report: dict[str, Any] = {"stuck": "; ".join(stuck)}
        if self._health is not None:
            report["ready"] = await self._health.ready()
            report["stats"] = await self._health.stats()
            report["metrics"] = await self._health.metrics()
        return report


class Inbox:
    """The parent's end of one pipe: the newest whole report, without waiting for one."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._rest = b""

    def newest(self) -> dict[str, Any] | None:
        """Give the newest report since the last time, or None."""
        with suppress(BlockingIOError):
            while part := os.read(self._descriptor, 65_536):
                self._rest += part
        *lines, self._rest = self._rest.split(b"\n")
        if not lines:
            return None
        report: dict[str, Any] = json.loads(lines[-1])
        return report

    def close(self) -> None:
        """Let the pipe go."""
        os.close(self._descriptor)
