"""Runs a handler on what a Service Bus trigger delivers, and settles it message by message."""

from __future__ import annotations

import os
from functools import partial
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from queue_runtime.clouds.azure_settlement import SettlementClient
from queue_runtime.config.table import SETTINGS
from queue_runtime.dispatch import Deadline
from queue_runtime.errors import InvocationFailedError
from queue_runtime.hosts.azure_functions.lock_renewal import LockRenewal, lock_seconds_left
from queue_runtime.hosts.azure_functions.settling import (
    BatchOfMessages,
    Service,
    SessionOfMessages,
    SingleMessage,
)
from queue_runtime.hosts.delivery import LARGEST_RESERVE, Arrival, PushDelivery
from queue_runtime.message import Message
from queue_runtime.observability.events import events
from queue_runtime.observability.log_lines import HeldLines
from queue_runtime.observability.span_attributes import SpanPlace
from queue_runtime.pipeline import run_blocking
from queue_runtime.printable import printable
from queue_runtime.transports.service_bus.delays import delays_of
from queue_runtime.transports.service_bus.functions_wire import DELIVERY, LOCKED, Delivery
from queue_runtime.transports.service_bus.wire import SINGLE, FunctionWire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from queue_runtime.clouds.azure_settlement import Settles as Calls
    from queue_runtime.config import Settings
    from queue_runtime.definition import Handles
    from queue_runtime.hosts.azure_functions.settling import Sends
    from queue_runtime.middleware import Messages
    from queue_runtime.outcome import Outcome
    from queue_runtime.settlement.plan import Abilities

# A lock lasts five seconds at least; before that there is no need to look for its end.
_SHORTEST_LOCK: Final = 5.0
_LATE: Final = 2.0


# As a trigger names the dead letters of a queue or subscription.
DEAD_LETTERS: Final = "/$DeadLetterQueue"


class Source(NamedTuple):
    """Names the queue or subscription of a trigger.

    - `name`: of the queue, which may have slashes in it, or `topic/subscription`.
    - `connection`: the name of the app setting or group of settings.
    - `subscription`: where it is one, as the trigger names it; None for a queue.
    """

    name: str
    connection: str
    sessions: bool = False
    subscription: str | None = None

    @property
    def is_queue(self) -> bool:
        """Whether it is a queue, and no subscription of a topic."""
        return self.subscription is None

    def abilities(self, *, every_delay: bool) -> Abilities:
        """Tell how messages of this source are delayed."""
        return delays_of(
            sessions=self.sessions,
            subscription=not self.is_queue,
            dead_letters=self.name.lower().endswith(DEAD_LETTERS.lower()),
            every_delay=every_delay,
        )

    @property
    def place(self) -> SpanPlace | None:
        """Give the server and topic, for spans."""
        if self.subscription is None:
            return None
        topic, _, subscription = self.name.partition("/")
        return SpanPlace(topic=topic, subscription=subscription)


