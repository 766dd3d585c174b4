"""A Service Bus queue or subscription to poll, and the queue or topic to send to."""

from __future__ import annotations

from asyncio import gather
from typing import TYPE_CHECKING, Any, Final, Protocol

from queue_runtime.clouds.azure import service_bus_client
from queue_runtime.errors import AccessDeniedError, MissingExtraError, TransportError
from queue_runtime.observability.events import events
from queue_runtime.observability.span_attributes import SpanPlace
from queue_runtime.settlement.failures import SettleFailure
from queue_runtime.transports.base import SendResult
from queue_runtime.transports.service_bus.address import connection_to, read_address
from queue_runtime.transports.service_bus.delays import delays_of
from queue_runtime.transports.service_bus.depth import (
    Counters,
    depth_of_messages,
    depth_of_sessions,
)
from queue_runtime.transports.service_bus.loop_thread import LoopThread
from queue_runtime.transports.service_bus.queue_receiver import QueueLink
from queue_runtime.transports.service_bus.receiver import OPEN_SECONDS, SOCKET_SECONDS, LockClock
from queue_runtime.transports.service_bus.reconnecting_sender import ReconnectingSender
from queue_runtime.transports.service_bus.send_batches import send_in_batches
from queue_runtime.transports.service_bus.sessions import ACCEPT_SECONDS, Sessions
from queue_runtime.transports.service_bus.settling import Settling

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Sequence

    from queue_runtime.clouds.azure import ServiceBusConnection
    from queue_runtime.config import Settings
    from queue_runtime.message import Message
    from queue_runtime.settlement.plan import Step
    from queue_runtime.transports.base import Depth, OutgoingMessage
    from queue_runtime.transports.service_bus.address import ServiceBusAddress

BATCH_SIZE: Final = 100
SEND_SECONDS: Final = 15.0
# Before it, the SDK does not learn whether a settlement took place.
_OLDEST_SDK: Final = (7, 15)


class _Source(Protocol):
    """Where messages come from: links to a queue, or sessions."""

    async def receive(self, limit: int, wait: float) -> list[Message[Any]]: ...

    async def settle(self, steps: Sequence[Step]) -> list[SettleFailure]: ...

    async def renew(self, messages: Sequence[Message[Any]]) -> list[SettleFailure]: ...

    async def close(self) -> None: ...


def open_service_bus(url: str, settings: Settings, handler: str = "") -> ServiceBusTransport:
    """Open the queue or subscription of a `servicebus://` URL; the first call connects.

    Raises:
        QueueNotFoundError: the URL names none.
        SettingsError: it is not said where the namespace is.
        MissingExtraError: the SDK is not installed.
    """
    address = read_address(url)
    connection = connection_to(address, settings)
    _check_sdk()
    return ServiceBusTransport(
        address,
        connection,
        most_sessions=settings.concurrency,
        delayed_retries=settings.delayed_retries,
    )


