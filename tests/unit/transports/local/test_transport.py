"""What the local queue does beyond what every transport must do."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from queue_runtime.config import load_settings
from queue_runtime.errors import QueueNotFoundError, TransportError
from queue_runtime.outcome import ACK
from queue_runtime.settlement.lineage import read_facts
from queue_runtime.settlement.plan import Action, Rules, plan
from queue_runtime.testing.conformance.rig import (
    dead_letter,
    expect_none,
    in_group,
    retry,
    send,
    steps,
    take,
)
from queue_runtime.transports import open_transport
from queue_runtime.transports.base import OutgoingMessage
from queue_runtime.transports.local.transport import LOOK_EVERY_SECONDS
from queue_runtime.transports.local.wire import FACTS
from tests.movable_clock import MovableClock
from tests.unit.transports.local.rig import opened, until

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from queue_runtime.message import Message


def facts_of(message: Message[Any]) -> dict[str, object]:
    return dict(read_facts(message.native[FACTS]))


# Opening


def test_open_transport_makes_the_file_where_the_settings_say(tmp_path: Path) -> None:
    settings = load_settings(
        environ={},
        arguments={"local_directory": str(tmp_path / "a" / "b"), "visibility_seconds": 7.0},
    )

    async def scenario() -> None:
        transport = open_transport("local://orders", settings=settings, handler="take_order")
        await transport.aclose()
        assert transport.queue == "orders"
        assert transport.lock_seconds == 7
        assert not transport.ordered

    asyncio.run(scenario())
    assert (tmp_path / "a" / "b" / "orders.sqlite3").is_file()


def test_open_transport_reads_settings_as_every_command_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUEUE_LOCAL_DIRECTORY", "queues")
    transport = open_transport("local://orders")
    asyncio.run(transport.aclose())
    assert (tmp_path / "queues" / "orders.sqlite3").is_file()


def test_dead_letter_entry_names_the_handler_and_hides_the_text_where_asked(
    tmp_path: Path,
) -> None:
    settings = load_settings(
        environ={}, arguments={"local_directory": str(tmp_path), "error_text": False}
    )

    async def scenario() -> None:
        queue = open_transport("local://orders?memory", settings=settings, handler="take_order")
        aside = open_transport("local://orders/dead-letter?memory", settings=settings)
        await send(queue, OutgoingMessage(body="secret"))
        rules = Rules(lambda deliveries: 0.0, "take_order", error_text=False)
        received = await take(queue, 1)
        await queue.settle(plan(received, [dead_letter("bad")], queue.abilities, rules))
        (entry,) = await take(aside, 1)
        facts = facts_of(entry)
        assert facts["id"] == entry.id == entry.broker_id
        assert facts["handler"] == "take_order"
        assert facts["queue"] == "orders"
        assert facts["reason"] == "bad"
        assert facts["error_type"] == "ValueError"
        assert facts["deliveries"] == 1
        assert "error" not in facts
        await queue.aclose()
        await aside.aclose()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("orders", "set QUEUE_PROVIDER"),
        ("kafka://orders", "local://, sqs://, servicebus://"),
        ("local://", "names no local queue"),
        ("local://a#b", "names no local queue"),
        ("local://.hidden", "does not start with '.'"),
        ("local://a%2Fb", "names no local queue"),
        ("local://" + "a" * 81, "at most 80"),
        ("local://orders/deadletter", "local://orders/dead-letter"),
        ("local://orders?memroy", "no option 'memroy'"),
        ("local://orders?lock=1&lock=2", "each option once"),
        ("local://orders?ordered=maybe", "true or false"),
        ("local://orders?lock=0", "a number above 0"),
        ("local://orders?lock=nan", "a number above 0"),
        ("local://orders?retention=soon", "a number above 0"),
        ("local://orders?max_deliveries=1.5", "a whole number above 0"),
        ("local://orders?max_deliveries=0", "a whole number above 0"),
    ],
)
def test_url_that_names_no_queue_is_refused_with_a_sentence(url: str, says: str) -> None:
    with pytest.raises(QueueNotFoundError) as caught:
        open_transport(url, settings=load_settings(environ={}))
    assert url in str(caught.value)
    assert says in str(caught.value)


def test_lock_of_the_url_counts_over_the_settings(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened("local://q?memory&lock=2.5", tmp_path, lock_seconds=9) as queue:
            assert queue.lock_seconds == 2.5

    asyncio.run(scenario())


def test_memory_queue_lives_on_between_transports_and_makes_no_file(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened("local://kept?memory", tmp_path) as queue:
            await send(queue, OutgoingMessage(body="{}"))
        async with opened("local://kept?memory", tmp_path) as queue:
            await take(queue, 1)
            await queue.purge()
        async with opened("local://other?memory", tmp_path) as other:
            await expect_none(other)

    asyncio.run(scenario())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", ["", "memory&"])
def test_queue_stays_ordered_or_not_as_it_was_made(tmp_path: Path, options: str) -> None:
    async def scenario() -> None:
        url = f"local://made-once?{options}"
        async with opened(url + "ordered", tmp_path) as queue:
            assert queue.ordered
        async with opened(url.rstrip("?&"), tmp_path) as queue:
            assert queue.ordered
        with pytest.raises(TransportError, match="made with ordered=true and is opened with"):
            async with opened(url + "ordered=false", tmp_path):
                pass

    asyncio.run(scenario())


def test_name_that_ends_in_fifo_is_ordered(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened("local://orders.fifo", tmp_path) as queue:
            assert queue.ordered
        async with opened("local://orders.fifo/dead-letter", tmp_path) as aside:
            assert aside.ordered
            assert aside.queue == "orders.fifo/dead-letter"

    asyncio.run(scenario())


# What is sent


def test_enqueued_at_is_the_time_of_the_send_and_locks_end_on_the_monotonic_clock(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        clock = MovableClock()
        async with opened("local://q", tmp_path, clock, lock_seconds=30) as queue:
            await send(queue, OutgoingMessage(body="{}"))
            sent = clock.wall
            clock.move(5)
            (message,) = await take(queue, 1)
            assert message.enqueued_at == datetime.fromtimestamp(sent, UTC)
            assert message.locked_until == clock.since_start + 30

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (OutgoingMessage(body="{}", delay=-1), "delay"),
        (OutgoingMessage(body="{}", delay=float("nan")), "delay"),
        (OutgoingMessage(body="{}", delay=float("inf")), "delay"),
        (OutgoingMessage(body="{}", group_id=""), "group_id"),
        (OutgoingMessage(body="{}", group_id="g" * 129), "group_id"),
        (OutgoingMessage(body="{}", group_id="g\0"), "group_id"),
        (OutgoingMessage(body="{}", deduplication_id="\ud800"), "deduplication_id"),
        (OutgoingMessage(body="{}", correlation_id="\ud800"), "correlation_id"),
        (OutgoingMessage(body="half \ud800"), "body"),
        (OutgoingMessage(body={"id": 1}), "body"),  # type: ignore[arg-type]
        (OutgoingMessage(body="{}", attributes={"none": None}), "'none' is NoneType"),
        (OutgoingMessage(body="{}", attributes={"list": [1]}), "'list' is list"),
        (OutgoingMessage(body="{}", attributes={"nan": float("nan")}), "'nan' is float"),
    ],
)
def test_message_that_cannot_be_stored_is_refused_with_a_sentence(
    tmp_path: Path, message: OutgoingMessage, says: str
) -> None:
    async def scenario() -> None:
        async with opened("local://refusing?memory", tmp_path) as queue:
            (result,) = await queue.send([message])
            assert says in str(result.error)
            assert "refusing" in str(result.error)
            assert (await queue.depth()).total == 0

    asyncio.run(scenario())


def test_text_keeps_its_type_and_half_a_surrogate_in_an_attribute_survives(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened("local://q", tmp_path) as queue:
            await send(
                queue, OutgoingMessage(body="a\0b", attributes={"odd": "\ud800", "flag": True})
            )
            (message,) = await take(queue, 1)
            assert message.payload == "a\0b"
            assert message.attributes == {"odd": "\ud800", "flag": True}

    asyncio.run(scenario())


# Receiving


@pytest.mark.parametrize("options", ["", "?memory"])
def test_send_wakes_a_waiting_receive_sooner_than_it_would_look(
    tmp_path: Path, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queue_runtime.transports.local.transport.LOOK_EVERY_SECONDS", 600)

    async def scenario() -> None:
        url = f"local://woken{options}"
        async with opened(url, tmp_path) as queue, opened(url, tmp_path) as sender:
            waiting = asyncio.ensure_future(queue.receive(1, 600))
            await until(lambda: has_looked(queue))
            await send(sender, OutgoingMessage(body="{}"))
            (message,) = await waiting
            await queue.settle(steps(queue, [(message, ACK)]))

    asyncio.run(scenario())


def has_looked(queue: object) -> bool:
    arrivals = queue._queue.arrivals  # type: ignore[attr-defined]
    return any(arrival._future._callbacks for arrival in arrivals._waiting)


def test_retry_and_released_group_wake_a_waiting_receive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queue_runtime.transports.local.transport.LOOK_EVERY_SECONDS", 600)

    async def scenario() -> None:
        async with opened("local://q.fifo", tmp_path) as queue:
            await send(queue, *in_group("a", "a1", "a2"))
            (first,) = await queue.receive(1, 0)
            for outcome in (retry(0), ACK):
                waiting = asyncio.ensure_future(queue.receive(1, 600))
                await until(lambda: has_looked(queue))
                await queue.settle(steps(queue, [(first, outcome)]))
                (first,) = await waiting

    asyncio.run(scenario())


def test_close_ends_a_waiting_receive_at_once_and_with_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queue_runtime.transports.local.transport.LOOK_EVERY_SECONDS", 600)

    async def scenario() -> None:
        async with opened("local://q", tmp_path) as queue:
            waiting = asyncio.ensure_future(queue.receive(1, 600))
            await until(lambda: has_looked(queue))
            await queue.aclose()
            assert await waiting == []

    asyncio.run(scenario())


def test_message_of_another_process_is_seen_without_being_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened("local://q", tmp_path) as queue:
            waiting = asyncio.create_task(take(queue, 1))
            await until(lambda: has_looked(queue))
            # As another process does it: nobody in this one is told.
            with sqlite3.connect(tmp_path / "q.sqlite3") as db:
                db.execute(
                    "INSERT INTO message (shelf, due, sent, id, body) VALUES (0, 1, 1, 'x', '{}')"
                )
            db.close()
            (message,) = await waiting
            assert message.id == "x"

    asyncio.run(scenario())
    assert LOOK_EVERY_SECONDS <= 0.05


def test_receive_gives_no_more_than_a_hundred(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened("local://q", tmp_path) as queue:
            await send(queue, *(OutgoingMessage(body="{}") for _ in range(150)))
            assert len(await queue.receive(1_000, 0)) == queue.batch_size == 100
            assert await queue.receive(0, 0) == []
            assert len(await queue.receive(1_000, 0)) == 50

    asyncio.run(scenario())


def test_groups_share_a_receive(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened("local://q.fifo", tmp_path) as queue:
            await send(queue, *in_group("long", *map(str, range(10))), *in_group("short", "s"))
            messages = await queue.receive(6, 0)
            assert [message.body for message in messages if message.group_id == "long"] == [
                b"0",
                b"1",
                b"2",
            ]
            assert b"s" in [message.body for message in messages]

    asyncio.run(scenario())


def test_locked_later_message_holds_its_group_though_the_first_was_given_back(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with opened("local://q.fifo", tmp_path) as queue:
            await send(queue, *in_group("a", "a1", "a2"))
            first, second = await queue.receive(2, 0)
            await queue.settle(steps(queue, [(first, retry(0))]))
            await expect_none(queue)
            await queue.settle(steps(queue, [(second, retry(0))]))
            assert [m.body for m in await queue.receive(2, 0)] == [b"a1", b"a2"]

    asyncio.run(scenario())


def test_renewed_later_message_holds_its_group_though_the_lock_of_the_first_has_ended(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        clock = MovableClock()
        async with opened("local://q.fifo", tmp_path, clock, lock_seconds=30) as queue:
            await send(queue, *in_group("a", "a1", "a2"))
            _, second = await queue.receive(2, 0)
            clock.move(20)
            assert not await queue.renew([second])
            clock.move(15)
            await expect_none(queue)
            clock.move(20)
            assert [m.body for m in await queue.receive(2, 0)] == [b"a1", b"a2"]

    asyncio.run(scenario())


def test_delayed_message_in_a_group_ends_what_is_given_of_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = MovableClock()
        async with opened("local://q.fifo", tmp_path, clock) as queue:
            await send(
                queue,
                OutgoingMessage(body="1", group_id="a"),
                OutgoingMessage(body="2", group_id="a", delay=10),
                OutgoingMessage(body="3", group_id="a"),
            )
            assert [m.body for m in await queue.receive(9, 0)] == [b"1"]

    asyncio.run(scenario())


def test_cancelled_receive_is_no_delivery(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened("local://q.fifo", tmp_path) as queue:
            await send(queue, *in_group("a", "a1"))
            loop = asyncio.get_running_loop()
            given_back = 0
            for yields in range(200):
                receive = asyncio.ensure_future(queue.receive(1, 0))
                for _ in range(yields % 8):
                    await asyncio.sleep(0)
                # Off and on, long enough for the other thread to have locked the message.
                if yields % 3 == 0:
                    await loop.run_in_executor(None, sum, range(20_000))
                receive.cancel()
                await asyncio.wait([receive])
                if not receive.cancelled():
                    (message,) = receive.result()
                    assert message.delivery_count == 1
                    await queue.settle(steps(queue, [(message, ACK)]))
                    await send(queue, *in_group("a", "a1"))
                    continue
                given_back += 1
                await until(lambda: is_visible(queue))
            assert given_back

    async def is_visible(queue: object) -> bool:
        return bool((await queue.depth()).visible == 1)  # type: ignore[attr-defined]

    asyncio.run(scenario())


# What ends a message


def test_expired_message_is_put_aside_and_in_the_dead_letters_removed(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = MovableClock()
        async with opened("local://q.fifo?retention=60", tmp_path, clock) as queue:
            await send(queue, *in_group("a", *map(str, range(150))))
            (held,) = await queue.receive(1, 0)
            clock.move(61)
            await send(queue, *in_group("b", "fresh"))
            (fresh,) = await queue.receive(10, 0)
            assert fresh.body == b"fresh"
            assert (await queue.depth())[:4] == (0, 2, 0, 149)
            assert not await queue.settle(steps(queue, [(held, ACK)]))
        async with opened("local://q.fifo/dead-letter", tmp_path, clock) as aside:
            (entry,) = await aside.receive(1, 0)
            assert entry.body == b"1"
            assert "expired" in str(facts_of(entry)["reason"])
            assert facts_of(entry)["deliveries"] == 0
        async with opened("local://q.fifo/dead-letter?retention=10", tmp_path, clock) as aside:
            await expect_none(aside)
            assert (await aside.depth())[:4] == (0, 1, 0, None)

    asyncio.run(scenario())


def test_message_that_ends_its_process_each_time_is_put_aside(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = MovableClock()
        async with opened("local://q?max_deliveries=2", tmp_path, clock, lock_seconds=5) as queue:
            await send(queue, OutgoingMessage(body="killer"))
            for _ in range(2):
                await take(queue, 1)
                clock.move(6)
            await send(queue, OutgoingMessage(body="good"))
            (message,) = await queue.receive(1, 0)
            assert message.body == b"good"
        async with opened("local://q/dead-letter", tmp_path, clock) as aside:
            (entry,) = await take(aside, 1)
            assert "received 2 times" in str(facts_of(entry)["reason"])
            assert facts_of(entry)["deliveries"] == 2

    asyncio.run(scenario())


def test_dead_letter_cannot_be_put_aside_again_and_comes_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = MovableClock()
        async with opened("local://q/dead-letter", tmp_path, clock) as aside:
            await send(aside, OutgoingMessage(body="{}"))
            (entry,) = await take(aside, 1)
            (step,) = steps(aside, [(entry, dead_letter("again"))])
            reason = "again (not dead-lettered: it is in the dead-letter queue)"
            assert (step.action, step.outcome.reason) == (Action.GIVE_BACK, reason)
            assert not await aside.settle([step])
            assert [each.id for each in await take(aside, 1)] == [entry.id]

    asyncio.run(scenario())


def test_receipt_of_a_dead_letter_is_good_for_the_dead_letters_only(tmp_path: Path) -> None:
    async def scenario() -> None:
        url = "local://q"
        async with opened(url, tmp_path) as queue, opened(f"{url}/dead-letter", tmp_path) as aside:
            await send(aside, OutgoingMessage(body="{}"))
            (entry,) = await take(aside, 1)
            (failure,) = await queue.settle(steps(queue, [(entry, ACK)]))
            assert failure.message is entry
            assert not await aside.settle(steps(aside, [(entry, ACK)]))

    asyncio.run(scenario())


def test_redriven_message_starts_anew_with_its_identity(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened("local://q", tmp_path) as queue:
            await send(queue, OutgoingMessage(body="{}"))
            (first,) = await take(queue, 1)
            await queue.settle(steps(queue, [(first, dead_letter("bad"))]))
            async with opened("local://q/dead-letter", tmp_path) as aside:
                (entry,) = await take(aside, 1)
            carried = {"queue_runtime": json.dumps({"id": entry.id})}
            await send(queue, OutgoingMessage(body=entry.payload, attributes=carried))
            (again,) = await take(queue, 1)
            assert again.id == first.id
            assert again.broker_id != first.broker_id
            assert again.delivery_count == 1

    asyncio.run(scenario())


def test_depth_tells_ages_and_dead_letters(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = MovableClock()
        async with opened("local://q", tmp_path, clock) as queue:
            assert await queue.depth() == (0, 0, 0, 0, 0.0)
            await send(queue, OutgoingMessage(body="a"), OutgoingMessage(body="b"))
            await queue.settle(steps(queue, [((await take(queue, 1))[0], dead_letter("bad"))]))
            clock.move(30)
            await send(queue, OutgoingMessage(body="c", delay=1))
            assert await queue.depth() == (1, 0, 1, 1, 30.0)

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_purge_removes_what_is_locked_too_and_leaves_the_dead_letters(
    tmp_path: Path, name: str
) -> None:
    async def scenario() -> None:
        async with opened(f"local://{name}", tmp_path) as queue:
            await send(queue, *in_group("a", "1", "2", "3"))
            (bad,) = await queue.receive(1, 0)
            await queue.settle(steps(queue, [(bad, dead_letter("bad"))]))
            (held,) = await queue.receive(1, 0)
            assert await queue.purge() == 2
            assert (await queue.depth())[:4] == (0, 0, 0, 1)
            (failure,) = await queue.settle(steps(queue, [(held, ACK)]))
            assert held.id in str(failure.error)
            await send(queue, *in_group("a", "4"))
            assert [m.body for m in await queue.receive(9, 0)] == [b"4"]

    asyncio.run(scenario())


def test_receipt_of_a_removed_message_does_not_fit_a_later_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened("local://q", tmp_path) as queue:
            await send(queue, OutgoingMessage(body="early"))
            (early,) = await take(queue, 1)
            await queue.settle(steps(queue, [(early, ACK)]))
            await send(queue, OutgoingMessage(body="late"))
            (late,) = await take(queue, 1)
            assert late.receipt[0] == early.receipt[0]  # the row's number is used again
            (failure,) = await queue.settle(steps(queue, [(early, ACK)]))
            assert failure.message is early
            assert not await queue.settle(steps(queue, [(late, ACK)]))

    asyncio.run(scenario())
