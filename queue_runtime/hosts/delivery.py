"""Runs and settles pushed deliveries: all between a host's decoding and its answer.

A new host decodes its input into messages, carries steps out (`Settles`), and encodes the outcomes
that `PushDelivery.process` gives. Pollers have another middle, since they hold
messages for longer than one delivery.
"""

from __future__ import annotations

from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from queue_runtime.definition import Shape, settings_of
from queue_runtime.dispatch import Order, as_one, at_once, in_turn
from queue_runtime.observability.events import GroupsOfDelivery, events
from queue_runtime.observability.settings_lines import begin_with
from queue_runtime.outcome import ACK, Outcome, unrun
from queue_runtime.pipeline import Pipeline
from queue_runtime.settlement.failures import outcomes_of
from queue_runtime.settlement.plan import Rules, plan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
    from typing import TypeAlias

    from queue_runtime.breaker import Breaker
    from queue_runtime.config import Settings
    from queue_runtime.definition import Handles
    from queue_runtime.dispatch import Deadline
    from queue_runtime.message import Message
    from queue_runtime.middleware import Messages, Process
    from queue_runtime.observability.span_attributes import SpanPlace
    from queue_runtime.observability.telemetry import Caller, Watch
    from queue_runtime.settlement.failures import SettleFailure
    from queue_runtime.settlement.plan import Abilities, Step

    Hold: TypeAlias = Callable[[Awaitable[Sequence[Outcome]]], Awaitable[Sequence[Outcome]]]

# The time kept for settling never takes more than this part of an invocation, or nothing would
# ever start.
LARGEST_RESERVE: Final = 0.25
_BREAKER_OPEN: Final = "the circuit breaker is open"
_NOT_TRIED: Final = "the circuit breaker lets one message try"


class Settles(Protocol):
    """Carries steps out for one delivery.

    - `abilities`: how it delays and dead-letters.
    - `acknowledges`: whether an acknowledged message needs a step; False where the host's own
      answer acknowledges it.
    """

    @property
    def abilities(self) -> Abilities:
        """Tell how messages are delayed and dead-lettered."""

    @property
    def acknowledges(self) -> bool:
        """Tell whether acknowledged messages need a step."""

    async def settle(self, steps: Sequence[Step], /) -> Sequence[SettleFailure]:
        """Carry steps out, and name those that failed."""


class Arrival:
    """Describes one delivery beyond its messages.

    Args:
        queue: the queue's name.
        ordered: whether its messages have to be done in the order of their groups.
        deadline: until when work may start.
        within: `traceparent` and `tracestate` of the host's own span around it, if it has one.
        own_span: whether the delivery has a span itself.
        hold: awaits the handler's run, keeping locks meanwhile; None where the host keeps them.
    """

    __slots__ = ("deadline", "hold", "ordered", "own_span", "queue", "within")

    def __init__(
        self,
        queue: str,
        deadline: Deadline,
        *,
        ordered: bool = False,
        within: Caller = None,
        own_span: bool = True,
        hold: Hold | None = None,
    ) -> None:
        self.queue, self.deadline, self.ordered = queue, deadline, ordered
        self.within, self.own_span, self.hold = within, own_span, hold


