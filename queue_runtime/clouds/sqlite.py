"""Opens SQLite files: for their owner alone, and with a write-ahead log that several share."""

from __future__ import annotations

import os
import sqlite3
from time import monotonic, sleep

_BETWEEN_TRIES = 0.005


def make_private(path: str | os.PathLike[str]) -> None:
    """Make a database's file, where it is not there, so that its owner alone can read it.

    SQLite gives the files beside it the same mode. A file that is there keeps its own.

    Raises:
        OSError: it cannot be made, or is a symbolic link, which somebody else may have put there.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        os.close(os.open(path, flags, 0o600))
    except PermissionError:
        if os.path.islink(path) or not os.path.exists(path):
            raise  # SQLite itself says what one may not do with a file that is there


def use_write_ahead_log(database: sqlite3.Connection, *, patience: float) -> None:
    """Let readers and a writer work at the same time, at one sync a checkpoint.

    A killed process loses nothing; a power failure may take the last transactions. A new file can
    shrink later, by `PRAGMA incremental_vacuum`.

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
            # Before anything is written, or it has no effect on a new file.
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
            database.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or monotonic() > deadline:
                raise
            sleep(_BETWEEN_TRIES)
    database.execute("PRAGMA synchronous = NORMAL")
