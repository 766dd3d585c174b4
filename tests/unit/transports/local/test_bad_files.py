"""A local queue whose file cannot be used says so, and what to do, and loses nothing."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from queue_runtime.clouds import sqlite
from queue_runtime.errors import (
    AccessDeniedError,
    LockLostError,
    MessageTooLargeError,
    TransportError,
)
from queue_runtime.outcome import ACK
from queue_runtime.testing.conformance.rig import ack, send, steps, take
from queue_runtime.transports.base import OutgoingMessage
from queue_runtime.transports.local import database as local_store
from queue_runtime.transports.local.address import read_address
from queue_runtime.transports.local.transport import LocalTransport
from tests.unit.transports.local.rig import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534


def refusal(folder: Path, url: str = "local://orders") -> TransportError:
    with pytest.raises(TransportError) as caught:
        LocalTransport(read_address(url, str(folder)))
    assert "orders" in str(caught.value)
    return caught.value


@contextmanager
def as_a_user_without_rights() -> Iterator[None]:
    """Root may write everywhere, so a test that runs as root is somebody else for a while."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that another user can reach, but not write; pytest's own is closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
        Path(folder).chmod(0o755)


def make_queue(folder: Path) -> Path:
    asyncio.run(LocalTransport(read_address("local://orders", str(folder))).aclose())
    return folder / "orders.sqlite3"


def test_folder_that_may_not_be_made(shared: Path) -> None:
    shared.chmod(0o555)
    with as_a_user_without_rights():
        error = refusal(shared / "queues")
    assert isinstance(error, AccessDeniedError)
    assert "may not make its folder" in str(error)


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "queues").write_text("")
    assert "QUEUE_LOCAL_DIRECTORY" in str(refusal(tmp_path / "queues"))


def test_read_only_folder(shared: Path) -> None:
    shared.chmod(0o555)
    with as_a_user_without_rights():
        error = refusal(shared)
    assert isinstance(error, AccessDeniedError)
    assert "may not write it" in str(error)
    assert "SQLITE_CANTOPEN" in str(error)


def test_read_only_file(shared: Path) -> None:
    make_queue(shared).chmod(0o444)
    shared.chmod(0o555)
    with as_a_user_without_rights():
        error = refusal(shared)
    assert isinstance(error, AccessDeniedError)


def test_file_that_another_process_keeps_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_store, "BUSY_SECONDS", 0.02)

    async def scenario() -> None:
        async with opened("local://orders", tmp_path) as queue:
            await send(queue, OutgoingMessage(body="{}"))
            messages = await take(queue, 1)
            with closing(sqlite3.connect(tmp_path / "orders.sqlite3")) as rival:
                rival.execute("BEGIN IMMEDIATE")
                for call in (
                    queue.send([OutgoingMessage(body="{}")]),
                    queue.settle(steps(queue, [(messages[0], ACK)])),
                ):
                    with pytest.raises(TransportError, match="kept it locked for more than 5 s"):
                        await call
                rival.rollback()
            await ack(queue, messages)
            assert (await queue.depth()).total == 0

    asyncio.run(scenario())


def test_new_file_that_another_process_keeps_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_store, "BUSY_SECONDS", 0.02)
    with closing(sqlite3.connect(tmp_path / "orders.sqlite3")) as rival:
        rival.execute("BEGIN EXCLUSIVE")
        assert "kept it locked" in str(refusal(tmp_path))


def test_new_file_that_another_process_is_just_making_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(tmp_path / "orders.sqlite3")) as rival:
        rival.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(local_store, "BUSY_SECONDS", 0.02)
        monkeypatch.setattr(sqlite, "monotonic", lambda: 0.0)
        monkeypatch.setattr(sqlite, "sleep", lambda _: rival.rollback())
        make_queue(tmp_path)


def test_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "orders.sqlite3").write_bytes(b"not a database" * 100)
    error = refusal(tmp_path)
    assert "damaged" in str(error)
    assert "SQLITE_NOTADB" in str(error)
    assert (tmp_path / "orders.sqlite3").read_bytes().startswith(b"not a database")


