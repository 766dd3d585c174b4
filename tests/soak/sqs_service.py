"""An SQS queue with a dead-letter queue, whose requests fail in each way."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

from tests.brokers.sqs import Cut, Fail, FailEntries, Kind, Latency, SqsBroker, Throttle
from tests.brokers.sqs.messages import Draft
from tests.soak.service import LOCK_SECONDS, body_of
from tests.sqs_rig import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.brokers.sqs.faults import Fault, Rule

NAME, DEAD = "soak", "dead"
RECEIVES, DELETES = ["ReceiveMessage"], ["DeleteMessageBatch"]
A_RECEIVE = 10


class SqsService:
    def __init__(self) -> None:
        self._broker = SqsBroker()
        self._broker.start()
        self._broker.create_queue(DEAD)
        redrive = {"deadLetterTargetArn": self._broker.arn(DEAD), "maxReceiveCount": 100}
        self._broker.create_queue(NAME, RedrivePolicy=redrive)
        self._rules: list[tuple[Rule, int]] = []
        self._struck = 0
        self._troubles = cycle(self._all_troubles())

    def url(self) -> str:
        return f"sqs://{NAME}"

    def environment(self) -> dict[str, str]:
        return {
            **ENVIRONMENT,
            "AWS_ENDPOINT_URL_SQS": self._broker.endpoint_url,
            "QUEUE_VISIBILITY_TIMEOUT_SECONDS": str(LOCK_SECONDS),
        }

    def fill(self, numbers: range) -> None:
        queue = self._broker._account.named(NAME)
        self._broker._call(lambda: [queue.send(Draft(body_of(number))) for number in numbers])
        self._broker.clock.advance(0)  # serves the long polls

    def left(self) -> int:
        return sum(self._broker.counts(NAME))

    def dead(self) -> int:
        return sum(self._broker.counts(DEAD))

    def deliveries(self) -> int | None:
        return self._broker.journal.totals[Kind.RECEIVED]

    def trouble(self) -> int:
        self.heal()
        return next(self._troubles)()

    def faults(self) -> int:
        return self._struck + sum(times - (rule.remaining or 0) for rule, times in self._rules)

    def heal(self) -> None:
        self._broker.faults.clear()
        self._struck, self._rules = self.faults(), []

    def _all_troubles(self) -> list[Callable[[], int]]:
        lost = Cut(after_effect=True)
        return [
            lambda: self._plan(Latency(0.2, 0.2), times=20),
            lambda: self._plan(Throttle(), times=20),
            lambda: self._plan(FailEntries(), DELETES, times=40),
            lambda: self._plan(Fail(), times=10),
            lambda: self._plan(Cut(), times=10),
            lambda: self._plan(lost, DELETES, times=5),
            lambda: self._plan(lost, RECEIVES, times=1, cost=A_RECEIVE),
            self._hang_up,
            self._lose_locks,
        ]

    def _plan(
        self, fault: Fault, calls: list[str] | None = None, *, times: int, cost: int = 0
    ) -> int:
        rule = self._broker.faults.add(fault, calls=calls or (), queue=NAME, times=times)
        self._rules.append((rule, times))
        return cost

    def _hang_up(self) -> int:
        self._struck += 1
        self._broker.drop_connections()
        return 0

    def _lose_locks(self) -> int:
        lost = self._broker.counts(NAME).in_flight
        self._struck += lost
        self._broker.clock.advance(LOCK_SECONDS + 1)
        return lost
