"""An Azure Service Bus that lives in this process, for the real SDK to talk to in tests.

with ServiceBusBroker() as broker:
    broker.create_queue("orders", lock_duration=30)
    client = ServiceBusClient.from_connection_string(broker.connection_string)
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Self, TypeVar

from .clock import Clock
from .entities import MessageState, QueueOptions
from .errors import Condition
from .faults import (
    Action,
    Delay,
    Drop,
    DropAfter,
    Error,
    Fault,
    FaultPlan,
    Ignore,
    LoseReply,
    Point,
)
from .hub import Hub
from .journal import Event, Journal, Kind
from .security import ALL_CLAIMS, Policy
from .server import Server
from .snapshot import MessageSnapshot, snapshots

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from types import TracebackType

__all__ = [
    "Action",
    "Clock",
    "Condition",
    "Delay",
    "Drop",
    "DropAfter",
    "Error",
    "Event",
    "Fault",
    "FaultPlan",
    "Ignore",
    "Journal",
    "Kind",
    "LoseReply",
    "MessageSnapshot",
    "MessageState",
    "Point",
    "QueueOptions",
    "ServiceBusBroker",
]

T = TypeVar("T")
_ROOT = "RootManageSharedAccessKey"
_FORCED = "The service ended this on purpose."


class ServiceBusBroker:
    """Starts with `with`; may be told about entities, faults and time from any thread.

    With `tls` the management API is there too; see certificate.py.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Clock | None = None,
        check_tokens: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        root = Policy(_ROOT, secrets.token_urlsafe(24))
        self._clock = clock or Clock()
        self._policies = {root.name: root}
        self._hub = Hub(self._clock, self._policies, check_tokens=check_tokens, tls=tls)
        self._host, self._wanted_port = host, port
        self._server: Server | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listens; the connection string is known from here on."""
        self._server = Server(self._hub, self._host, self._wanted_port)
        self._server.start()

    def stop(self) -> None:
        """Cuts all connections and ends the thread; entities can still be looked at."""
        if self._server:
            self._server.stop()

    # --- how to reach it

    @property
    def port(self) -> int:
        """The TCP port."""
        return self._running.port

    @property
    def connection_string(self) -> str:
        """For `ServiceBusClient.from_connection_string`; its key is new for each broker."""
        return self.connection_string_for(_ROOT)

    def connection_string_for(self, policy: str) -> str:
        """The same for another policy."""
        known = self._policies[policy]
        return (
            f"Endpoint=sb://{self._host}:{self.port};SharedAccessKeyName={known.name};"
            f"SharedAccessKey={known.key};UseDevelopmentEmulator=true"
        )

    def add_policy(self, name: str, *claims: str) -> str:
        """Adds a policy with some of Send, Listen and Manage; gives its connection string."""
        allowed = frozenset(claims) if claims else ALL_CLAIMS
        self._policies[name] = Policy(name, secrets.token_urlsafe(24), allowed)
        return self.connection_string_for(name)

    # --- entities

    def create_queue(self, name: str, **options: Any) -> None:
        """Adds a queue; options are the fields of QueueOptions."""
        self._call(lambda: self._hub.namespace.create_queue(name, QueueOptions(**options)))

    def create_topic(self, name: str, **options: Any) -> None:
        """Adds a topic."""
        self._call(lambda: self._hub.namespace.create_topic(name, QueueOptions(**options)))

    def create_subscription(self, topic: str, name: str, **options: Any) -> None:
        """Adds a subscription, which behaves as a queue at `topic/Subscriptions/name`."""
        namespace, chosen = self._hub.namespace, QueueOptions(**options)
        self._call(lambda: namespace.create_subscription(topic, name, chosen))

    def messages(self, path: str) -> list[MessageSnapshot]:
        """What a queue, subscription or `…/$DeadLetterQueue` holds, whatever its state."""
        return self._call(lambda: snapshots(self._hub.namespace.queue(path)))

    # --- time

    @property
    def clock(self) -> Clock:
        """The broker's time; clients keep their own."""
        return self._clock

    def advance(self, seconds: float) -> None:
        """Moves time and returns once everything that fell due has happened."""
        self._clock.advance(seconds)
        self._call(lambda: None)

    # --- what happened

    @property
    def journal(self) -> Journal:
        """Everything the broker did."""
        return self._hub.journal

    def wait_for(self, kind: Kind, *, count: int = 1, **facts: Any) -> list[Event]:
        """Shorthand for `journal.wait_for`."""
        return self.journal.wait_for(kind, count=count, **facts)

    # --- what goes wrong

    @property
    def faults(self) -> FaultPlan:
        """The planned faults."""
        return self._hub.faults

    def fail(self, point: Point, action: Action, **how: Any) -> Fault:
        """Plans a fault; `how` are the other fields of Fault: times, entity, operation, skip."""
        return self.faults.add(Fault(point, action, **how))

    def set_latency(self, seconds: float) -> None:
        """Holds everything that is sent to clients back by this much real time."""
        self._call(lambda: setattr(self._hub, "latency", seconds))

    def drop_connections(self) -> int:
        """Cuts every connection without a word; says how many."""
        return self._call(self._running.drop_connections)

    def close_connections(self, condition: str = Condition.CONNECTION_FORCED) -> int:
        """Says Close with an error on every connection; says how many."""
        return self._call(lambda: self._running.close_connections(condition, _FORCED))

    def detach_receivers(
        self, path: str | None = None, condition: str = Condition.DETACH_FORCED
    ) -> int:
        """Detaches the receivers of a queue, or all, as the service does when links idle."""
        return self._call(lambda: self._running.detach_receivers(path, condition, _FORCED))

    def expire_locks(self, path: str) -> int:
        """Takes all message locks of a queue away now, although their time is not over."""
        return self._call(lambda: self._hub.namespace.queue(path).expire_locks())

    def lose_session(self, path: str, session_id: str) -> None:
        """Takes a session's lock away now."""
        self._call(lambda: self._hub.namespace.queue(path).lose_session(session_id))

    @property
    def _running(self) -> Server:
        if self._server is None:
            raise RuntimeError("the broker is not started: use it in a with statement")
        return self._server

    def _call(self, function: Callable[[], T]) -> T:
        return self._server.call(function) if self._server else function()
