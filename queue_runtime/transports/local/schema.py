"""The tables and statements of a local queue; no statement reads more rows than it has to."""

# ruff: noqa: S608  (statements are put together from this module's own constants only)

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from queue_runtime.errors import TransportError

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

# "QRTq" in a file's header, so that another program's database is not taken for a queue.
APPLICATION_ID: Final = 0x51525471
# What a reader has to understand. 0.1.0 refuses any other number and works beside us during a
# rollout, so a table or column that it can pass over is added without counting on.
VERSION: Final = 1

# A file holds a queue and its dead letters; the column `shelf` tells them apart. Files keep that
# name, since older versions read them too.
QUEUE: Final = 0
DEAD_LETTERS: Final = 1

# The token of a message that is not locked. It has a token's size, since a row that grew when it is
# locked would make its page split.
FREE: Final = -(2**62)

# `due` is the time from which a message may be received: that of its send, of its delay's end, or,
# where `token` is not FREE, of its lock's end. Times are the wall clock's, since processes share
# them. `sent` has an index for the retention and for the oldest message's age.
_TABLES: Final = (
    f"""CREATE TABLE message (
        seq INTEGER PRIMARY KEY,
        shelf INTEGER NOT NULL,
        due REAL NOT NULL,
        token INTEGER NOT NULL DEFAULT ({FREE}),
        receives INTEGER NOT NULL DEFAULT 0,
        sent REAL NOT NULL,
        id TEXT NOT NULL,
        group_id TEXT,
        correlation_id TEXT,
        body NOT NULL,
        attributes TEXT,
        facts TEXT
    )""",
    "CREATE INDEX message_due ON message (shelf, due)",
    "CREATE INDEX message_sent ON message (shelf, sent)",
    """CREATE TABLE recent_send (
        shelf INTEGER NOT NULL,
        deduplication_id TEXT NOT NULL,
        until REAL NOT NULL,
        PRIMARY KEY (shelf, deduplication_id)
    ) WITHOUT ROWID""",
    "CREATE INDEX recent_send_until ON recent_send (until)",
)
# Only in ordered queues. A group's `due` is when its first message may be received, but not while
# any message of the group is locked: `REFRESH` is the one place that says so.
_TABLES_OF_ORDERED: Final = (
    "CREATE INDEX message_group_order ON message (shelf, group_id)",
    f"""CREATE INDEX message_group_lock ON message (shelf, group_id, due)
        WHERE token <> {FREE}""",
    """CREATE TABLE message_group (
        shelf INTEGER NOT NULL,
        name TEXT NOT NULL,
        due REAL NOT NULL,
        PRIMARY KEY (shelf, name)
    ) WITHOUT ROWID""",
    "CREATE INDEX message_group_due ON message_group (shelf, due)",
)

# As local_wire reads them, with the token and the count of the receive that selects them.
_COLUMNS: Final = (
    "seq, :token, receives + 1, id, sent, group_id, correlation_id, body, attributes, facts, due"
)
_LISTED: Final = "IN (SELECT value FROM json_each(:listed))"

