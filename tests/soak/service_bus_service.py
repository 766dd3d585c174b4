"""A Service Bus queue, with or without sessions, whose links break in each way."""

from __future__ import annotations

from collections import Counter
from itertools import cycle
from typing import TYPE_CHECKING

from tests.brokers.service_bus import (
    Condition,
    Delay,
    Drop,
    DropAfter,
    Error,
    Kind,
    Point,
    ServiceBusBroker,
)
from tests.faults.service_bus_content import content
from tests.soak.service import LOCK_SECONDS, body_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.brokers.service_bus import Action, Fault

NAME = "soak"
# What a link that breaks may take along: nobody has seen it, but it is locked.
ON_THE_WAY = 100
# How a delivery can end; one that reached nobody is released, and does not count.
ENDS = (Kind.COMPLETED, Kind.DEAD_LETTERED, Kind.ABANDONED, Kind.LOCK_EXPIRED)


class ServiceBusService:
    sessions = 0

    def __init__(self) -> None:
        self._broker = ServiceBusBroker()
        self._broker.start()
        self._broker.create_queue(
            NAME,
            lock_duration=LOCK_SECONDS,
            max_delivery_count=100,
            requires_session=self.sessions > 0,
        )
        self._queue = self._broker._hub.namespace.queue(NAME)
        self._totals: Counter[Kind] = Counter()
        self._read = self._struck = 0
        self._planned: list[Fault] = []
        self._troubles = cycle(self._all_troubles())

    def url(self) -> str:
        return f"servicebus:///{NAME}?sessions={str(self.sessions > 0).lower()}"

    def environment(self) -> dict[str, str]:
        return {"AZURE_SERVICE_BUS_CONNECTION_STRING": self._broker.connection_string}

    def fill(self, numbers: range) -> None:
        def send() -> None:
            for number in numbers:
                session = str(number % self.sessions) if self.sessions else None
                body = body_of(number)
                self._queue.send(content(body, message_id=str(number), session_id=session))

        self._broker._call(send)

    def left(self) -> int:
        self._broker._call(self._read_journal)
        return self._broker._call(lambda: len(self._queue._messages))

    def dead(self) -> int:
        return len(self._broker.messages(f"{NAME}/$DeadLetterQueue"))

    def deliveries(self) -> int | None:
        self._broker._call(self._read_journal)
        return sum(self._totals[kind] for kind in ENDS)

    def trouble(self) -> int:
        self.heal()
        return next(self._troubles)()

    def faults(self) -> int:
        return self._struck + sum(fault.struck for fault in self._planned)

    def heal(self) -> None:
        self._broker.faults.clear()
        self._struck, self._planned = self.faults(), []

    def _all_troubles(self) -> list[Callable[[], int]]:
        busy = Error(Condition.SERVER_BUSY)
        return [
            lambda: self._plan(Point.DELIVER, Delay(0.2), times=50),
            lambda: self._plan(Point.SETTLE, busy, times=10, cost=ON_THE_WAY),
            lambda: self._plan(Point.SETTLE, Drop(), cost=ON_THE_WAY),
            lambda: self._plan(Point.SETTLE, DropAfter(), cost=ON_THE_WAY),
            lambda: self._plan(Point.ATTACH, busy, times=2),
            lambda: self._cut(self._broker.drop_connections),
            lambda: self._cut(self._broker.close_connections),
            lambda: self._cut(self._broker.detach_receivers),
            self._lose_locks,
        ]

    def _plan(self, point: Point, action: Action, *, times: int = 1, cost: int = 0) -> int:
        self._planned.append(self._broker.fail(point, action, times=times))
        return cost

    def _cut(self, connections: Callable[[], int]) -> int:
        self._struck += connections()
        return ON_THE_WAY

    def _lose_locks(self) -> int:
        lost = self._broker.expire_locks(NAME)
        self._struck += lost
        return lost

    def _read_journal(self) -> None:
        """Count what is new. On the broker's own thread, so that nothing comes in between."""
        fresh = self._broker.journal.events()
        self._broker.journal.clear()
        assert not fresh or fresh[0].number == self._read + 1, "it was not read often enough"
        self._read += len(fresh)
        self._totals.update(event.kind for event in fresh)


class SessionsService(ServiceBusService):
    sessions = 8

    def _lose_locks(self) -> int:
        lost = self._broker._call(self._lose_sessions)
        self._struck += lost
        return lost

    def _lose_sessions(self) -> int:
        held = [each for each in self._queue._sessions.values() if each.holder]
        locked = sum(len(self._queue._locked_in(each)) for each in held)
        for each in held:
            self._queue.lose_session(str(each.id))
        return locked
