"""The SQS transport over the broker, where the suite of all transports has nothing to ask."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime.errors import (
    AccessDeniedError,
    LockLostError,
    MessageTooLargeError,
    QueueNotFoundError,
    TransportError,
)
from queue_runtime.observability.events import events
from queue_runtime.outcome import ACK, Disposition, Outcome
from queue_runtime.testing.conformance.rig import acknowledged, steps
from queue_runtime.transports import open_transport
from queue_runtime.transports.base import OutgoingMessage, refused
from tests.brokers.sqs import Cut, Fail, FailEntries, Kind, Latency, SqsBroker, Throttle
from tests.movable_clock import MovableClock
from tests.sqs_rig import aws_environment, open_queue, received, sqs_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from queue_runtime.transports.sqs.transport import SqsTransport


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[SqsBroker]:
    monkeypatch.setattr(events, "_said", set())
    with SqsBroker() as broker:
        aws_environment(monkeypatch, broker.endpoint_url)
        yield broker


def with_queue(
    test: Callable[[SqsTransport], Awaitable[None]], name: str = "orders", **values: Any
) -> None:
    async def run() -> None:
        queue = open_queue(name, **values)
        try:
            await test(queue)
        finally:
            await queue.aclose()

    asyncio.run(run())


def with_dead_letters(broker: SqsBroker, suffix: str = "", **attributes: Any) -> None:
    broker.create_queue(f"dead{suffix}")
    redrive = {"deadLetterTargetArn": broker.arn(f"dead{suffix}"), "maxReceiveCount": 100}
    broker.create_queue(f"orders{suffix}", RedrivePolicy=redrive, **attributes)


def dead_letter() -> Outcome:
    return Outcome(Disposition.DEAD_LETTER, reason="bad")


def retry(delay: float | None) -> Outcome:
    return Outcome(Disposition.RETRY, delay=delay)


# --- what is read and checked at the first use


def test_nothing_is_asked_before_the_first_use(broker: SqsBroker) -> None:
    queue = open_transport("sqs://orders", settings=sqs_settings())
    assert (queue.queue, queue.ordered, queue.lock_seconds) == ("orders", False, 300)
    asyncio.run(queue.aclose())
    assert not broker.journal.calls


def test_debug_tells_what_sqs_says_of_the_queue(
    broker: SqsBroker, caplog: pytest.LogCaptureFixture
) -> None:
    with_dead_letters(broker, VisibilityTimeout="77")

    async def look(queue: SqsTransport) -> None:
        await queue.depth()

    with caplog.at_level("DEBUG", "queue_runtime"):
        with_queue(look)
    (line,) = [r.getMessage() for r in caplog.records if " is arn:" in r.getMessage()]
    assert line.startswith(f"orders is {broker.arn('orders')} at 127.0.0.1: visibility 77 s, ")
    assert f"redriven to {broker.arn('dead')} after 100 receives" in line


def test_the_dead_letter_queue_is_found_in_the_redrive_policy(broker: SqsBroker) -> None:
    with_dead_letters(broker)
    broker.fill("orders", 1, "body")

    async def test(queue: SqsTransport) -> None:
        (message,) = await received(queue)
        assert not await queue.settle(steps(queue, [(message, dead_letter())]))

    with_queue(test)
    assert (broker.counts("orders").in_flight, broker.counts("dead").visible) == (0, 1)


def test_a_configured_dead_letter_queue_comes_before_the_policys(broker: SqsBroker) -> None:
    with_dead_letters(broker)
    broker.create_queue("mine")
    broker.fill("orders", 1, "body")

    async def test(queue: SqsTransport) -> None:
        (message,) = await received(queue)
        assert not await queue.settle(steps(queue, [(message, dead_letter())]))

    with_queue(test, dead_letter="mine")
    assert (broker.counts("mine").visible, broker.counts("dead").visible) == (1, 0)


def test_dead_letters_are_looked_into_with_the_settings_of_their_queue(broker: SqsBroker) -> None:
    with_dead_letters(broker)
    broker.fill("dead", 1, "body")

    async def test(queue: SqsTransport) -> None:
        assert (await queue.depth()).dead_lettered is None
        (message,) = await received(queue)
        (failure,) = await queue.settle(steps(queue, [(message, dead_letter())]))
        assert "no dead-letter queue is configured" in str(failure.error)

    with_queue(test, "dead", dead_letter=broker.arn("dead"))


def test_a_dead_letter_queue_that_is_not_there_is_said_before_it_is_needed(
    broker: SqsBroker,
) -> None:
    broker.create_queue("orders")

    async def test(queue: SqsTransport) -> None:
        for _ in range(2):
            with pytest.raises(QueueNotFoundError, match=r"arn:aws:sqs:\S+:deda is not there"):
                await queue.receive(1, 0)

    with_queue(test, dead_letter="deda")


def test_a_dead_letter_queue_that_may_not_be_asked_is_taken_for_there(broker: SqsBroker) -> None:
    with_dead_letters(broker)
    broker.fill("orders", 1, "body")
    broker.faults.add(Fail("AccessDenied", 403), calls=["GetQueueAttributes"], queue="dead")

    async def test(queue: SqsTransport) -> None:
        assert await received(queue)

    with_queue(test, dead_letter="dead")


def test_misfits_are_said_once_and_only_to_who_receives(
    broker: SqsBroker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.create_queue("dead")
    redrive = {"deadLetterTargetArn": broker.arn("dead"), "maxReceiveCount": 6}
    broker.create_queue("orders", RedrivePolicy=redrive, VisibilityTimeout=600)

    async def test(queue: SqsTransport) -> None:
        await queue.send([OutgoingMessage(body="x")])
        assert not caplog.records
        await received(queue)
        await queue.receive(1, 0)

    with_queue(test, max_deliveries=4)
    assert [record.operation for record in caplog.records] == [  # type: ignore[attr-defined]
        "redrive_count",
        "visibility",
    ]
    assert "set maxReceiveCount to 7 or more" in caplog.text
    assert "visibility timeout is 600 s" in caplog.text


def test_settings_that_fit_are_not_spoken_of(
    broker: SqsBroker, caplog: pytest.LogCaptureFixture
) -> None:
    with_dead_letters(broker, VisibilityTimeout=300)

    async def test(queue: SqsTransport) -> None:
        await queue.receive(1, 0)

    with_queue(test)
    assert not caplog.records


def test_a_queue_whose_attributes_may_not_be_read_works_with_a_warning(
    broker: SqsBroker, caplog: pytest.LogCaptureFixture
) -> None:
    with_dead_letters(broker)
    broker.faults.add(Fail("AccessDenied", 403), calls=["GetQueueAttributes"])

    async def test(queue: SqsTransport) -> None:
        assert not refused(await queue.send([OutgoingMessage(body="x")]))
        (message,) = await received(queue)
        (failure,) = await queue.settle(steps(queue, [(message, dead_letter())]))
        assert "no dead-letter queue is configured" in str(failure.error)
        assert not await queue.settle(steps(queue, [(message, ACK)]))

    with_queue(test)
    assert "allow sqs:GetQueueAttributes" in caplog.text


def test_a_queue_by_account_or_arn_needs_no_permission_to_find_it(broker: SqsBroker) -> None:
    broker.create_queue("orders")

    async def test(queue: SqsTransport) -> None:
        assert await queue.receive(1, 0) == []

    with_queue(test, "123456789012/orders")
    with_queue(test, "arn:aws:sqs:us-east-1:123456789012:orders")
    assert broker.journal.calls["ReceiveMessage"] == 2
    assert broker.journal.calls["GetQueueUrl"] == 0


def test_a_url_of_another_host_leads_there(
    broker: SqsBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = broker.create_queue("orders")
    monkeypatch.delenv("AWS_ENDPOINT_URL_SQS")

    async def test(queue: SqsTransport) -> None:
        assert not refused(await queue.send([OutgoingMessage(body="x")]))

    with_queue(test, url)
    assert broker.counts("orders").visible == 1


@pytest.mark.parametrize(
    ("call", "code", "kind", "fix"),
    [
        ("GetQueueUrl", "AccessDenied", AccessDeniedError, "allow sqs:GetQueueUrl"),
        ("ReceiveMessage", "AccessDenied", AccessDeniedError, "allow sqs:ReceiveMessage"),
        ("ReceiveMessage", "KMS.AccessDeniedException", AccessDeniedError, "kms:Decrypt"),
        ("ReceiveMessage", "InternalFailure", TransportError, "InternalFailure"),
    ],
)
def test_a_request_that_is_refused_says_what_to_do(
    broker: SqsBroker, call: str, code: str, kind: type[TransportError], fix: str
) -> None:
    broker.create_queue("orders")
    broker.faults.add(Fail(code, 403), calls=[call])

    async def test(queue: SqsTransport) -> None:
        with pytest.raises(TransportError) as refused:
            await queue.receive(1, 0)
        assert type(refused.value) is kind
        assert fix in str(refused.value)

    with_queue(test)


def test_a_missing_queue_says_so(broker: SqsBroker) -> None:
    async def test(queue: SqsTransport) -> None:
        with pytest.raises(QueueNotFoundError, match="no such queue in this account and region"):
            await queue.receive(1, 0)

    with_queue(test)
    with_queue(test, "123456789012/orders")


def test_without_credentials_or_region_it_says_what_to_set(
    broker: SqsBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    async def refused(queue: SqsTransport) -> None:
        with pytest.raises(AccessDeniedError, match=r"NoCredentialsError.*AWS_PROFILE"):
            await queue.receive(1, 0)

    with_queue(refused)
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")

    async def nowhere(queue: SqsTransport) -> None:
        with pytest.raises(QueueNotFoundError, match="set AWS_REGION"):
            await queue.receive(1, 0)

    with_queue(nowhere, aws_region=None)


def test_the_region_may_come_from_the_sdks_own_configuration(broker: SqsBroker) -> None:
    broker.create_queue("orders")

    async def test(queue: SqsTransport) -> None:
        assert await queue.receive(1, 0) == []

    with_queue(test, aws_region=None)


def test_credentials_that_expired_are_read_anew(
    broker: SqsBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.create_queue("orders")
    broker.fill("orders", 1, "x")

    async def test(queue: SqsTransport) -> None:
        await queue.depth()
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        assert (await queue.depth()).visible == 1  # what it has still serves
        broker.faults.add(Fail("ExpiredToken", 403), times=1)
        with pytest.raises(AccessDeniedError, match="ExpiredToken"):
            await queue.receive(1, 0)
        with pytest.raises(AccessDeniedError, match=r"PartialCredentialsError|NoCredentialsError"):
            await queue.receive(1, 0)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
        (message,) = await received(queue)
        broker.faults.add(Fail("ExpiredToken", 403), times=1)
        (failure,) = await queue.settle(steps(queue, [(message, ACK)]))
        assert isinstance(failure.error, AccessDeniedError)
        assert not await queue.settle(steps(queue, [(message, ACK)]))

    with_queue(test)


# --- receiving


def test_a_lost_answer_of_a_fifo_queue_is_asked_for_again(broker: SqsBroker) -> None:
    broker.create_queue("orders.fifo")
    broker.fill("orders.fifo", 3, "x")

    async def test(queue: SqsTransport) -> None:
        broker.faults.add(Cut(after_effect=True), calls=["ReceiveMessage"], times=1)
        with pytest.raises(TransportError, match="ConnectionClosedError"):
            await queue.receive(10, 0)
        messages = await queue.receive(10, 0)
        assert [message.delivery_count for message in messages] == [1, 1, 1]

    with_queue(test, "orders.fifo")
    assert broker.journal.totals[Kind.RECEIVE_REPEATED] == 3


def test_a_lost_answer_is_not_asked_for_again_when_its_lock_is_half_over(
    broker: SqsBroker,
) -> None:
    broker.create_queue("orders.fifo")
    broker.fill("orders.fifo", 1, "x")
    clock = MovableClock()

    async def test(queue: SqsTransport) -> None:
        broker.faults.add(Cut(after_effect=True), calls=["ReceiveMessage"], times=1)
        with pytest.raises(TransportError):
            await queue.receive(10, 0)
        clock.move(51)
        assert await queue.receive(10, 0) == []

    with_queue(test, "orders.fifo", clock=clock, visibility_seconds=100)


@pytest.mark.parametrize(("lock", "seconds"), [(300, 20), (60, 20), (30, 10), (4, 1), (0.5, 1)])
def test_no_long_poll_uses_up_its_own_lock(
    broker: SqsBroker, lock: float, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(queue: SqsTransport) -> None:
        assert queue.lock_seconds == max(2, lock)
        assert queue._queue.longest_poll() == seconds

    with_queue(test, visibility_seconds=lock)


def test_a_wait_of_half_a_minute_is_two_long_polls(broker: SqsBroker) -> None:
    broker.create_queue("orders")

    async def test(queue: SqsTransport) -> None:
        receive = asyncio.create_task(_receive(queue, 30))
        await _until(lambda: broker.journal.calls["ReceiveMessage"] == 1)
        broker.clock.advance(20)  # ends the first poll; the wait itself goes by the real clock
        await _until(lambda: broker.journal.calls["ReceiveMessage"] == 2)
        broker.fill("orders", 1, "x")
        receive.cancel()
        await asyncio.wait([receive])

    with_queue(test)


def test_a_lock_counts_from_before_the_request(broker: SqsBroker) -> None:
    broker.create_queue("orders")
    broker.fill("orders", 1, "x")
    clock = MovableClock()

    async def test(queue: SqsTransport) -> None:
        before = clock.monotonic()
        (message,) = await received(queue)
        assert message.locked_until == before + 100

    with_queue(test, clock=clock, visibility_seconds=100)


def test_a_cancelled_receive_gives_what_was_on_its_way(broker: SqsBroker) -> None:
    broker.create_queue("orders")
    broker.fill("orders", 1, "x")

    async def test(queue: SqsTransport) -> None:
        await queue.depth()
        receive = asyncio.create_task(_receive(queue, 20))
        await asyncio.sleep(0)  # lets it begin
        # This loop stands still until SQS has locked the message.
        broker.journal.wait_until(lambda: broker.journal.totals[Kind.RECEIVED] == 1)
        receive.cancel()
        await asyncio.wait([receive])
        assert not await queue.settle(acknowledged(queue, receive.result()))

    with_queue(test)
    assert broker.counts("orders") == (0, 0, 0)


def test_a_receive_that_is_given_up_while_its_queue_is_found_takes_nothing(
    broker: SqsBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.create_queue("orders")
    broker.fill("orders", 10, "x")
    broker.faults.add(Latency(0.5), calls=["GetQueueAttributes"], times=1)

    async def test(queue: SqsTransport) -> None:
        monkeypatch.setattr(queue._receives, "_end_seconds", 0.05)
        monkeypatch.setattr("queue_runtime.transports.threads._ANSWERS_SECONDS", 0.0)
        receive = asyncio.create_task(_receive(queue, 20))
        await _until(lambda: broker.journal.calls["GetQueueUrl"] == 1)
        receive.cancel()
        await asyncio.wait([receive])
        assert receive.cancelled()
        # What it brings all the same is given back as soon as it comes.
        await _until(lambda: broker.journal.totals[Kind.RECEIVED] == 10)
        await _until(lambda: broker.counts("orders").in_flight == 0)

    with_queue(test)


def test_a_transport_that_is_closed_while_its_queue_is_found_takes_nothing(
    broker: SqsBroker,
) -> None:
    broker.create_queue("orders")
    broker.fill("orders", 10, "x")
    broker.faults.add(Latency(0.3), calls=["GetQueueAttributes"], times=1)

    async def test(queue: SqsTransport) -> None:
        receive = asyncio.create_task(_receive(queue, 20))
        await _until(lambda: broker.journal.calls["GetQueueUrl"] == 1)
        await queue.aclose()
        assert await receive == []

    with_queue(test)
    assert broker.journal.calls["ReceiveMessage"] == 0


def test_receives_cancelled_together_take_each_message_once(broker: SqsBroker) -> None:
    broker.create_queue("orders")
    broker.fill("orders", 10, "x")

    async def test(queue: SqsTransport) -> None:
        for _ in range(10):
            before = broker.journal.calls["ReceiveMessage"]
            receives = [asyncio.create_task(_receive(queue, 20)) for _ in range(12)]
            await _until(lambda before=before: broker.journal.calls["ReceiveMessage"] > before)  # type: ignore[misc]
            for receive in receives:
                receive.cancel()
            await asyncio.wait(receives)
            got = [
                message for each in receives if not each.cancelled() for message in each.result()
            ]
            assert len(got) == broker.counts("orders").in_flight
            assert not await queue.settle(steps(queue, [(message, retry(0)) for message in got]))

    with_queue(test)


def test_closing_ends_a_long_poll_at_once_and_leaves_what_is_sent_later(
    broker: SqsBroker,
) -> None:
    broker.create_queue("orders")

    async def run() -> None:
        queue = open_queue("orders")
        receive = asyncio.create_task(_receive(queue, 600))
        await _until(lambda: broker.journal.calls["ReceiveMessage"] == 1)
        async with asyncio.timeout(30):
            await queue.aclose()
        assert await receive == []

    asyncio.run(run())
    broker.fill("orders", 1, "x")
    assert broker.counts("orders").visible == 1


# --- settling


def test_a_stale_message_is_never_deleted(broker: SqsBroker) -> None:
    broker.create_queue("orders")
    broker.fill("orders", 1, "x")
    clock = MovableClock()

    async def test(queue: SqsTransport) -> None:
        (message,) = await received(queue)
        clock.move(100)
        for outcome in (ACK, retry(5), dead_letter()):
            (failure,) = await queue.settle(steps(queue, [(message, outcome)]))
            assert isinstance(failure.error, LockLostError)
        (failure,) = await queue.renew([message])
        assert isinstance(failure.error, LockLostError)

    with_queue(test, clock=clock, visibility_seconds=100)
    assert broker.journal.calls["DeleteMessageBatch"] == 0
    assert broker.journal.calls["ChangeMessageVisibilityBatch"] == 0


def test_each_entry_of_a_delete_fails_for_itself(broker: SqsBroker) -> None:
    broker.create_queue("orders")
    broker.fill("orders", 5, "x")

    async def test(queue: SqsTransport) -> None:
        messages = await received(queue)
        broker.faults.add(FailEntries(ids=("1", "3")), calls=["DeleteMessageBatch"])
        failures = await queue.settle(acknowledged(queue, messages))
        assert [failure.message for failure in failures] == [messages[1], messages[3]]
        assert "InternalError" in str(failures[0].error)
        assert messages[1].id in str(failures[0].error)

    with_queue(test)
    assert broker.counts("orders").in_flight == 2


def test_twenty_five_outcomes_are_three_requests(broker: SqsBroker) -> None:
    broker.create_queue("orders")
    broker.fill("orders", 25, "x")

    async def test(queue: SqsTransport) -> None:
        messages = [m for _ in range(3) for m in await received(queue)]
        assert not await queue.settle(acknowledged(queue, messages))

    with_queue(test)
    assert broker.journal.calls["DeleteMessageBatch"] == 3
    assert broker.counts("orders").in_flight == 0


@pytest.mark.parametrize(
    ("delay", "age", "hidden"), [(0.1, 0, 1), (30.5, 0, 31), (1e9, 0, 43_200), (1e9, 90, 43_110)]
)
def test_a_retry_is_late_rather_than_early_and_within_twelve_hours(
    broker: SqsBroker, delay: float, age: int, hidden: int
) -> None:
    broker.create_queue("orders")
    broker.fill("orders", 1, "x")
    clock = MovableClock()

    async def test(queue: SqsTransport) -> None:
        (message,) = await received(queue)
        clock.move(age)
        assert not await queue.settle(steps(queue, [(message, retry(delay))]))

    with_queue(test, clock=clock, visibility_seconds=100)
    (event,) = broker.journal.events(Kind.VISIBILITY_CHANGED)
    assert float(event.detail) == hidden


def test_a_renewal_ends_with_twelve_hours(broker: SqsBroker) -> None:
    broker.create_queue("orders")
    broker.fill("orders", 1, "x")
    clock = MovableClock()

    def pass_time(seconds: float) -> None:
        clock.move(seconds)
        broker.clock.advance(seconds)

    async def test(queue: SqsTransport) -> None:
        (message,) = await received(queue)
        began = clock.monotonic()
        for hour in range(11):
            pass_time(3_500)
            assert not await queue.renew([message]), hour
        pass_time(3_500)
        assert not await queue.renew([message])
        assert message.locked_until == began + 43_200
        requests = broker.journal.calls["ChangeMessageVisibilityBatch"]
        pass_time(100)
        assert not await queue.renew([message])
        assert broker.journal.calls["ChangeMessageVisibilityBatch"] == requests
        pass_time(1_200)
        (failure,) = await queue.renew([message])
        assert isinstance(failure.error, LockLostError)

    with_queue(test, clock=clock, visibility_seconds=3_600)


def test_a_throttled_renewal_moves_no_lock(broker: SqsBroker) -> None:
    broker.create_queue("orders")
    broker.fill("orders", 2, "x")

    async def test(queue: SqsTransport) -> None:
        messages = await received(queue)
        until = [message.locked_until for message in messages]
        broker.faults.add(Throttle(), times=1)
        failures = await queue.renew(messages)
        assert [type(failure.error) for failure in failures] == [TransportError] * 2
        assert [message.locked_until for message in messages] == until

    with_queue(test)


def test_a_dead_letter_is_copied_once_though_its_delete_fails(broker: SqsBroker) -> None:
    with_dead_letters(broker)
    broker.fill("orders", 1, "x")

    async def test(queue: SqsTransport) -> None:
        (message,) = await received(queue)
        broker.faults.add(FailEntries(), calls=["DeleteMessageBatch"], times=1)
        (failure,) = await queue.settle(steps(queue, [(message, dead_letter())]))
        assert type(failure.error) is TransportError
        # What a poller does of a dead-letter that failed.
        assert not await queue.settle(steps(queue, [(message, retry(5))]))

    with_queue(test)
    assert (broker.counts("orders").in_flight, broker.counts("dead").visible) == (0, 1)


def test_a_dead_letter_that_could_not_be_copied_is_still_there(broker: SqsBroker) -> None:
    with_dead_letters(broker)
    broker.fill("orders", 2, "x")

    async def test(queue: SqsTransport) -> None:
        first, second = await received(queue)
        rule = FailEntries("AccessDenied", ids=("0",))
        broker.faults.add(rule, calls=["SendMessageBatch"])
        (failure,) = await queue.settle(
            steps(queue, [(first, dead_letter()), (second, dead_letter())])
        )
        assert failure.message is first
        assert "sqs:SendMessage on the dead-letter queue" in str(failure.error)

    with_queue(test)
    assert (broker.counts("orders").in_flight, broker.counts("dead").visible) == (1, 1)


def test_a_dead_letter_is_sent_once_however_long_its_original_stays(broker: SqsBroker) -> None:
    with_dead_letters(broker)
    broker.fill("orders", 2, "x")
    clock = MovableClock()

    async def test(queue: SqsTransport) -> None:
        first, second = await received(queue)
        rule = broker.faults.add(Fail("AccessDenied", 403), calls=["DeleteMessageBatch"])
        outcome = dead_letter()
        (failure,) = await queue.settle(steps(queue, [(first, outcome)]))
        assert failure.is_made
        clock.move(90)
        assert not await queue.renew([first, second])
        clock.move(20)
        await queue.settle(steps(queue, [(second, dead_letter())]))
        broker.faults.remove(rule)
        assert not await queue.settle(steps(queue, [(first, outcome)]))

    with_queue(test, clock=clock, visibility_seconds=100)
    assert broker.counts("dead").visible == 2


def test_a_fifo_dead_letter_keeps_its_group_and_says_why(broker: SqsBroker) -> None:
    with_dead_letters(broker, ".fifo")

    async def test(queue: SqsTransport) -> None:
        await queue.send([OutgoingMessage(body="x", group_id="g")])
        (message,) = await received(queue)
        assert not await queue.settle(steps(queue, [(message, dead_letter())]))
        aside = open_queue("dead.fifo")
        (copy,) = await received(aside)
        await aside.aclose()
        assert (copy.id, copy.group_id, copy.delivery_count) == (message.id, "g", 1)
        facts = json.loads(copy.native["MessageAttributes"]["queue_runtime"]["StringValue"])
        assert (facts["reason"], facts["handler"], facts["queue"]) == ("bad", "m.f", "orders.fifo")

    with_queue(test, "orders.fifo")


# --- sending and counting


def test_a_send_is_split_by_tens_and_by_a_mebibyte(broker: SqsBroker) -> None:
    broker.create_queue("orders")

    async def test(queue: SqsTransport) -> None:
        assert not refused(await queue.send([OutgoingMessage(body=str(n)) for n in range(25)]))
        assert broker.journal.calls["SendMessageBatch"] == 3
        assert not refused(await queue.send([OutgoingMessage(body="x" * 400_000)] * 3))
        assert broker.journal.calls["SendMessageBatch"] == 5

    with_queue(test)
    assert broker.counts("orders").visible == 28


def test_failures_of_a_send_keep_their_positions(broker: SqsBroker) -> None:
    broker.create_queue("orders", MaximumMessageSize=2_000)

    async def test(queue: SqsTransport) -> None:
        broker.faults.add(FailEntries(ids=("1",)), calls=["SendMessageBatch"], times=1)
        bodies = ["a", "x" * 2_001, "b", "c"]
        results = await queue.send([OutgoingMessage(body=body) for body in bodies])
        kinds = [type(result.error) for result in results]
        assert kinds == [type(None), MessageTooLargeError, TransportError, type(None)]
        assert [result.broker_id is None for result in results] == [False, True, True, False]
        assert all("orders" in str(error) for error in refused(results).values())

    with_queue(test)
    assert broker.counts("orders").visible == 2


def test_content_that_deduplicates_itself_is_left_to_the_queue(broker: SqsBroker) -> None:
    broker.create_queue("orders.fifo", ContentBasedDeduplication=True)
    broker.create_queue("plain.fifo")

    async def test(queue: SqsTransport) -> None:
        assert not refused(await queue.send([OutgoingMessage(body="same", group_id="g")] * 2))

    with_queue(test, "orders.fifo")
    with_queue(test, "plain.fifo")
    assert broker.counts("orders.fifo").visible == 1
    assert broker.counts("plain.fifo").visible == 2


def test_depth_counts_the_dead_letters_too(broker: SqsBroker) -> None:
    with_dead_letters(broker)
    broker.create_queue("alone")
    broker.fill("dead", 3, "x")
    broker.fill("orders", 2, "x")

    async def test(queue: SqsTransport) -> None:
        depth = await queue.depth()
        assert (depth.visible, depth.dead_lettered, depth.oldest_seconds) == (2, 3, None)

    async def without(queue: SqsTransport) -> None:
        assert (await queue.depth()).dead_lettered is None

    with_queue(test)
    with_queue(without, "alone")
    with_queue(without, dead_letter="missing")


# --- connections


def test_a_connection_that_the_server_closed_meanwhile_costs_nothing(broker: SqsBroker) -> None:
    broker.create_queue("orders")

    async def test(queue: SqsTransport) -> None:
        assert not refused(await queue.send([OutgoingMessage(body="x")]))
        broker.drop_connections()
        await _until(lambda: not broker._connections)
        assert not refused(await queue.send([OutgoingMessage(body="x")]))
        assert len(await received(queue)) == 2

    with_queue(test)


def test_a_server_that_is_gone_is_an_outage(
    broker: SqsBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.stop()

    async def test(queue: SqsTransport) -> None:
        with pytest.raises(TransportError, match="EndpointConnectionError") as down:
            await queue.receive(1, 0)
        assert type(down.value) is TransportError

    with_queue(test)


def test_the_threads_of_a_transport_end_with_it(broker: SqsBroker) -> None:
    broker.create_queue("orders")

    async def test(queue: SqsTransport) -> None:
        await asyncio.gather(*(queue.depth() for _ in range(6)), queue.receive(1, 0))
        assert any(thread.name == "SQS queue orders" for thread in threading.enumerate())

    with_queue(test)
    assert not any(thread.name == "SQS queue orders" for thread in threading.enumerate())


async def _receive(queue: SqsTransport, wait: float) -> Any:
    return await queue.receive(10, wait)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for is told by no event
            await asyncio.sleep(0.002)
