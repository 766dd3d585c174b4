"""A poller on SQS is killed, told to end, or cut off in each phase of its work."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from queue_runtime.transports.base import OutgoingMessage, refused
from tests.brokers.sqs import Cut, FailEntries, Kind, Latency, SqsBroker, Throttle
from tests.faults.matrix import (
    FEW,
    ONE_GROUP,
    CrashMatrix,
    HeldMatrix,
    OrderMatrix,
    Phase,
    ThreadMatrix,
    assert_all_done,
    assert_ends_cleanly,
    assert_lost_locks_come_back,
    assert_renewed_in_time,
    consume_the_rest,
    kill,
)
from tests.sqs_rig import ENVIRONMENT, aws_environment, open_queue

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.faults.consumer import Consumer

LOCK_SECONDS = 3
LONG_LOCK_SECONDS = 9  # has room for four renewals, a second apart
RECEIVE = "ReceiveMessage"
DELETE, RENEW = "DeleteMessageBatch", "ChangeMessageVisibilityBatch"
A_MOMENT, FOR_EVER = Latency(0.3), Latency(3600)


class SqsRig:
    """An SQS in this process; its clock is moved to the end of locks."""

    def __init__(self, broker: SqsBroker, name: str, *, lock_seconds: int = LOCK_SECONDS) -> None:
        self.broker = broker
        self.url, self._name = f"sqs://{name}", name
        self.ordered = name.endswith(".fifo")
        self.environment = {
            **ENVIRONMENT,
            "AWS_ENDPOINT_URL_SQS": broker.endpoint_url,
            "QUEUE_VISIBILITY_TIMEOUT_SECONDS": str(lock_seconds),
        }
        self._sent: list[str] = []
        broker.create_queue(name)

    def send(self, bodies: Sequence[str]) -> None:
        self._sent += bodies
        asyncio.run(self._send(bodies))

    async def _send(self, bodies: Sequence[str]) -> None:
        queue = open_queue(self._name)
        groups = [body.partition(":")[0] if self.ordered else None for body in bodies]
        messages = [
            OutgoingMessage(body=body, group_id=group)
            for body, group in zip(bodies, groups, strict=True)
        ]
        assert not refused(await queue.send(messages))
        await queue.aclose()
        self.broker.clock.advance(0)  # serves a long poll that is left over

    def is_asked(self) -> bool:
        return self.broker.journal.calls[RECEIVE] > 0

    def prolong(self, phase: Phase, *, for_ever: bool) -> None:
        if phase is Phase.RECEIVE and for_ever:
            self.broker.faults.add(Cut(after_effect=True), calls=[RECEIVE])
        elif phase is Phase.ACKNOWLEDGED and for_ever:
            self.broker.faults.add(Cut(after_effect=True), calls=[DELETE])
        elif phase is Phase.ACKNOWLEDGE:
            self.broker.faults.add(FOR_EVER if for_ever else A_MOMENT, calls=[DELETE])
        elif phase is Phase.RENEW:
            self.broker.faults.add(FOR_EVER if for_ever else A_MOMENT, calls=[RENEW])

    def has_begun(self, phase: Phase) -> bool:
        journal = self.broker.journal
        counts = {
            Phase.RECEIVE: journal.totals[Kind.RECEIVED],
            Phase.ACKNOWLEDGE: journal.calls[DELETE],
            Phase.ACKNOWLEDGED: journal.totals[Kind.DELETED],
            Phase.RENEW: journal.calls[RENEW],
        }
        return counts[phase] > 0

    def refuse_renewals(self) -> None:
        self.broker.faults.add(Throttle(), calls=[RENEW])

    def refused(self) -> int:
        return self.broker.journal.totals[Kind.FAULT] * len(ONE_GROUP)

    def renewed(self) -> int:
        return self.broker.journal.totals[Kind.VISIBILITY_CHANGED]

    def heal(self) -> None:
        self.broker.faults.clear()

    def is_alone(self) -> bool:
        return not self.broker._connections

    def end_locks(self) -> None:
        self.broker.clock.advance(LOCK_SECONDS + 1)

    def stop(self) -> None:
        self.broker.stop()

    def start(self) -> None:
        self.broker.start()

    def left(self) -> int:
        return sum(self.broker.counts(self._name))

    def locked(self) -> int:
        return self.broker.counts(self._name).in_flight

    def acknowledged(self) -> list[str]:
        events = self.broker.journal.events
        bodies = dict(
            zip((event.message_id for event in events(Kind.SENT)), self._sent, strict=True)
        )
        return [bodies[event.message_id] for event in events(Kind.DELETED)]

    def deliveries(self) -> list[int]:
        events = self.broker.journal.events(Kind.RECEIVED)
        return list(Counter(event.message_id for event in events).values())


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[SqsBroker]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]  # the same after a restart
    with SqsBroker(port=port) as broker:
        aws_environment(monkeypatch, broker.endpoint_url)
        yield broker


class TestStandardQueue(CrashMatrix, HeldMatrix, ThreadMatrix):
    @pytest.fixture
    def rig(self, broker: SqsBroker) -> SqsRig:
        return SqsRig(broker, "orders")

    def test_locks_that_cannot_be_renewed_come_back(self, rig: SqsRig, consumer: Consumer) -> None:
        assert_lost_locks_come_back(rig, consumer)


class TestFifoQueue(CrashMatrix, OrderMatrix):
    @pytest.fixture
    def rig(self, broker: SqsBroker) -> SqsRig:
        return SqsRig(broker, "line.fifo")


class TestRenewal:
    @pytest.fixture
    def rig(self, broker: SqsBroker) -> SqsRig:
        return SqsRig(broker, "orders", lock_seconds=LONG_LOCK_SECONDS)

    def test_renewals_that_are_throttled_for_a_while_cost_no_lock(
        self, rig: SqsRig, consumer: Consumer
    ) -> None:
        assert_renewed_in_time(rig, consumer)


@pytest.mark.parametrize("name", ["orders", "line.fifo"])
class TestPartialDelete:
    @pytest.fixture
    def rig(self, broker: SqsBroker, name: str) -> SqsRig:
        return SqsRig(broker, name)

    def test_a_kill_brings_back_what_was_not_deleted(self, rig: SqsRig, consumer: Consumer) -> None:
        rig.send(FEW)
        rig.broker.faults.add(FailEntries(ids=("0", "1")), calls=[DELETE])
        consumer.start()
        consumer.wait_for(lambda: rig.has_begun(Phase.ACKNOWLEDGED))
        kill(rig, consumer)
        assert 2 <= rig.left() < len(FEW)
        consume_the_rest(rig, consumer)
        assert_all_done(FEW, rig, consumer, faults=1)

    def test_a_signal_to_end_waits_until_it_is_whole(self, rig: SqsRig, consumer: Consumer) -> None:
        rig.send(FEW)
        rig.broker.faults.add(FailEntries(), calls=[DELETE], times=5)
        consumer.start()
        consumer.wait_for(lambda: rig.has_begun(Phase.ACKNOWLEDGE))
        assert_ends_cleanly(FEW, rig, consumer)