class FunctionsHost:
    """Runs a handler for a trigger's function, on one message or on a batch.

    Args:
        handler: the decorated function.
        source: what the trigger is bound to.
        settings: None reads file and environment.
        seconds: how long an invocation may take.
        renew_locks: keep a batch's locks while the handler runs.
        settlement: settles messages; None uses the host's own service.
        make_sender: makes what sends delayed copies; None uses the SDK and the app's connection.
        observe: told each message with its final outcome, in the order of the batch.
    """

    def __init__(
        self,
        handler: Handles,
        source: Source,
        *,
        settings: Settings | None = None,
        seconds: float = inf,
        renew_locks: bool = False,
        settlement: Calls | None = None,
        make_sender: Callable[[], Sends] | None = None,
        observe: Callable[[Sequence[Message[Any]], Sequence[Outcome]], None] | None = None,
    ) -> None:
        self.source = source
        self.delivery = PushDelivery(
            handler,
            settings=settings,
            host="functions",
            system="servicebus",
            place=lambda: source.place,
            breaks=False,  # what is given back here comes back at once, and is counted
            observe=observe,
            used=[
                name
                for name, setting in SETTINGS.items()
                if source.connection in setting.environment
            ],
        )
        self.settings, self.definition = self.delivery.settings, self.delivery.definition
        self._seconds = seconds
        self._renews = renew_locks
        self._calls: Calls = settlement or SettlementClient()
        self.service = Service(source.name, self._calls, make_sender or self._make_sender)
        self.abilities = source.abilities(every_delay=self.settings.delayed_retries)

    def run(self, native: Any, context: Any = None) -> None:
        """Process what came on a thread of the worker's; `context` is the invocation's own.

        Raises:
            InvocationFailedError: the host has to give back whatever is not settled.
        """
        work = self._process(native, monotonic(), context)
        if self.delivery.pipeline.blocking:
            run_blocking(self.definition.name, work)
            return
        # A middleware waits for something: each invocation has a thread, so it gets a loop as well.
        import asyncio

        asyncio.run(work)

    async def run_async(self, native: Any, context: Any = None) -> None:
        """Process what came on the worker's event loop; `context` is the invocation's own.

        Raises:
            InvocationFailedError: the host has to give back whatever is not settled.
        """
        await self._process(native, monotonic(), context)

    async def _process(self, native: Any, started: float, context: Any) -> None:
        many = isinstance(native, list)
        raws = native if many else [native]
        if not raws:
            return
        wire, queue = self._wire(raws, many), self.source.name
        messages: list[Message[Any]] = [Message(raw, wire, queue) for raw in raws]
        arrival = Arrival(
            queue,
            self._deadline(started),
            ordered=many and self.source.sessions,
            within=_caller(context),
            own_span=many,  # the host has a span for a single message, and none for a batch alone
            hold=partial(self._while_locked, messages, started) if many else None,
        )
        place = self._place(many, wire)
        await self.delivery.process(messages, arrival, place)
        if place.failure:
            raise InvocationFailedError(printable(place.failure))

    async def _while_locked(
        self, messages: Messages, started: float, run: Awaitable[Sequence[Outcome]]
    ) -> Sequence[Outcome]:
        """Keep the locks of a batch while its handler runs, or tell when that was needed."""
        sessions = self.source.sessions
        renewal = LockRenewal(messages, self._calls, session=sessions) if self._renews else None
        try:
            outcomes = await run
        finally:
            if renewal:
                await self._off_loop(renewal.stop)
        if renewal is None and monotonic() - started > _SHORTEST_LOCK:
            self._warn_if_late(messages[0])
        return outcomes

    def _place(self, many: bool, wire: Any) -> SingleMessage | BatchOfMessages | SessionOfMessages:
        if many and self.source.sessions:
            return SessionOfMessages(self.service, self.abilities, self._off_loop)
        kind = BatchOfMessages if many else SingleMessage
        return kind(self.service, self.abilities, wire, self._off_loop)

    def _wire(self, raws: Sequence[Any], many: bool) -> Any:
        if isinstance(raws[0], Delivery):
            return DELIVERY
        if not hasattr(raws[0], "get_body"):
            return LOCKED
        return FunctionWire(len(raws), self._say_slid) if many else SINGLE

    async def _off_loop(self, blocking: Callable[..., Any], *arguments: Any) -> Any:
        """Call what waits for the host or the queue, where it holds nobody else up."""
        if not self.definition.is_async:
            return blocking(*arguments)
        from asyncio import to_thread

        lines = HeldLines()
        try:
            return await to_thread(lines.run, blocking, *arguments)
        finally:
            lines.write()

    def _deadline(self, started: float) -> Deadline:
        reserve = min(self.settings.reserve_seconds, self._seconds * LARGEST_RESERVE)
        return Deadline(started + self._seconds - reserve, reserve=reserve)

    def _warn_if_late(self, message: Message[Any]) -> None:
        left = lock_seconds_left(message)
        if left is not None and left < _LATE:
            events.say_once(
                self.source.name,
                "lock_nearly_over",
                f"a batch was done {left:.1f} s before its locks end: what is later is delivered "
                "again; use register(max_batch=...) or register(renew_locks=True)",
            )

    def _say_slid(self, field: str) -> None:
        events.say_once(
            self.source.name,
            f"slid_{field}",
            f"in a batch some messages have no {field}, and the host does not say which: it is "
            "left out for all; azurefunctions-extensions-base, once installed, gets messages whole",
        )

    def _make_sender(self) -> Sends:
        from queue_runtime.clouds.azure import functions_connection, service_bus_client
        from queue_runtime.transports.service_bus.sender import ServiceBusSender

        connection = functions_connection(self.source.connection, os.environ)
        return ServiceBusSender(self.source.name, lambda: service_bus_client(connection))


def _caller(context: Any) -> tuple[str, str] | None:
    """Give the W3C headers of the span in which the host invoked us.

    The worker itself makes it current for async functions at best, and never ends it.
    """
    trace = getattr(context, "trace_context", None)
    parent = getattr(trace, "trace_parent", None)
    return (parent, getattr(trace, "trace_state", None) or "") if parent else None