PEEK: Final = "SELECT 1 FROM message WHERE shelf = :shelf AND due <= :now LIMIT 1"
PEEK_IN_ORDER: Final = "SELECT 1 FROM message_group WHERE shelf = :shelf AND due <= :now LIMIT 1"
NEXT: Final = (
    f"SELECT {_COLUMNS} FROM message WHERE shelf = :shelf AND due <= :now "
    "ORDER BY due, seq LIMIT :limit"
)
NEXT_GROUPS: Final = (
    "SELECT name FROM message_group WHERE shelf = :shelf AND due <= :now ORDER BY due LIMIT :limit"
)
NEXT_OF_GROUP: Final = (
    f"SELECT {_COLUMNS} FROM message WHERE shelf = :shelf AND group_id = :group "
    "ORDER BY seq LIMIT :limit"
)
EXPIRED: Final = (
    f"SELECT {_COLUMNS} FROM message WHERE shelf = :shelf AND sent <= :before "
    f"AND (token = {FREE} OR due <= :now) ORDER BY sent LIMIT :limit"
)
LOCK: Final = (
    f"UPDATE message SET due = :until, token = :token, receives = receives + 1 WHERE seq {_LISTED}"
)
# The plus signs keep the planner from walking everything that is locked.
HELD: Final = (
    f"SELECT json_group_array(seq) FROM message WHERE seq {_LISTED} "
    "AND token = :token AND +shelf = :shelf AND +due > :now"
)
EXTEND: Final = f"UPDATE message SET due = :until WHERE seq {_LISTED}"
# A receive that reached nobody is no delivery.
GIVE_BACK: Final = (
    f"UPDATE message SET due = :now, token = {FREE}, receives = receives - 1 WHERE seq {_LISTED}"
)
RETRY: Final = f"UPDATE message SET due = ?, token = {FREE} WHERE seq = ?"
DELETE: Final = f"DELETE FROM message WHERE seq {_LISTED}"
DEAD_LETTER: Final = (
    f"UPDATE message SET shelf = {DEAD_LETTERS}, due = ?, token = {FREE}, receives = 0, "
    "facts = ? WHERE seq = ?"
)
SEND: Final = (
    "INSERT INTO message "
    "(shelf, due, sent, id, group_id, correlation_id, body, attributes, facts) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
FORGET_SENDS: Final = "DELETE FROM recent_send WHERE until <= :now"
REMEMBER_SEND: Final = "INSERT OR IGNORE INTO recent_send VALUES (?, ?, ?)"
ADD_GROUP: Final = "INSERT OR IGNORE INTO message_group VALUES (?, ?, ?)"
LOCK_GROUPS: Final = (
    f"UPDATE message_group SET due = :until WHERE shelf = :shelf AND name {_LISTED}"
)
DROP_GROUPS: Final = f"DELETE FROM message_group WHERE shelf = :shelf AND name {_LISTED}"
REFRESH_GROUPS: Final = f"""
    INSERT INTO message_group
    SELECT :shelf, name, max(first, coalesce(locked, first)) FROM (
        SELECT value AS name,
            (SELECT due FROM message INDEXED BY message_group_order
                WHERE shelf = :shelf AND group_id = value ORDER BY seq LIMIT 1) AS first,
            (SELECT max(due) FROM message
                WHERE shelf = :shelf AND group_id = value AND token <> {FREE}) AS locked
        FROM (SELECT DISTINCT value FROM json_each(:listed))
    ) WHERE first IS NOT NULL
"""
COUNT_VISIBLE: Final = "SELECT count(*) FROM message WHERE shelf = :shelf AND due <= :now"
COUNT_WAITING: Final = (
    f"SELECT count(*) FILTER (WHERE token <> {FREE}), count(*) FILTER (WHERE token = {FREE}) "
    "FROM message WHERE shelf = :shelf AND due > :now"
)
COUNT_ALL: Final = "SELECT count(*) FROM message WHERE shelf = :shelf"
OLDEST: Final = "SELECT min(sent) FROM message WHERE shelf = :shelf"
PURGE: Final = "DELETE FROM message WHERE shelf = :shelf"
PURGE_GROUPS: Final = "DELETE FROM message_group WHERE shelf = :shelf"


def prepare(db: sqlite3.Connection, path: Path | None, ordered: bool | None) -> bool:
    """Make the tables where there are none, and tell whether the queue is ordered.

    Raises:
        TransportError: the file is of a newer version, of another program, or of another order.
    """
    if _version(db) == 0:
        _create(db, path, ordered=bool(ordered))
    version = _version(db)
    if version != VERSION:
        raise TransportError(
            f"{path} was written by a newer version of queue-runtime (its format is {version}, "
            f"this one reads {VERSION}): upgrade queue-runtime, or have the queue elsewhere"
        )
    is_ordered = bool(
        db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'message_group'").fetchone()[0]
    )
    if ordered is not None and ordered != is_ordered:
        raise TransportError(
            f"the queue in {path or 'memory'} was made with ordered={_word(is_ordered)} and is "
            f"opened with ordered={_word(ordered)}: leave the option out, or take another name"
        )
    return is_ordered


def _create(db: sqlite3.Connection, path: Path | None, *, ordered: bool) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been first.
        if _version(db) == 0:
            if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise TransportError(
                    f"{path} is another program's database, not a queue: have the queue elsewhere"
                )
            for statement in (*_TABLES, *(_TABLES_OF_ORDERED if ordered else ())):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise


def _version(db: sqlite3.Connection) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def _word(flag: bool) -> str:
    return "true" if flag else "false"
