"""A poller on Service Bus is killed, told to end, or cut off in each phase of its work."""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.brokers.service_bus import (
    Condition,
    Delay,
    Error,
    Ignore,
    Kind,
    LoseReply,
    Point,
    ServiceBusBroker,
)
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
    reach,
)
from tests.faults.service_bus_content import content

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.brokers.service_bus import Action, Fault
    from tests.faults.consumer import Consumer

LOCK_SECONDS = 4
LONG_LOCK_SECONDS = 8.5  # has room for four renewals, a second apart
A_FEW = 5
A_MOMENT = Delay(0.3)


class ServiceBusRig:
    """A Service Bus in this process."""

    def __init__(
        self, broker: ServiceBusBroker, *, sessions: bool, lock_seconds: float = LOCK_SECONDS
    ) -> None:
        self.broker = broker
        self.ordered = sessions
        self._name = "carts" if sessions else "orders"
        self.url = f"servicebus:///{self._name}?sessions={str(sessions).lower()}"
        self.environment = {"AZURE_SERVICE_BUS_CONNECTION_STRING": broker.connection_string}
        self._renewal = "renew-session-lock" if sessions else "renew-lock"
        self._messages_a_lock = len(ONE_GROUP) if sessions else 1
        self._faults: dict[Phase, Fault] = {}
        broker.create_queue(self._name, lock_duration=lock_seconds, requires_session=sessions)

    def send(self, bodies: Sequence[str]) -> None:
        """Put messages in past the SDK, which takes half a second to begin."""
        queue = self.broker._hub.namespace.queue(self._name)
        for body in bodies:
            message = content(body, message_id=body, session_id=body.partition(":")[0])
            self.broker._call(partial(queue.send, message))

    def is_asked(self) -> bool:
        events = self.broker.journal.events
        return bool(events(Kind.SESSION_AWAITED) or events(Kind.ATTACHED, entity=self._name))

    def prolong(self, phase: Phase, *, for_ever: bool) -> None:
        if phase is Phase.RECEIVE and for_ever:
            self._fail(phase, Point.DELIVER, Delay(3600))
        elif phase is Phase.ACKNOWLEDGE:
            self._fail(phase, Point.SETTLE, Ignore() if for_ever else A_MOMENT, "complete")
        elif phase is Phase.ACKNOWLEDGED and for_ever:
            self._fail(phase, Point.SETTLE, LoseReply(), "complete")
        elif phase is Phase.RENEW:
            action = Ignore() if for_ever else A_MOMENT
            self._fail(phase, Point.MANAGEMENT, action, self._renewal)

    def _fail(
        self, phase: Phase, point: Point, action: Action, operation: str | None = None
    ) -> None:
        self._faults[phase] = self.broker.fail(
            point, action, entity=self._name, operation=operation, times=None
        )

    def has_begun(self, phase: Phase) -> bool:
        if phase in self._faults:
            return self._faults[phase].struck > 0
        signs = {Phase.RECEIVE: Kind.DELIVERED, Phase.ACKNOWLEDGED: Kind.COMPLETED}
        return bool(self.broker.journal.events(signs[phase]))

    def refuse_renewals(self) -> None:
        busy = Error(Condition.SERVER_BUSY)
        self._fail(Phase.RENEW, Point.MANAGEMENT, busy, self._renewal)

    def refused(self) -> int:
        return self._faults[Phase.RENEW].struck * self._messages_a_lock

    def renewed(self) -> int:
        kind = Kind.SESSION_RENEWED if self.ordered else Kind.LOCK_RENEWED
        return len(self.broker.journal.events(kind)) * self._messages_a_lock

    def heal(self) -> None:
        self.broker.faults.clear()

    def is_alone(self) -> bool:
        return self.connections() == 0

    def connections(self) -> int:
        events = self.broker.journal.events
        return len(events(Kind.CONNECTED)) - len(events(Kind.DISCONNECTED))

    def end_locks(self) -> None:
        self.broker.expire_locks(self._name)

    def stop(self) -> None:
        self.broker.stop()

    def start(self) -> None:
        self.broker.start()

    def left(self) -> int:
        dead = self.broker.messages(f"{self._name}/$DeadLetterQueue")
        return len(self.broker.messages(self._name)) + len(dead)

    def locked(self) -> int:
        return sum(each.locked for each in self.broker.messages(self._name))

    def acknowledged(self) -> list[str]:
        return [event.message_id for event in self.broker.journal.events(Kind.COMPLETED)]

    def deliveries(self) -> list[int]:
        ends = self.broker.journal.events(Kind.COMPLETED)
        return [(event.delivery_count or 0) + 1 for event in ends]


@pytest.fixture
def broker() -> Iterator[ServiceBusBroker]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]  # the same after a restart
    with ServiceBusBroker(port=port) as broker:
        yield broker


class TestQueue(CrashMatrix, HeldMatrix, ThreadMatrix):
    @pytest.fixture
    def rig(self, broker: ServiceBusBroker) -> ServiceBusRig:
        return ServiceBusRig(broker, sessions=False)

    def test_a_signal_to_end_gives_back_what_is_on_its_way(
        self, rig: ServiceBusRig, consumer: Consumer
    ) -> None:
        rig.broker.set_latency(0.1)
        rig.send(FEW)
        consumer.start()
        consumer.wait_for(lambda: rig.has_begun(Phase.RECEIVE))
        assert_ends_cleanly(FEW, rig, consumer)

    def test_a_connection_that_breaks_is_replaced_by_one(
        self, rig: ServiceBusRig, consumer: Consumer
    ) -> None:
        rig.send(FEW)
        reach(Phase.ACKNOWLEDGE, rig, consumer, for_ever=False)
        rig.broker.drop_connections()
        consumer.wait_for(lambda: rig.left() == 0)
        assert_all_done(FEW, rig, consumer, faults=1)
        consumer.wait_for(lambda: rig.connections() == 1)
        assert len(rig.broker.journal.events(Kind.CONNECTED)) <= A_FEW
        assert '"logger":"azure' not in consumer.output()

    @pytest.mark.soak
    def test_locks_that_cannot_be_renewed_come_back(
        self, rig: ServiceBusRig, consumer: Consumer
    ) -> None:
        assert_lost_locks_come_back(rig, consumer)


class TestSessions(CrashMatrix, OrderMatrix):
    @pytest.fixture
    def rig(self, broker: ServiceBusBroker) -> ServiceBusRig:
        return ServiceBusRig(broker, sessions=True)


@pytest.mark.soak
class TestHeldSessions(HeldMatrix):
    @pytest.fixture
    def rig(self, broker: ServiceBusBroker) -> ServiceBusRig:
        return ServiceBusRig(broker, sessions=True)


@pytest.mark.soak
@pytest.mark.parametrize("sessions", [False, True])
class TestRenewal:
    @pytest.fixture
    def rig(self, broker: ServiceBusBroker, sessions: bool) -> ServiceBusRig:
        return ServiceBusRig(broker, sessions=sessions, lock_seconds=LONG_LOCK_SECONDS)

    def test_renewals_that_are_refused_for_a_while_cost_no_lock(
        self, rig: ServiceBusRig, consumer: Consumer
    ) -> None:
        assert_renewed_in_time(rig, consumer)
