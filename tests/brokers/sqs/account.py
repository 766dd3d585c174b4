"""The queues of one account in one region, by name, ARN and URL."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from tests.brokers.sqs import errors, limits
from tests.brokers.sqs.journal import Event, Journal, Kind
from tests.brokers.sqs.queues import Queue
from tests.brokers.sqs.settings import QueueSettings, check_queue_name
from tests.brokers.sqs.shelves import FifoShelf, StandardShelf

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ACCOUNT_ID = "123456789012"
REGION = "us-east-1"


class Account:
    """Creates queues and ties each to its dead-letter queue."""

    def __init__(
        self,
        clock: Callable[[], float],
        journal: Journal,
        *,
        in_flight_limit: int = limits.IN_FLIGHT,
        disorder: int = 0,
        seed: int = 0,
    ) -> None:
        self.queues: dict[str, Queue] = {}
        self.on_redrive: Callable[[Queue], object] = lambda _: None
        self._clock = clock
        self._journal = journal
        self._in_flight_limit = in_flight_limit
        self._disorder = disorder
        self._random = Random(seed)

    def create(self, name: str, values: Mapping[str, str]) -> Queue:
        """A new queue, or the one of that name if it has the attributes asked for."""
        settings = QueueSettings(values)
        check_queue_name(name, fifo=settings.fifo)
        if existing := self.queues.get(name):
            for attribute, text in values.items():
                if existing.settings.values.get(attribute, "") != text:
                    raise errors.queue_exists(attribute)
            return existing
        dead_letters = self._dead_letters(settings)
        queue = Queue(
            name,
            arn(name),
            settings,
            FifoShelf() if settings.fifo else StandardShelf(self._random, self._disorder),
            self._clock,
            self._journal,
            in_flight_limit=self._in_flight_limit,
        )
        queue.dead_letters = dead_letters
        queue.on_redrive = lambda changed: self.on_redrive(changed)
        self.queues[name] = queue
        self._journal.record(Event(self._clock(), Kind.CREATED, name))
        return queue

    def configure(self, queue: Queue, values: Mapping[str, str]) -> None:
        settings = queue.settings.changed(values)
        queue.dead_letters = self._dead_letters(settings)
        queue.configure(settings)

    def named(self, name: str) -> Queue:
        if queue := self.queues.get(name):
            return queue
        raise errors.no_such_queue()

    def at(self, url: str) -> Queue:
        """The queue that a QueueUrl means; host and port are not compared, proxies change them."""
        path = url.partition("://")[2].partition("/")[2] or url.lstrip("/")
        account, _, name = path.partition("/")
        if account != ACCOUNT_ID:
            raise errors.no_such_queue()
        return self.named(name)

    def _dead_letters(self, settings: QueueSettings) -> Queue | None:
        if settings.redrive is None:
            return None
        wanted = settings.redrive.target_arn
        for queue in self.queues.values():
            if queue.arn == wanted:
                if queue.settings.fifo != settings.fifo:
                    raise _refused_redrive(
                        settings, "Dead-letter queue must be same type of queue as the source."
                    )
                return queue
        raise _refused_redrive(settings, "Dead letter target does not exist.")


def arn(name: str) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:{name}"


def _refused_redrive(settings: QueueSettings, reason: str) -> errors.SqsError:
    return errors.invalid_parameter(settings.values["RedrivePolicy"], "RedrivePolicy", reason)