class ServiceBusTransport:
    """One queue or subscription, or the dead letters of either.

    Everything of the SDK's is used on one event loop, on a thread of the transport's own: the SDK's
    objects are not safe on several, and a handler that blocks must not keep locks from renewal.

    Args:
        address: which queue.
        connection: how to reach its namespace.
        most_sessions: how many sessions are held at the same time, where it requires sessions.
        delayed_retries: delay every retry by a scheduled copy, not only `Retry(after=…)`.
        clock: translates lock ends.
    """

    system = "servicebus"
    counts_sessions = True  # as the service has them, which the poller cannot see

    def __init__(
        self,
        address: ServiceBusAddress,
        connection: ServiceBusConnection,
        *,
        most_sessions: int = 10,
        delayed_retries: bool = False,
        clock: LockClock | None = None,
    ) -> None:
        self.queue = address.queue
        self.ordered = address.sessions
        self.batch_size = BATCH_SIZE
        self._address = address
        self._connection = connection
        self._most_sessions = most_sessions
        self._clock = clock or LockClock()
        self._thread = LoopThread(f"service-bus-{address.queue}")
        self.place = SpanPlace(connection.host, address.entity, address.subscription)
        self._closed = False
        self._client: Any = None
        self._sources: list[_Source] = []
        self._counters = Counters(address, connection)
        self._sender = ReconnectingSender(
            address.entity,
            self._client_to_send,
            seconds=SEND_SECONDS,
            connection=connection,
        )
        self._settling = Settling(self.queue, self._send_copies)
        self.abilities = delays_of(
            sessions=address.sessions,
            subscription=address.subscription is not None,
            dead_letters=address.dead_letters,
            every_delay=delayed_retries,
        )

    @property
    def lock_seconds(self) -> float:
        """How long a lock lasts, as far as is known from those that were given."""
        return max(self._clock.seconds, 1.0)

    async def receive(self, limit: int, wait: float) -> Sequence[Message[Any]]:
        """Lock and give at most `limit` messages; see `Transport.receive`.

        With sessions, they are all of one session, and `wait` is a second and a half or more.
        """
        self._check_open()
        version = self._connection.version
        try:
            return await self._thread.run_cancellable(self._receive(limit, wait))
        except AccessDeniedError:
            if not await self._connection.renewed(version):
                raise
            return await self._thread.run_cancellable(self._receive(limit, wait))

    async def settle(self, steps: Sequence[Step]) -> Sequence[SettleFailure]:
        """Carry steps out, side by side; see `Transport.settle`."""
        self._check_open()
        return await self._thread.run(self._settle(steps)) if steps else []

    async def renew(self, messages: Sequence[Message[Any]]) -> Sequence[SettleFailure]:
        """Renew locks, those of a session with one request; see `Transport.renew`."""
        self._check_open()
        return await self._thread.run(self._renew(messages)) if messages else []

    async def send(self, messages: Sequence[OutgoingMessage]) -> Sequence[SendResult]:
        """Send to the queue, or to the subscription's topic; see `Transport.send`."""
        self._check_open()
        if self._address.dead_letters:
            error = TransportError(
                f"{self.queue} takes no messages: they are dead-lettered into it"
            )
            return [SendResult(error=error)] * len(messages)
        sending = send_in_batches(self._sender, messages, needs_group=self.ordered)
        return await self._thread.run(sending)

    async def depth(self) -> Depth:
        """Give the service's own counts, or what can be seen where it does not tell them.

        It does not tell which messages are locked, so these are among the visible. What it takes
        to be told, and what is seen otherwise, is in docs/transports/service-bus.md.
        """
        self._check_open()
        return await self._thread.run(self._depth())

    async def aclose(self) -> None:
        """End receives, and release connections and thread; what is locked stays locked."""
        self._closed = True
        await self._thread.aclose(self._close)

    # --- on the loop -----------------------------------------------------------------------------

    async def _receive(self, limit: int, wait: float) -> list[Message[Any]]:
        sources = self._opened()
        # A receiver without a call under way gets it; in turn where all of them have one.
        links = [each for each in sources if isinstance(each, QueueLink)]
        source = min(links, key=lambda link: link.waiting) if links else sources[0]
        return await source.receive(min(limit, BATCH_SIZE), wait)

    async def _settle(self, steps: Sequence[Step]) -> list[SettleFailure]:
        by_source: dict[int, list[Step]] = {}
        for step in steps:
            by_source.setdefault(self._source_of(step.message), []).append(step)
        sources = self._opened()
        lots = await gather(
            *(
                _answered(sources[at].settle(lot), [step.message for step in lot])
                for at, lot in by_source.items()
            )
        )
        return [failure for lot in lots for failure in lot]

    async def _renew(self, messages: Sequence[Message[Any]]) -> list[SettleFailure]:
        by_source: dict[int, list[Message[Any]]] = {}
        for message in messages:
            by_source.setdefault(self._source_of(message), []).append(message)
        sources = self._opened()
        lots = await gather(
            *(_answered(sources[at].renew(lot), lot) for at, lot in by_source.items())
        )
        return [failure for lot in lots for failure in lot]

    async def _depth(self) -> Depth:
        source = self._opened()[0]
        if isinstance(source, QueueLink):
            return await depth_of_messages(self._counters, source.peek)
        return await depth_of_sessions(self._counters, self._list_sessions, self.queue)

    async def _send_copies(self, messages: Sequence[OutgoingMessage]) -> Sequence[SendResult]:
        return await send_in_batches(self._sender, messages, needs_group=False, checked=False)

    async def _close(self) -> None:
        await gather(*(source.close() for source in self._sources), self._sender.close())
        self._counters.close()
        if self._client is not None:
            await self._client.close()

    def _source_of(self, message: Message[Any]) -> int:
        source = message.receipt.source
        return self._sources.index(source) if source in self._sources else 0

    def _client_to_send(self) -> Any:
        say_connects(self.queue, self._connection)
        return service_bus_client(self._connection, seconds=SEND_SECONDS)

    def _opened(self) -> list[_Source]:
        if not self._sources:
            # An accept lasts as long as the service is asked to look for a session.
            seconds = ACCEPT_SECONDS + OPEN_SECONDS if self.ordered else OPEN_SECONDS
            self._client = service_bus_client(self._connection, seconds=seconds)
            say_connects(self.queue, self._connection)
            self._sources = [self._sessions()] if self.ordered else self._links()
        return self._sources

    def _links(self) -> list[_Source]:
        return [
            QueueLink(self.queue, self._make_receiver, self._settling, self._clock)
            for _ in range(self._address.receivers)
        ]

    def _sessions(self) -> Sessions:
        return Sessions(
            self.queue,
            self._make_receiver,
            self._settling,
            self._clock,
            most=self._most_sessions,
            share=max(1, BATCH_SIZE // self._most_sessions),
        )

    def _make_receiver(self) -> Any:
        from azure.servicebus import NEXT_AVAILABLE_SESSION, ServiceBusSubQueue

        entity, subscription = self._address.entity, self._address.subscription
        options: dict[str, Any] = {"socket_timeout": SOCKET_SECONDS}
        if self._address.dead_letters:
            options["sub_queue"] = ServiceBusSubQueue.DEAD_LETTER
        if self.ordered:
            options |= {"session_id": NEXT_AVAILABLE_SESSION, "max_wait_time": ACCEPT_SECONDS}
        if subscription is None:
            return self._client.get_queue_receiver(entity, **options)
        return self._client.get_subscription_receiver(entity, subscription, **options)

    def _list_sessions(self) -> AsyncIterable[str]:
        entity, subscription = self._address.entity, self._address.subscription
        if subscription is None:
            named: AsyncIterable[str] = self._client.list_queue_sessions(entity)
        else:
            named = self._client.list_subscription_sessions(entity, subscription)
        return named

    def _check_open(self) -> None:
        if self._closed:
            raise TransportError(f"{self.queue} was closed here: open it again to go on")


def say_connects(queue: str, connection: ServiceBusConnection) -> None:
    """Log where a new connection goes and as whom, without what proves it."""
    if connection.connection_string is not None:
        who = "by key or signature"
    else:
        who = f"as {connection.client_id or 'the identity of this process'}"
    text = "a connection of %s to %s is made %s"
    events.debug(queue, "connect", text, queue, connection.host, who)


async def _answered(
    work: Awaitable[list[SettleFailure]], messages: Sequence[Message[Any]]
) -> list[SettleFailure]:
    """Let a link that cannot be opened fail its own messages, and not those of the others."""
    try:
        return await work
    except TransportError as error:
        return [SettleFailure(message, error) for message in messages]


def _check_sdk() -> None:
    try:
        from azure.servicebus import __version__
    except ImportError:
        raise MissingExtraError("Service Bus", "azure") from None
    version = tuple(int(part) for part in __version__.split(".")[:2])
    if version < _OLDEST_SDK:
        raise TransportError(
            f"azure-servicebus {__version__} does not learn whether a settlement took place: "
            "install 7.15 or later (pip install 'queue-runtime[azure]')"
        )
