"""A local queue's file, which somebody else locks for a moment, or ends the locks in."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from itertools import cycle
from pathlib import Path

from queue_runtime.transports.base import OutgoingMessage, refused
from queue_runtime.transports.local.address import read_address
from queue_runtime.transports.local.schema import FREE
from queue_runtime.transports.local.transport import LocalTransport
from tests.soak.service import LOCK_SECONDS, body_of

URL = "local://soak"
AT_ONCE = 100


class LocalService:
    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._faults = 0
        self._troubles = cycle([self._block, self._lose_locks])

    def url(self) -> str:
        return f"{URL}?lock={LOCK_SECONDS}"

    def environment(self) -> dict[str, str]:
        return {"QUEUE_LOCAL_DIRECTORY": self._folder}

    def fill(self, numbers: range) -> None:
        asyncio.run(self._send([OutgoingMessage(body=body_of(number)) for number in numbers]))

    async def _send(self, messages: list[OutgoingMessage]) -> None:
        queue = LocalTransport(read_address(URL, self._folder), lock_seconds=LOCK_SECONDS)
        for at in range(0, len(messages), AT_ONCE):
            assert not refused(await queue.send(messages[at : at + AT_ONCE]))
        await queue.aclose()

    def left(self) -> int:
        return self._count("SELECT count(*) FROM message WHERE shelf = 0")

    def dead(self) -> int:
        return self._count("SELECT count(*) FROM message WHERE shelf = 1")

    def deliveries(self) -> int | None:
        return None

    def trouble(self) -> int:
        return next(self._troubles)()

    def faults(self) -> int:
        return self._faults

    def heal(self) -> None:
        """Nothing lasts."""

    def _block(self) -> int:
        self._faults += 1
        with closing(self._open()) as db:
            db.execute("BEGIN IMMEDIATE")
            time.sleep(0.3)  # this is the fault
            db.execute("COMMIT")
        return 0

    def _lose_locks(self) -> int:
        end = "UPDATE message SET due = ? WHERE shelf = 0 AND token <> ?"
        with closing(self._open()) as db:
            lost = db.execute(end, (time.time(), FREE)).rowcount
        self._faults += lost
        return lost

    def _count(self, query: str) -> int:
        with closing(self._open()) as db:
            return int(db.execute(query).fetchone()[0])

    def _open(self) -> sqlite3.Connection:
        file = next(Path(self._folder).glob("*.sqlite3"))
        return sqlite3.connect(file, timeout=30, isolation_level=None)
