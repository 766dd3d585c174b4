"""Opens SQLite's write-ahead log where several processes may do so at once."""

from __future__ import annotations

import sqlite3
from time import monotonic, sleep

_BETWEEN_TRIES = 0.005


def use_write_ahead_log(database: sqlite3.Connection, *, patience: float) -> None:
    """Let readers and a writer work at the same time, at one sync a checkpoint.

    A killed process loses nothing; a power failure may take the last transactions.

    Args:
        database: a connection outside of any transaction.
        patience: seconds to wait for another process that makes the same change.

    Raises:
        sqlite3.Error: the file cannot be used, or is busy for longer.
    """
    # SQLite itself does not wait here, whatever the connection's timeout is.
    deadline = monotonic() + patience
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or monotonic() > deadline:
                raise
            sleep(_BETWEEN_TRIES)
    database.execute("PRAGMA synchronous = NORMAL")
