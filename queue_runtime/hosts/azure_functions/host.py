"""Runs a handler on what a Service Bus trigger delivers, and settles it message by message."""

from __future__ import annotations

import os
from math import inf
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from queue_runtime.clouds.azure_settlement import SettlementClient
from queue_runtime.config import load_settings
from queue_runtime.definition import Shape
from queue_runtime.dispatch import Deadline, Order, as_one, at_once, in_turn
from queue_runtime.errors import InvocationFailedError
from queue_runtime.hosts.azure_functions.delayed_copies import DelayedCopies
from queue_runtime.hosts.azure_functions.lock_renewal import LockRenewal, lock_seconds_left
from queue_runtime.hosts.azure_functions.settling import Settled, Settling
from queue_runtime.message import Message
from queue_runtime.observability.events import GroupsOfDelivery, events
from queue_runtime.observability.log_lines import HeldLines
from queue_runtime.observability.span_attributes import SpanPlace
from queue_runtime.outcome import Disposition
from queue_runtime.pipeline import Pipeline, run_blocking
from queue_runtime.printable import printable
from queue_runtime.transports.service_bus.functions_wire import DELIVERY, LOCKED, Delivery
from queue_runtime.transports.service_bus.wire import SINGLE, FunctionWire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from queue_runtime.clouds.azure_settlement import Settles
    from queue_runtime.config import Settings
    from queue_runtime.definition import Handles
    from queue_runtime.hosts.azure_functions.delayed_copies import Sends
    from queue_runtime.middleware import Messages, Process
    from queue_runtime.observability.telemetry import Watch
    from queue_runtime.outcome import Outcome

# The reserve never takes more than this part of an invocation, or nothing would ever start.
_LARGEST_RESERVE: Final = 0.25
# A lock lasts five seconds at least; before that there is no need to look for its end.
_SHORTEST_LOCK: Final = 5.0
_LATE: Final = 2.0


class Source(NamedTuple):
    """What a trigger is bound to.

    - `name`: of the queue, or `topic/subscription`.
    - `connection`: the name of the app setting or group of settings.
    """

    name: str
    connection: str
    sessions: bool = False

    @property
    def is_queue(self) -> bool:
        """Whether what is sent there is received here and nowhere else."""
        return "/" not in self.name

    @property
    def place(self) -> SpanPlace | None:
        """What its spans tell beyond the name."""
        topic, slash, subscription = self.name.partition("/")
        return SpanPlace(topic=topic, subscription=subscription) if slash else None


