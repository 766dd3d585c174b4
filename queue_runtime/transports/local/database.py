"""One local queue's database: opened once, used in transactions, its errors explained."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING, Final

from queue_runtime.clouds.sqlite import make_private, use_write_ahead_log
from queue_runtime.errors import AccessDeniedError, TransportError
from queue_runtime.observability.events import events
from queue_runtime.transports.local.arrivals import Arrivals, arrivals_of
from queue_runtime.transports.local.errors import BUSY_SECONDS, explained
from queue_runtime.transports.local.schema import prepare

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# Free pages that a file keeps for what comes next; and how fast it gives the others back.
_KEPT_PAGES: Final = 256
_SHRINK_PAGES: Final = 256
_SHRINK_EVERY: Final = 32


class Store:
    """A connection, the lock that transactions take, and those who wait for messages.

    A file's store belongs to one transport, a memory queue's to all of its name.

    Raises:
        TransportError: the file cannot be used; the text says why, and what to do.
    """

    def __init__(self, queue: str, path: Path | None, *, ordered: bool | None) -> None:
        self.queue, self.path = queue, path
        self._lock = RLock()
        self.arrivals: Arrivals = arrivals_of(str(path)) if path else Arrivals()
        self._transactions = 0
        self._open(ordered)

    def _open(self, ordered: bool | None) -> None:
        path = self.path
        if path is not None:
            _make_folder(self.queue, path.parent)
            _make_file(self.queue, path)
        with self._errors_explained():
            self._db = sqlite3.connect(
                path or ":memory:",
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            with self._errors_explained():
                if path is not None:
                    use_write_ahead_log(self._db, patience=BUSY_SECONDS)
                self.ordered = prepare(self._db, path, ordered)
                self._file = self._identity()
        except BaseException:
            self._db.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Change the queue as a whole or not at all; waits for other writers for 5 s.

        Raises:
            TransportError: nothing was changed.
        """
        with self.reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                db.rollback()
                raise
            self._shrink(db)

    def _shrink(self, db: sqlite3.Connection) -> None:
        """Give pages that are free back to the disk, some at a time."""
        self._transactions += 1
        if self._transactions % _SHRINK_EVERY:
            return
        (free,) = db.execute("PRAGMA freelist_count").fetchone()
        if free > _KEPT_PAGES:
            # A script runs to its end; on Python 3.11 a lone statement without rows stops after
            # its first page.
            db.executescript(f"PRAGMA incremental_vacuum({_SHRINK_PAGES})")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read without keeping writers away.

        Raises:
            TransportError: the file cannot be read.
        """
        with self._lock, self._errors_explained():
            self._follow_file()
            yield self._db

    def close(self) -> None:
        """Close a file's connection; a memory queue lives as long as its process."""
        if self.path is not None:
            with self._lock, self._errors_explained():
                self._db.close()

    def _follow_file(self) -> None:
        # What SQLite writes into a file that has been deleted is lost without any error.
        if self.path is not None and self._identity() != self._file:
            text = "its file %s was removed or replaced: it is opened anew, without what it held"
            events.warning(self.queue, "local", text, str(self.path))
            _close_alone(self._db)
            self._open(self.ordered)

    def _identity(self) -> tuple[int, int] | None:
        if self.path is None:
            return None
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    @contextmanager
    def _errors_explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise explained(error, self.queue, self.path) from error


def _close_alone(db: sqlite3.Connection) -> None:
    """Close a connection to a file that has gone, without the log that now is another file's.

    SQLite removes that by its name, and with it what another process has written to it.
    """
    if sys.version_info >= (3, 12):
        db.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
        db.close()
    else:
        _never_closed.append(db)


_never_closed: Final[list[sqlite3.Connection]] = []


def _make_folder(queue: str, folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except PermissionError as error:
        raise AccessDeniedError(
            f"local queue {queue} cannot be used: this user may not make its folder {folder}; "
            "make it, or have the queue elsewhere (QUEUE_LOCAL_DIRECTORY)"
        ) from error
    except OSError as error:
        raise TransportError(
            f"local queue {queue} cannot be used: its folder {folder} cannot be made "
            f"({error.strerror}); have the queue elsewhere (QUEUE_LOCAL_DIRECTORY)"
        ) from error


def _make_file(queue: str, path: Path) -> None:
    try:
        make_private(path)
    except OSError as error:
        if os.path.islink(path):  # False, and no error, where that may not be known
            raise AccessDeniedError(
                f"local queue {queue} cannot be used: its file {path} is a symbolic link, which "
                "is not followed: put the file itself there, or set QUEUE_LOCAL_DIRECTORY to "
                "where it is"
            ) from None
        if not isinstance(error, PermissionError | IsADirectoryError):
            raise TransportError(
                f"local queue {queue} cannot be used: its file {path} cannot be made "
                f"({error.strerror}); have the queue elsewhere (QUEUE_LOCAL_DIRECTORY)"
            ) from error
        # Else SQLite says it, with what to do.


_memory_lock: Final = RLock()
_in_memory: Final[dict[str, Store]] = {}


def open_store(name: str, path: Path | None, *, ordered: bool | None) -> Store:
    """Open a queue's file, or give the process's own store of that name.

    Raises:
        TransportError: it cannot be used; the text says why.
    """
    if path is not None:
        return Store(name, path, ordered=ordered)
    with _memory_lock:
        store = _in_memory.get(name)
        if store is None:
            store = _in_memory[name] = Store(name, None, ordered=ordered)
        elif ordered is not None and ordered != store.ordered:
            with store.reading() as db:
                prepare(db, None, ordered)  # which says what is wrong
        return store
