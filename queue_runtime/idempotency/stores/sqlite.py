"""Claims in an SQLite file: for several processes of one machine."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from threading import Lock
from time import time
from typing import TYPE_CHECKING, Final

from queue_runtime.clouds.sqlite import make_private, use_write_ahead_log
from queue_runtime.errors import SettingsError
from queue_runtime.idempotency import body_digests
from queue_runtime.idempotency.store import FRESH, found

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from queue_runtime.idempotency.store import Claim, Clock, Found

_BUSY_SECONDS: Final = 5.0
_SWEPT_AT_ONCE: Final = 100

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS claims (
    key TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    ends REAL NOT NULL,
    done INTEGER NOT NULL,
    payload TEXT NOT NULL,
    body_digests TEXT
) WITHOUT ROWID
"""
# Files of 0.1.0 lack this column; its statements name the others and go on working beside it. No
# number of versions is kept: the file may be the author's own, with a `user_version` of theirs.
_COLUMNS: Final = "SELECT name FROM pragma_table_info('claims')"
_ADD_COLUMN: Final = "ALTER TABLE claims ADD COLUMN body_digests TEXT"
_INDEX: Final = "CREATE INDEX IF NOT EXISTS claims_by_end ON claims (ends)"
# One statement a key decides and writes; what it did not change is somebody else's.
_CLAIM: Final = """
INSERT INTO claims (key, owner, ends, done, payload, body_digests)
VALUES (:key, :owner, :ends, 0, :payload, :body_digests)
ON CONFLICT (key) DO UPDATE
SET owner = excluded.owner, ends = excluded.ends, done = 0, payload = excluded.payload,
    body_digests = excluded.body_digests
WHERE claims.ends <= :now OR claims.owner = excluded.owner
"""
_COMMIT: Final = """
INSERT INTO claims (key, owner, ends, done, payload, body_digests)
VALUES (:key, :owner, :ends, 1, :payload, :body_digests)
ON CONFLICT (key) DO UPDATE SET ends = excluded.ends, done = 1
WHERE claims.owner = excluded.owner
"""
_EXTEND: Final = "UPDATE claims SET ends = ? WHERE key = ? AND owner = ? AND done = 0"
_RELEASE: Final = "DELETE FROM claims WHERE key = ? AND owner = ? AND done = 0"
_READ: Final = "SELECT ends, done, payload, body_digests FROM claims WHERE key = ?"
_SWEEP: Final = "DELETE FROM claims WHERE key IN (SELECT key FROM claims WHERE ends <= ? LIMIT ?)"


class SqliteStore:
    """One file, one write transaction for each call; other processes wait up to 5 s for it.

    The file must be on a disk of the machine's own: SQLite's locks do not hold on network shares.

    Raises:
        SettingsError: the file cannot be opened.
    """

    def __init__(self, path: str, *, clock: Clock = time) -> None:
        self._path = path
        self._clock = clock
        self._lock = Lock()
        self._process = 0
        self._connection: sqlite3.Connection | None = None
        try:
            with self._transaction() as database:
                _prepare(database)
        except (sqlite3.Error, OSError) as error:
            why = getattr(error, "strerror", None) or error
            raise SettingsError(
                f"idempotency_store: the file {path} cannot be opened ({why}); name one whose "
                "folder exists and may be written, and that is no symbolic link"
            ) from None

    def claim(self, claims: Sequence[Claim], owner: str, seconds: float) -> Sequence[Found]:
        """Take what is free, in one transaction."""
        with self._transaction() as database:
            now = self._clock()
            answers = []
            for claim in claims:
                row = {**_row(claim, owner, now + seconds), "now": now}
                taken = database.execute(_CLAIM, row).rowcount
                answers.append(FRESH if taken else _read(database, claim.key, now))
            database.execute(_SWEEP, (now, _SWEPT_AT_ONCE))
        return answers

    def extend(self, claims: Sequence[Claim], owner: str, seconds: float) -> None:
        """Move the ends of what is the owner's and unfinished."""
        with self._transaction() as database:
            ends = self._clock() + seconds
            database.executemany(_EXTEND, [(ends, claim.key, owner) for claim in claims])

    def commit(self, claims: Sequence[Claim], owner: str, retention: float) -> Sequence[bool]:
        """Mark as done what is the owner's, or nobody's."""
        with self._transaction() as database:
            ends = self._clock() + retention
            rows = [_row(claim, owner, ends) for claim in claims]
            return [database.execute(_COMMIT, row).rowcount > 0 for row in rows]

    def release(self, claims: Sequence[Claim], owner: str) -> None:
        """Remove what is the owner's and unfinished."""
        with self._transaction() as database:
            database.executemany(_RELEASE, [(claim.key, owner) for claim in claims])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            database = self._connected()
            # IMMEDIATE, because a transaction that reads first may find that it cannot write.
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.rollback()
                raise
            database.commit()

    def _connected(self) -> sqlite3.Connection:
        # A connection must not be carried over a fork, nor closed there.
        if self._connection is None or self._process != os.getpid():
            if self._path != ":memory:":
                make_private(self._path)
            self._connection = sqlite3.connect(
                self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            use_write_ahead_log(self._connection, patience=_BUSY_SECONDS)
            self._process = os.getpid()
        return self._connection


def _prepare(database: sqlite3.Connection) -> None:
    """Make the table, or bring one of 0.1.0 up to date; nobody else does meanwhile."""
    database.execute(_SCHEMA)
    database.execute(_INDEX)
    if ("body_digests",) not in database.execute(_COLUMNS).fetchall():
        database.execute(_ADD_COLUMN)


def _row(claim: Claim, owner: str, ends: float) -> dict[str, object]:
    return {
        "key": claim.key,
        "owner": owner,
        "ends": ends,
        "payload": body_digests.exact_part(claim.payload),
        "body_digests": body_digests.added_part(claim.payload) or None,
    }


def _read(database: sqlite3.Connection, key: str, now: float) -> Found:
    ends, done, exact, digests = database.execute(_READ, (key,)).fetchone()
    payload = body_digests.read(exact, digests)
    return found(done=bool(done), remaining=ends - now, payload=payload)