def test_damaged_file(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened("local://orders", tmp_path) as queue:
            await send(queue, *(OutgoingMessage(body="x" * 500) for _ in range(200)))
        path = tmp_path / "orders.sqlite3"
        content = bytearray(path.read_bytes())
        content[4096:] = b"\xff" * (len(content) - 4096)
        path.write_bytes(content)
        async with opened("local://orders", tmp_path) as queue:
            with pytest.raises(TransportError, match=r"damaged.*\.recover"):
                await queue.receive(10, 0)

    asyncio.run(scenario())


def test_file_of_a_newer_version(tmp_path: Path) -> None:
    with closing(sqlite3.connect(make_queue(tmp_path))) as db:
        db.execute("PRAGMA user_version = 2")
    assert "newer version of queue-runtime (its format is 2" in str(refusal(tmp_path))


def test_database_of_another_program(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "orders.sqlite3")) as db:
        db.execute("CREATE TABLE theirs (x)")
    assert "another program's database" in str(refusal(tmp_path))


@pytest.mark.parametrize("is_replaced", [True, False])
def test_file_that_is_removed_or_replaced_while_it_is_open_is_opened_anew(
    tmp_path: Path, is_replaced: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with opened("local://orders", tmp_path) as queue:
            await send(queue, OutgoingMessage(body="old"))
            (held,) = await take(queue, 1)
            (tmp_path / "orders.sqlite3").unlink()
            if is_replaced:
                async with opened("local://orders", tmp_path) as other:
                    await send(other, OutgoingMessage(body="new"))
            else:
                await send(queue, OutgoingMessage(body="new"))
            (message,) = await take(queue, 1)
            assert message.body == b"new"
            failures = await queue.settle(steps(queue, [(held, ACK)]))
            assert [type(each.error) for each in failures] == [LockLostError]

    asyncio.run(scenario())
    assert len([line for line in caplog.messages if "it is opened anew" in line]) == 1


def test_file_and_folder_are_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:

        async def scenario() -> None:
            async with opened("local://orders", tmp_path / "queues") as queue:
                await send(queue, OutgoingMessage(body="secret"))
                for each in (tmp_path / "queues").iterdir():
                    assert stat.S_IMODE(each.stat().st_mode) == 0o600, each
                assert stat.S_IMODE((tmp_path / "queues").stat().st_mode) == 0o700

        asyncio.run(scenario())
    finally:
        os.umask(before)


def test_symbolic_link_in_the_files_place_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "orders.sqlite3").symlink_to(elsewhere)
    assert "is a symbolic link, which is not followed" in str(refusal(tmp_path))
    assert not elsewhere.exists()


def test_file_shrinks_when_its_messages_have_gone(tmp_path: Path) -> None:
    async def scenario() -> tuple[int, int]:
        async with opened("local://orders", tmp_path) as queue:
            for _ in range(20):
                await send(queue, *(OutgoingMessage(body="x" * 10_000) for _ in range(50)))
            largest = pages(queue)
            for _ in range(20):
                await ack(queue, await take(queue, 50))
            for _ in range(400):
                await send(queue, OutgoingMessage(body="y"))
                await ack(queue, await take(queue, 1))
            return largest, pages(queue)

    def pages(queue: LocalTransport) -> int:
        (count,) = queue._queue._store._db.execute("PRAGMA page_count").fetchone()
        return int(count)

    largest, left = asyncio.run(scenario())
    assert left < largest / 3


def test_full_disk_changes_nothing_and_the_queue_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with opened("local://orders", tmp_path) as queue:
            await send(queue, OutgoingMessage(body="first"))
            database = queue._queue._store._db
            (pages,) = database.execute("PRAGMA page_count").fetchone()
            database.execute(f"PRAGMA max_page_count = {pages}")
            large = [OutgoingMessage(body=str(n) * 3_000) for n in range(10)]
            with pytest.raises(TransportError, match="its disk is full; nothing was changed"):
                await queue.send(large)
            assert (await queue.depth()).total == 1
            (message,) = await take(queue, 1)
            assert message.body == b"first"
            await ack(queue, [message])
            database.execute("PRAGMA max_page_count = 1000000")
            await send(queue, *large)
            await take(queue, 10)

    asyncio.run(scenario())


def test_message_that_is_too_large_for_the_file(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened("local://orders", tmp_path) as queue:
            database = queue._queue._store._db
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)
            with pytest.raises(MessageTooLargeError, match="larger than SQLite takes"):
                await queue.send([OutgoingMessage(body="x" * 20_000)])
            await send(queue, OutgoingMessage(body="x" * 5_000))

    asyncio.run(scenario())