class PushDelivery:
    """Runs one handler on what a host hands over, and settles it: one outcome for each message.

    Args:
        handler: the decorated function.
        settings: None reads file and environment.
        host: its name in the table of settings, for what has no effect there.
        system: what OpenTelemetry calls the queue service.
        place: tells where the queue is, for spans.
        fixed_locks: locks cannot be extended on this host.
        completes: whether completed messages are acknowledged by a request of ours.
        breaks: whether the circuit breaker works here: an open one needs delays.
        observe: called with all messages and their final outcomes, in the order of the delivery.
        clock: what the breaker counts by.
        used: settings that the host takes no notice of as a rule, and does here.
    """

    def __init__(
        self,
        handler: Handles,
        *,
        settings: Settings | None,
        host: Literal["lambda", "functions"],
        system: str,
        place: Callable[[], SpanPlace | None] = lambda: None,
        fixed_locks: bool = False,
        completes: bool = True,
        breaks: bool = True,
        observe: Callable[[Sequence[Message[Any]], Sequence[Outcome]], None] | None = None,
        clock: Callable[[], float] = monotonic,
        used: Collection[str] = (),
    ) -> None:
        self.settings = settings_of(handler, settings)
        self.definition = handler.definition.bound(self.settings, fixed_locks=fixed_locks)
        self._policy = self.definition.policy(self.settings)
        self._rules = Rules(
            self._policy.backoff.delay, self.definition.name, self.settings.error_text
        )
        self._system, self._place, self._completes = system, place, completes
        self._observe = observe
        self._breaker = self._new_breaker(clock) if breaks else None
        wanted = self.settings.logs or self.settings.metrics or self.settings.tracing
        self.watch: Watch | None = self._new_watch() if wanted else None
        self.pipeline = self._new_pipeline()
        begin_with(self.settings.queue, self.settings, host, but=used)

    async def process(
        self, messages: Messages, arrival: Arrival, place: Settles
    ) -> Sequence[Outcome]:
        """Run the handler on all messages, settle them, and give the final outcome of each."""
        self.pipeline.open(messages)
        events.received(arrival.queue, messages)
        if self.watch is None and not events.watching:
            outcomes = await self._outcomes(messages, arrival, place)
        else:
            with self._watching().delivery(
                arrival.queue, messages, within=arrival.within, own_span=arrival.own_span
            ):
                outcomes = await self._outcomes(messages, arrival, place)
        if self._observe:
            events.observe(messages, self._observe, messages, outcomes)
        return outcomes

    def flush(self, deadline: Deadline) -> None:
        """Send spans and metrics, in the time that is left for that."""
        if self.watch is not None:
            self.watch.flush(min(self.settings.flush_seconds, deadline.left() + deadline.reserve))

    async def _outcomes(
        self, messages: Messages, arrival: Arrival, place: Settles
    ) -> Sequence[Outcome]:
        queue = arrival.queue
        groups = GroupsOfDelivery(queue, messages) if arrival.ordered else None
        run = self._run(messages, self._dispatch(arrival, place))
        outcomes = await (run if arrival.hold is None else arrival.hold(run))
        seconds = 0.0
        if place.acknowledges or outcomes.count(ACK) < len(outcomes):
            started = perf_counter()
            outcomes = await self._settle(queue, messages, outcomes, place)
            seconds = perf_counter() - started
            events.settle_request(queue, seconds)
        events.settled(queue, messages, outcomes, seconds)
        if groups is not None:
            groups.ended(messages, outcomes)
        return outcomes

    async def _settle(
        self, queue: str, messages: Messages, outcomes: Sequence[Outcome], place: Settles
    ) -> list[Outcome]:
        can, rules = place.abilities, self._rules
        steps = plan(messages, outcomes, can, rules)
        events.noted(queue, steps)
        failures = await place.settle(steps) if steps else ()
        final = outcomes_of(messages, outcomes, steps, failures, can, rules)
        failed = {id(failure.message) for failure in failures}
        # A message that could not be dead-lettered has a delay now, which is another step.
        delayed = [at for at, each in enumerate(messages) if id(each) in failed and final[at].delay]
        if delayed:
            again = await self._settle(
                queue, [messages[at] for at in delayed], [final[at] for at in delayed], place
            )
            for at, outcome in zip(delayed, again, strict=True):
                final[at] = outcome
        return final

    def _dispatch(self, arrival: Arrival, place: Settles) -> Process:
        definition, pipeline, deadline = self.definition, self.pipeline, arrival.deadline
        order = Order(self._dead_letter_now(arrival.queue, place)) if arrival.ordered else None

        def dispatch(messages: Messages) -> Coroutine[Any, Any, Sequence[Outcome]]:
            if definition.shape is Shape.BATCH:
                run_batch, is_async = pipeline.run_batch, definition.is_async
                return as_one(messages, run_batch, deadline, is_async=is_async, order=order)
            if not definition.is_async:
                return in_turn(messages, pipeline.run, deadline, order)
            concurrency = self.settings.concurrency
            return at_once(messages, pipeline.run, deadline, concurrency=concurrency, order=order)

        return dispatch

    def _dead_letter_now(self, queue: str, place: Settles) -> Any:
        async def settle(message: Message[Any], outcome: Outcome) -> Outcome:
            (final,) = await self._settle(queue, [message], [outcome], place)
            return final.replace(settled=True) if final is outcome else final

        return settle

    # --- circuit breaker -------------------------------------------------------------------------

    async def _run(self, messages: Messages, dispatch: Process) -> Sequence[Outcome]:
        breaker = self._breaker
        if breaker is None:
            return await self.pipeline.deliver(messages, dispatch)
        breaker.queue = messages[0].queue
        admission = breaker.admit(len(messages))
        count = admission.allowed
        if not count:
            return [unrun(_BREAKER_OPEN, delay=admission.wait)] * len(messages)
        outcomes = await self.pipeline.deliver(messages[:count], dispatch)
        for outcome in outcomes:
            breaker.record(outcome)
        # The rest waits for the trial: as long as its message where that failed, for order's sake.
        rest = unrun(_NOT_TRIED, delay=outcomes[0].delay or 0.0)
        return [*outcomes, *[rest] * (len(messages) - count)]

    def _new_breaker(self, clock: Callable[[], float]) -> Breaker | None:
        if not self.settings.breaker_failures:
            return None
        from queue_runtime.breaker import Breaker

        return Breaker.of(self.settings, clock)

    # --- telemetry -------------------------------------------------------------------------------

    def _watching(self) -> Watch:
        """Give the telemetry, made now where observation was switched on after this host."""
        if self.watch is None:
            self.watch = self._new_watch()
            self.pipeline = self._new_pipeline()
        return self.watch

    def _new_watch(self) -> Watch:
        from queue_runtime.observability.telemetry import watch_for  # most functions have none

        return watch_for(
            self.settings,
            self.definition,
            self._system,
            completes=self._completes,
            place=self._place,
        )

    def _new_pipeline(self) -> Pipeline:
        around = None if self.watch is None else self.watch.around()
        return Pipeline(self.definition, self._policy, around=around)
