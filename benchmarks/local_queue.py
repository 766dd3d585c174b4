"""The local transport against bare sqlite3 statements that do the same: receive, then delete.

Five runs that alternate, in wall time, on a file with a write-ahead log and synchronous=NORMAL,
100 messages a receive.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from benchmarks.paired import Figure, figure
from queue_runtime.outcome import ACK
from queue_runtime.testing.conformance.rig import steps
from queue_runtime.transports.base import OutgoingMessage
from queue_runtime.transports.local.address import read_address
from queue_runtime.transports.local.transport import LocalTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RUNS: Final = 5
LOT: Final = 100
BODY: Final = b'{"id": "0123456789", "amount": "12.50", "note": "' + b"x" * 150 + b'"}'
LIMIT: Final = 3.0


def bare(folder: Path, count: int) -> tuple[float, float]:
    """Do it with the fewest statements that lock messages and remove them: one table, one index."""
    with closing(sqlite3.connect(folder / "bare.sqlite3", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("CREATE TABLE message (seq INTEGER PRIMARY KEY, due REAL, count INTEGER, body)")
        db.execute("CREATE INDEX message_due ON message (due)")
        started = time.perf_counter()
        for _ in range(count // LOT):
            rows = [(time.time(), 0, BODY)] * LOT
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO message (due, count, body) VALUES (?, ?, ?)", rows)
            db.execute("COMMIT")
        sent = time.perf_counter()
        while _bare_lot(db):
            pass
        return sent - started, time.perf_counter() - sent


def _bare_lot(db: sqlite3.Connection) -> int:
    db.execute("BEGIN IMMEDIATE")
    now = time.time()
    rows = db.execute(
        "SELECT seq, count, body FROM message WHERE due <= ? ORDER BY due LIMIT ?", (now, LOT)
    ).fetchall()
    locks = [(now + 300, row[0]) for row in rows]
    db.executemany("UPDATE message SET due = ?, count = count + 1 WHERE seq = ?", locks)
    db.execute("COMMIT")
    db.execute("BEGIN IMMEDIATE")
    db.executemany("DELETE FROM message WHERE seq = ?", [row[:1] for row in rows])
    db.execute("COMMIT")
    return len(rows)


def transport(url: str) -> Callable[[Path, int], tuple[float, float]]:
    """Do it through the transport, from an event loop."""

    async def run(folder: Path, count: int) -> tuple[float, float]:
        queue = LocalTransport(read_address(url, str(folder)))
        started = time.perf_counter()
        for _ in range(count // LOT):
            await queue.send([OutgoingMessage(body=BODY, group_id=str(n % 20)) for n in range(LOT)])
        sent = time.perf_counter()
        left = count
        while messages := await queue.receive(LOT, 0):
            left -= len(messages)
            await queue.settle(steps(queue, [(message, ACK) for message in messages]))
        consumed = time.perf_counter()
        if left or (await queue.depth()).total:
            raise AssertionError("messages are left or came twice")
        await queue.aclose()
        return sent - started, consumed - sent

    return lambda folder, count: asyncio.run(run(folder, count))


CASES: Final = {
    "bare sqlite3": bare,
    "local://q": transport("local://q"),
    "local://q?memory": transport("local://q?memory"),
}


COUNT: Final = 10_000


def figures() -> Iterator[Figure]:
    """Measure the transport against bare statements, in microseconds a message."""
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in CASES}
    for _ in range(RUNS):
        for name, case in CASES.items():
            with TemporaryDirectory() as folder:
                took[name].append(case(Path(folder), COUNT))
    for name, limit in (("local://q", LIMIT), ("local://q?memory", None)):
        pairs = [
            (ours[1] / COUNT * 1e6, theirs[1] / COUNT * 1e6)
            for ours, theirs in zip(took[name], took["bare sqlite3"], strict=True)
        ]
        yield figure(f"{name}, receive + settle / bare sqlite3 statements", pairs, "us", limit)
