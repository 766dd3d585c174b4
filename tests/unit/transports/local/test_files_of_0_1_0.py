"""Files that 0.1.0 wrote are gone on with as they are."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime.testing.conformance.rig import send, take
from queue_runtime.transports.base import OutgoingMessage
from tests.movable_clock import MovableClock
from tests.unit.transports.local.rig import opened

if TYPE_CHECKING:
    from queue_runtime.message import Message

FIXTURES = Path(__file__).parents[3] / "fixtures/v0_1_0"


@pytest.fixture(params=["orders", "orders.fifo"])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    name: str = request.param
    shutil.copy(FIXTURES / f"{name}.db", tmp_path / f"{name}.sqlite3")
    return name


def by_body(messages: list[Message[Any]]) -> dict[bytes, Message[Any]]:
    return {message.body: message for message in messages}


def test_messages_of_0_1_0_are_received_as_they_were_left(queue: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = MovableClock()
        async with opened(f"local://{queue}", tmp_path, clock) as transport:
            assert transport.ordered == queue.endswith(".fifo")
            now = by_body(list(await transport.receive(10, 0)))
            assert set(now) == {b"tried", b"\x00waits\xff"}
            assert now[b"tried"].delivery_count == 2
            waits = now[b"\x00waits\xff"]
            assert (waits.delivery_count, waits.correlation_id) == (1, "c-1")
            clock.move(31)  # the delay of the copy and the lock have ended
            later = by_body(list(await transport.receive(10, 0)))
            copy = later[b"copy"]
            assert (copy.id, copy.delivery_count, copy.group_id) == ("original-1", 3, "copy")
            assert later[b"locked"].delivery_count == 2

    asyncio.run(scenario())


def test_dead_letters_of_0_1_0_tell_their_facts(queue: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(f"local://{queue}/dead-letter", tmp_path) as transport:
            (dead,) = await take(transport, 1)
            assert dead.body == b"dead"
            assert dead.attributes == {"tenant": "t", "count": 3}
            record = dead.dead_letter
            assert record is not None
            assert (record.reason, record.error_type, record.error, record.handler) == (
                "negative amount",
                "ValueError",
                "-3",
                "shop.take_order",
            )

    asyncio.run(scenario())


def test_a_file_of_0_1_0_takes_new_messages(queue: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(f"local://{queue}", tmp_path) as transport:
            await send(transport, OutgoingMessage(body="new", group_id="new"))
            assert b"new" in by_body(list(await transport.receive(10, 0)))

    asyncio.run(scenario())
