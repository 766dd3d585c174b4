"""Reads and changes the rows of a local queue or of its dead letters, inside a transaction."""

from __future__ import annotations

from itertools import takewhile
from json import dumps, loads
from secrets import randbits
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from queue_runtime.transports.base import Depth
from queue_runtime.transports.local import schema as sql
from queue_runtime.transports.local.wire import DUE, GROUP, RECEIVES, SEQ

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from queue_runtime.transports.local.wire import Entry

Row: TypeAlias = "tuple[Any, ...]"
Receipt: TypeAlias = "tuple[int, int]"

DEDUPLICATION_SECONDS: Final = 300.0


class Rows:
    """The rows of a queue, or of its dead letters, in one file.

    Args:
        number: `schema.QUEUE` or `schema.DEAD_LETTERS`, in the column `shelf`.
        ordered: whether groups are kept in order.

    `now` is always read inside the transaction, which may have waited.
    """

    def __init__(self, number: int, *, ordered: bool) -> None:
        self._number = number
        self._ordered = ordered
        self._peek = sql.PEEK_IN_ORDER if ordered else sql.PEEK

    def has_due(self, db: sqlite3.Connection, now: float) -> bool:
        """Tell whether anything may be received, without a transaction."""
        found = db.execute(self._peek, {"shelf": self._number, "now": now}).fetchone()
        return found is not None

    def take(
        self,
        db: sqlite3.Connection,
        limit: int,
        now: float,
        until: float,
        most_receives: int | None,
    ) -> tuple[list[Row], list[Row]]:
        """Lock at most `limit` messages; those received too often are given apart, unlocked."""
        token = randbits(62)
        rows = self._next(db, {"now": now, "token": token, "limit": limit, "shelf": self._number})
        spent: list[Row] = []
        if most_receives is not None:
            spent = [row for row in rows if row[RECEIVES] > most_receives]
        taken = [row for row in rows if row not in spent] if spent else rows
        if taken:
            db.execute(sql.LOCK, {"until": until, "token": token, "listed": _seqs(taken)})
            if self._ordered:
                listed = dumps([row[GROUP] for row in taken])
                db.execute(
                    sql.LOCK_GROUPS, {"until": until, "shelf": self._number, "listed": listed}
                )
        return taken, spent

    def held(self, db: sqlite3.Connection, receipts: Iterable[Receipt], now: float) -> set[Receipt]:
        """Tell which receipts still stand for a lock."""
        by_token: dict[int, list[int]] = {}
        for seq, token in receipts:
            by_token.setdefault(token, []).append(seq)
        found: set[Receipt] = set()
        for token, seqs in by_token.items():
            values = {"token": token, "shelf": self._number, "now": now, "listed": dumps(seqs)}
            (valid,) = db.execute(sql.HELD, values).fetchone()
            found.update((seq, token) for seq in loads(valid))
        return found

    def delete(self, db: sqlite3.Connection, seqs: Sequence[int]) -> None:
        """Remove messages that are done."""
        if seqs:
            db.execute(sql.DELETE, {"listed": dumps(seqs)})

    def extend(self, db: sqlite3.Connection, seqs: Sequence[int], until: float) -> None:
        """Move the end of locks that are held."""
        db.execute(sql.EXTEND, {"until": until, "listed": dumps(seqs)})

    def give_back(self, db: sqlite3.Connection, seqs: Sequence[int], now: float) -> None:
        """Unlock messages as if they had not been received."""
        db.execute(sql.GIVE_BACK, {"now": now, "listed": dumps(seqs)})

    def retry(self, db: sqlite3.Connection, due: Iterable[tuple[float, int]]) -> None:
        """Unlock messages, each to be received from a time of its own."""
        db.executemany(sql.RETRY, due)

    def dead_letter(
        self, db: sqlite3.Connection, facts: Sequence[tuple[str, Row]], now: float
    ) -> None:
        """Move messages to the dead letters, each with the facts of its failure."""
        db.executemany(sql.DEAD_LETTER, [(now, text, row[SEQ]) for text, row in facts])
        if self._ordered:
            groups = {row[GROUP] for _, row in facts}
            Rows(sql.DEAD_LETTERS, ordered=True).refresh(db, groups)

    def expired(self, db: sqlite3.Connection, before: float, now: float, limit: int) -> list[Row]:
        """Give messages sent before a time, but none that is locked."""
        values = {"shelf": self._number, "before": before, "now": now, "token": 0, "limit": limit}
        return db.execute(sql.EXPIRED, values).fetchall()

    def insert(self, db: sqlite3.Connection, entries: Iterable[Entry], now: float) -> set[str]:
        """Add messages but those whose deduplication id was sent lately; gives the added ids."""
        rows = [
            (
                self._number,
                now + entry.delay,
                now,
                entry.id,
                entry.group_id,
                entry.correlation_id,
                entry.body,
                entry.attributes,
                entry.facts,
            )
            for entry in self._not_sent_lately(db, entries, now)
        ]
        db.executemany(sql.SEND, rows)
        if self._ordered:
            # The group's first message decides when it is due, so only a new group needs a row.
            groups = ((self._number, group, due) for _, due, _, _, group, *_ in rows)
            db.executemany(sql.ADD_GROUP, groups)
        return {id_ for _, _, _, id_, *_ in rows}

    def refresh(self, db: sqlite3.Connection, groups: Iterable[str | None]) -> None:
        """Compute again when groups are due, after a change of their messages."""
        values = {"shelf": self._number, "listed": dumps(list(groups))}
        db.execute(sql.DROP_GROUPS, values)
        db.execute(sql.REFRESH_GROUPS, values)

    def depth(self, db: sqlite3.Connection, now: float) -> Depth:
        """Count by index, without reading a message."""
        values = {"shelf": self._number, "now": now}
        (visible,) = db.execute(sql.COUNT_VISIBLE, values).fetchone()
        in_flight, delayed = db.execute(sql.COUNT_WAITING, values).fetchone()
        dead_lettered = None
        if self._number == sql.QUEUE:
            (dead_lettered,) = db.execute(sql.COUNT_ALL, {"shelf": sql.DEAD_LETTERS}).fetchone()
        (oldest,) = db.execute(sql.OLDEST, values).fetchone()
        age = 0.0 if oldest is None else max(0.0, now - oldest)
        return Depth(visible, in_flight, delayed, dead_lettered, age)

    def purge(self, db: sqlite3.Connection) -> int:
        """Remove everything, locked or not."""
        removed = db.execute(sql.PURGE, {"shelf": self._number}).rowcount
        if self._ordered:
            db.execute(sql.PURGE_GROUPS, {"shelf": self._number})
        return removed

    def _next(self, db: sqlite3.Connection, values: dict[str, Any]) -> list[Row]:
        if not self._ordered:
            return db.execute(sql.NEXT, values).fetchall()
        groups = db.execute(sql.NEXT_GROUPS, values).fetchall()
        rows: list[Row] = []
        limit: int = values["limit"]
        for position, (group,) in enumerate(groups):
            # Shared out, so that one long group does not keep the others from running beside it.
            share = -((len(rows) - limit) // (len(groups) - position))
            found = db.execute(sql.NEXT_OF_GROUP, {**values, "group": group, "limit": share})
            rows += takewhile(lambda row: row[DUE] <= values["now"], found)
        return rows

    def _not_sent_lately(
        self, db: sqlite3.Connection, entries: Iterable[Entry], now: float
    ) -> list[Entry]:
        fresh = []
        forgotten = False
        for entry in entries:
            if entry.deduplication_id is not None:
                if not forgotten:
                    db.execute(sql.FORGET_SENDS, {"now": now})
                    forgotten = True
                known = (self._number, entry.deduplication_id, now + DEDUPLICATION_SECONDS)
                if db.execute(sql.REMEMBER_SEND, known).rowcount == 0:
                    continue
            fresh.append(entry)
        return fresh


def _seqs(rows: Iterable[Row]) -> str:
    return dumps([row[SEQ] for row in rows])
