"""Translates SQLite's errors for a local queue into sentences with the fix."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

from queue_runtime.errors import AccessDeniedError, MessageTooLargeError, TransportError

if TYPE_CHECKING:
    from pathlib import Path

BUSY_SECONDS: Final = 5.0

_ACCESS: Final = (
    "this user may not write it; allow it for the folder and its files, or have the queue "
    "elsewhere (QUEUE_LOCAL_DIRECTORY)"
)
_DAMAGED: Final = (
    "it is damaged, or is no SQLite database; save what `sqlite3 FILE .recover` still finds, then "
    "move it away together with its -wal and -shm files: a new one is made at the next start"
)
_MEANINGS: Final[dict[int, tuple[type[TransportError], str]]] = {
    sqlite3.SQLITE_BUSY: (
        TransportError,
        f"another process has kept it locked for more than {BUSY_SECONDS:g} s; nothing was "
        "changed: try again, or find that process (`fuser FILE`) and end it",
    ),
    sqlite3.SQLITE_READONLY: (AccessDeniedError, _ACCESS),
    sqlite3.SQLITE_PERM: (AccessDeniedError, _ACCESS),
    sqlite3.SQLITE_CANTOPEN: (AccessDeniedError, f"it cannot be opened: {_ACCESS}"),
    sqlite3.SQLITE_CORRUPT: (TransportError, _DAMAGED),
    sqlite3.SQLITE_NOTADB: (TransportError, _DAMAGED),
    sqlite3.SQLITE_FULL: (
        TransportError,
        "its disk is full; nothing was changed, and what is locked comes back when its lock ends: "
        "make room",
    ),
    sqlite3.SQLITE_IOERR: (
        TransportError,
        "it could not be read or written; nothing was changed: look at the disk and at the "
        "system's log",
    ),
    sqlite3.SQLITE_TOOBIG: (
        MessageTooLargeError,
        "a message is larger than SQLite takes (1,000,000,000 bytes with its attributes); nothing "
        "was sent: keep the content elsewhere and send where it is",
    ),
}
_PRIMARY_CODE: Final = 0xFF


def explained(error: sqlite3.Error, queue: str, path: Path | None) -> TransportError:
    """Make the error that a caller gets; its text has the file and never a statement's values."""
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    kind, meaning = _MEANINGS.get(code, (TransportError, "nothing was changed"))
    where = f"its file {path}" if path else "it is in memory"
    return kind(f"local queue {queue} cannot be used ({where}; {name}): {meaning}")
