"""The local queue as the other services' rigs are: the same questions, asked of its file."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from queue_runtime.config import load_settings
from queue_runtime.transports import open_transport
from queue_runtime.transports.base import OutgoingMessage, refused

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from queue_runtime.transports.base import Depth

URL = "local://orders"


class LocalRig:
    """A local queue in a folder of the test's own."""

    url, ordered = URL, False

    def __init__(self, folder: Path) -> None:
        self.environment = {"QUEUE_LOCAL_DIRECTORY": str(folder)}
        self._settings = load_settings(environ=self.environment)

    def send(self, bodies: Sequence[str]) -> None:
        asyncio.run(self._send(bodies))

    async def _send(self, bodies: Sequence[str]) -> None:
        queue = open_transport(URL, settings=self._settings)
        assert not refused(await queue.send([OutgoingMessage(body=body) for body in bodies]))
        await queue.aclose()

    def left(self) -> int:
        return self._depth().total

    def locked(self) -> int:
        return self._depth().in_flight

    def _depth(self) -> Depth:
        async def ask() -> Depth:
            queue = open_transport(URL, settings=self._settings)
            depth = await queue.depth()
            await queue.aclose()
            return depth

        return asyncio.run(ask())
