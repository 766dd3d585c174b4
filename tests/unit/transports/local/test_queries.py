"""No statement of a local queue reads more of a table than it has to."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from queue_runtime.transports.local import schema as local_schema

if TYPE_CHECKING:
    from collections.abc import Iterator

STATEMENTS = {
    name: text
    for name, text in vars(local_schema).items()
    if (isinstance(text, str) and text.split()[:1] in (["SELECT"], ["UPDATE"], ["DELETE"]))
    or name == "REFRESH_GROUPS"
}


@pytest.fixture(scope="module")
def db() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    local_schema.prepare(connection, None, ordered=True)
    yield connection
    connection.close()


def plan(db: sqlite3.Connection, statement: str) -> list[str]:
    values = (1,) * statement.count("?") if "?" in statement else Anything()
    return [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", values)]


class Anything(dict[str, object]):
    def __missing__(self, name: str) -> object:
        return "[1]" if name == "listed" else 1


def test_every_statement_is_looked_at() -> None:
    assert {"PEEK", "NEXT", "HELD", "LOCK", "RETRY", "REFRESH_GROUPS"} <= STATEMENTS.keys()
    assert len(STATEMENTS) >= 20


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_no_statement_scans_or_sorts(db: sqlite3.Connection, name: str) -> None:
    steps = plan(db, STATEMENTS[name])
    scans = [step for step in steps if step.startswith("SCAN ") and "json_each" not in step]
    sorts = [step for step in steps if "TEMP B-TREE FOR ORDER BY" in step]
    # The one subquery that is scanned is a list of the groups at hand.
    assert [step for step in scans if "subquery" not in step.lower()] == []
    assert sorts == []


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("NEXT", "message_due (shelf=? AND due<?)"),
        ("NEXT_GROUPS", "message_group_due (shelf=? AND due<?)"),
        ("NEXT_OF_GROUP", "message_group_order (shelf=? AND group_id=?)"),
        ("EXPIRED", "message_sent (shelf=? AND sent<?)"),
        ("HELD", "INTEGER PRIMARY KEY (rowid=?)"),
        ("DELETE", "INTEGER PRIMARY KEY (rowid=?)"),
        ("OLDEST", "message_sent (shelf=?)"),
    ],
)
def test_statement_uses_the_index_made_for_it(
    db: sqlite3.Connection, name: str, index: str
) -> None:
    assert any(index in step for step in plan(db, STATEMENTS[name]))


def test_group_is_refreshed_by_its_first_and_its_locked_messages(db: sqlite3.Connection) -> None:
    steps = plan(db, STATEMENTS["REFRESH_GROUPS"])
    assert any("message_group_order (shelf=? AND group_id=?)" in step for step in steps)
    assert any("message_group_lock (shelf=? AND group_id=?)" in step for step in steps)
