"""The entities of one Service Bus namespace and how a path names one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from .errors import BrokerError, Condition
from .queues import Queue
from .topics import Topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .clock import Clock
    from .entities import QueueOptions, Record

Entity: TypeAlias = Queue | Topic
_DEAD_LETTER = "/$deadletterqueue"


class Namespace:
    """Queues and topics by name, upper and lower case alike."""

    def __init__(self, clock: Clock, record: Record) -> None:
        self.clock = clock
        self.changed: Callable[[Queue], None] = lambda _queue: None
        self._record = record
        self._entities: dict[str, Entity] = {}

    def create_queue(self, name: str, options: QueueOptions) -> Queue:
        """Adds a queue with its dead-letter queue."""
        queue = Queue(name, options, self.clock, self._record)
        self._add(name, queue)
        self._watch(queue)
        return queue

    def create_topic(self, name: str, options: QueueOptions) -> Topic:
        """Adds a topic that has no subscription yet."""
        topic = Topic(name, options, self.clock, self._record)
        self._add(name, topic)
        return topic

    def create_subscription(self, topic: str, name: str, options: QueueOptions) -> Queue:
        """Adds a subscription to a topic that exists."""
        parent = self.find(topic)
        if not isinstance(parent, Topic):
            raise ValueError(f"'{topic}' is a queue: only topics have subscriptions")
        queue = parent.subscribe(name, options)
        self._watch(queue)
        return queue

    def find(self, path: str) -> Entity:
        """The entity at `path`; amqp:not-found where there is none."""
        wanted = path.strip("/").lower()
        entity = self._lookup(wanted.removesuffix(_DEAD_LETTER))
        if wanted.endswith(_DEAD_LETTER) and entity is not None:
            entity = entity.dead_letters if isinstance(entity, Queue) else None
        if entity is None:
            text = f"The messaging entity '{path}' could not be found."
            raise BrokerError(Condition.NOT_FOUND, text)
        return entity

    def queue(self, path: str) -> Queue:
        """The queue, subscription or dead-letter queue at `path`."""
        entity = self.find(path)
        if not isinstance(entity, Queue):
            raise BrokerError(Condition.NOT_ALLOWED, f"'{path}' is a topic: name a subscription.")
        return entity

    def run_due(self) -> int:
        """Lets every entity do what its time has come for."""
        return sum(entity.run_due() for entity in self._entities.values())

    @property
    def next_due(self) -> float | None:
        """When `run_due` has something to do next."""
        times = (entity.next_due for entity in self._entities.values())
        return min((time for time in times if time is not None), default=None)

    def _lookup(self, wanted: str) -> Entity | None:
        topic, separator, subscription = wanted.partition("/subscriptions/")
        entity = self._entities.get(topic)
        if not separator:
            return entity
        return entity.subscriptions.get(subscription) if isinstance(entity, Topic) else None

    def _add(self, name: str, entity: Entity) -> None:
        if name.lower() in self._entities:
            raise ValueError(f"'{name}' exists already")
        self._entities[name.lower()] = entity

    def _watch(self, queue: Queue) -> None:
        for watched in _with_dead_letters(queue):
            watched.changed = self._notifier(watched)

    def _notifier(self, queue: Queue) -> Callable[[], None]:
        return lambda: self.changed(queue)


def _with_dead_letters(queue: Queue) -> Iterator[Queue]:
    yield queue
    if queue.dead_letters:
        yield queue.dead_letters