class FunctionsHost:
    """What a trigger's function calls, with one message or with a batch.

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
        settlement: Settles | None = None,
        make_sender: Callable[[], Sends] | None = None,
        observe: Callable[[Sequence[Message[Any]], Sequence[Outcome]], None] | None = None,
    ) -> None:
        self.settings = settings or load_settings(handler.definition.settings)
        self.definition = handler.definition.bound(self.settings)
        self.source = source
        self.pipeline = Pipeline(self.definition, self.definition.policy(self.settings))
        self._seconds = seconds
        self._renews = renew_locks
        self._service: Settles = settlement or SettlementClient()
        self._observe = observe
        self._watch: Watch | None = None
        if self.settings.logs or self.settings.metrics or self.settings.tracing:
            self._watch = self._new_watch()
        self._settling = Settling(
            source.name,
            self._service,
            DelayedCopies(
                source.name,
                make_sender or self._make_sender,
                always=self.settings.delayed_retries,
                refused=why_no_copies(source),
            ),
            error_text=self.settings.error_text,
        )

    def run(self, native: Any, context: Any = None) -> None:
        """Process what came on a thread of the worker's; `context` is the invocation's own.

        Raises:
            InvocationFailedError: the host has to give back whatever is not settled.
        """
        started = monotonic()
        work = self._process(native, started, context)
        if self.pipeline.blocking:
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
        wire = self._wire(raws, many)
        queue = self.source.name
        messages: list[Message[Any]] = [Message(raw, wire, queue) for raw in raws]
        events.received(queue, messages)
        if self._watch is None and not events.watching:
            settled = await self._settled(messages, wire, started, many)
        else:
            watch = self._watch = self._watch or self._new_watch()
            # The host has a span for a single message, and none that is a batch's alone.
            with watch.delivery(queue, messages, within=_caller(context), own_span=many):
                settled = await self._settled(messages, wire, started, many)
        if self._observe:
            events.observe(messages, self._observe, messages, settled.outcomes)
        if settled.failure:
            raise InvocationFailedError(printable(settled.failure))

    async def _settled(
        self, messages: list[Message[Any]], wire: Any, started: float, many: bool
    ) -> Settled:
        queue = self.source.name
        groups = None
        if many and self.source.sessions:
            groups = GroupsOfDelivery(queue, messages)
        renewal = self._renewal(messages) if many and self._renews else None
        try:
            dispatch = self._dispatch(self._deadline(started))
            outcomes = await self.pipeline.deliver(messages, dispatch)
        finally:
            if renewal:
                await self._off_loop(renewal.stop)
        if many and not self._renews and monotonic() - started > _SHORTEST_LOCK:
            self._warn_if_late(messages[0])
        settling, seconds = perf_counter(), 0.0
        if many or outcomes[0].disposition is not Disposition.ACK:
            settled: Settled = await self._off_loop(self._settle, messages, outcomes, wire, many)
            seconds = perf_counter() - settling
        else:  # the host completes it, so there is nothing to wait for
            settled = Settled(list(outcomes))
        events.settled(queue, messages, settled.outcomes, seconds)
        if groups is not None:
            groups.ended(messages, settled.outcomes)
        return settled

    def _new_watch(self) -> Watch:
        from queue_runtime.observability.telemetry import watch_for

        watch = watch_for(
            self.settings, self.definition, "servicebus", place=lambda: self.source.place
        )
        watch.around(self.pipeline)
        return watch

    def _wire(self, raws: Sequence[Any], many: bool) -> Any:
        if isinstance(raws[0], Delivery):
            return DELIVERY
        if not hasattr(raws[0], "get_body"):
            return LOCKED
        return FunctionWire(len(raws), self._say_slid) if many else SINGLE

    def _settle(
        self, messages: Messages, outcomes: Sequence[Outcome], wire: Any, many: bool
    ) -> Settled:
        if not many:
            return self._settling.one(messages[0], outcomes[0], wire)
        if self.source.sessions:
            return self._settling.session(messages, outcomes)
        return self._settling.batch(messages, outcomes, wire)

    def _dispatch(self, deadline: Deadline) -> Process:
        definition, run = self.definition, self.pipeline.run
        order = Order(self._dead_letter_now) if self.source.sessions else None

        async def dispatch(messages: Messages) -> Sequence[Outcome]:
            if definition.shape is Shape.BATCH:
                return await as_one(
                    messages,
                    self.pipeline.run_batch,
                    deadline,
                    is_async=definition.is_async,
                    order=order,
                )
            if not definition.is_async:
                return await in_turn(messages, run, deadline, order)
            return await at_once(
                messages, run, deadline, concurrency=self.settings.concurrency, order=order
            )

        return dispatch

    async def _dead_letter_now(self, message: Message[Any], outcome: Outcome) -> Outcome:
        answer: Outcome = await self._off_loop(self._settling.dead_letter, message, outcome)
        return answer

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
        reserve = min(self.settings.reserve_seconds, self._seconds * _LARGEST_RESERVE)
        return Deadline(started + self._seconds - reserve, reserve=reserve)

    def _renewal(self, messages: Messages) -> LockRenewal:
        return LockRenewal(messages, self._service, session=self.source.sessions)

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


def why_no_copies(source: Source) -> str:
    """Say why a source's messages cannot be delayed by a copy; empty where they can."""
    if source.sessions:
        return (
            "retries are not delayed in sessions, where a copy would lose its place: the message "
            "comes back at once"
        )
    if not source.is_queue:
        return (
            "retries are not delayed on subscriptions, where a copy would go to all of the topic: "
            "the message comes back at once"
        )
    return ""
