"""Records spans with OpenTelemetry: of each call, of deliveries and sessions, and of settling."""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opentelemetry.context import attach, detach
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    NoOpTracerProvider,
    ProxyTracerProvider,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    get_tracer,
    get_tracer_provider,
    set_span_in_context,
)

from queue_runtime.observability.events import events
from queue_runtime.observability.span_attributes import Names
from queue_runtime.observability.trace_context import creation_contexts, w3c_context
from queue_runtime.outcome import ACK, Disposition, Signal
from queue_runtime.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanContext, Tracer

    from queue_runtime.config import Settings
    from queue_runtime.message import Message
    from queue_runtime.observability.span_attributes import SpanPlace
    from queue_runtime.outcome import Outcome

_OPERATIONS: Final = {
    Disposition.ACK: "complete",
    Disposition.RETRY: "abandon",
    Disposition.DEAD_LETTER: "dead_letter",
}
_WITHOUT_SDK: Final = (ProxyTracerProvider, NoOpTracerProvider)
_FAILED: Final = Status(StatusCode.ERROR)  # never with a text: it could quote a body


# A span that is current, how to make it so no more, and the one message that it is about.
Begun: TypeAlias = "tuple[Span, Token[Context], Message[Any] | None]"


class Tracing:
    """The spans of one host.

    A process span is linked to its producer's. It is the child of the span of its delivery or
    session where there is one, of its producer's span where the operator asked for that, and else
    begins a trace.

    Args:
        system: what OpenTelemetry calls the queue service.
        settings: for the names, and for what may be a parent.
        is_batch: whether the handler takes batches, which have no spans for single messages.
        completes: whether completed messages are acknowledged by a request of ours.
        tracer: None takes the process's own.
        place: tells where the queue is.
    """

    def __init__(
        self,
        system: str,
        settings: Settings,
        *,
        is_batch: bool = False,
        completes: bool = True,
        tracer: Tracer | None = None,
        place: Callable[[], SpanPlace | None] = lambda: None,
    ) -> None:
        self._names = Names(system, settings.semconv, place)
        self._producer_is_parent = settings.trace_parent
        self._is_batch = is_batch
        self._completes = completes
        self._tracer = tracer or get_tracer("queue_runtime")
        self._queues: set[str] = set()
        self._own_tracer = tracer is not None
        self._recording = self._has_said_why = False
        # By the identity of a held message: its producer's spans, and then its process span.
        self._producers: dict[int, tuple[SpanContext, ...]] = {}
        self._processed: dict[int, SpanContext] = {}
        self._sessions: dict[tuple[str, str], Span] = {}

    # --- calls -----------------------------------------------------------------------------------

    def begin(self, message: Message[Any]) -> Begun | None:
        """Open one message's process span and make it current; None where spans are off."""
        if not self._recording:
            return None
        names, queue = self._names, message.queue
        producers = self._producers.get(id(message)) if self._producers else None
        if producers is None:
            producers = creation_contexts(message)
        attributes = names.with_message(names.of_operation("process", queue), message)
        span = self._tracer.start_span(
            f"process {queue}",
            self._parent(message, producers),
            SpanKind.CONSUMER,
            attributes,
            [Link(context) for context in producers] if producers else None,
        )
        if self._completes:
            self._processed[id(message)] = span.get_span_context()
        return span, attach(set_span_in_context(span)), message

    def begin_batch(self, messages: Sequence[Message[Any]]) -> Begun | None:
        """Open the process span of a batch handler's call, unless its delivery has one already."""
        if not self._recording:
            return None
        queue = messages[0].queue
        current = get_current_span()
        if _is_batch_span(current, queue):
            return INVALID_SPAN, attach(set_span_in_context(current)), None
        span = self._batch_span(queue, messages, self._links(messages))
        for message in messages:
            self._processed[id(message)] = span.get_span_context()
        return span, attach(set_span_in_context(span)), None

    def end(self, begun: Begun, outcomes: Sequence[Outcome]) -> None:
        """Close a span with what it came to; none where the call was interrupted."""
        span, token, message = begun
        said_of = get_current_span() if span is INVALID_SPAN else span
        if not outcomes:
            _failed(said_of, "interrupted")
        for outcome in outcomes:
            if outcome is not ACK:
                _say(said_of, outcome)
                if message is not None:  # what is settled by a request links to it
                    self._processed[id(message)] = span.get_span_context()
                break
        detach(token)
        span.end()

    # --- deliveries ------------------------------------------------------------------------------

    def serve(self, queue: str) -> None:
        """Record what is done to a queue; what other hosts do to theirs is theirs to record."""
        self._queues.add(queue)
        self._recording = self._look_for_sdk()
        if not self._recording and not self._has_said_why:
            self._has_said_why = True
            events.say_once(
                queue,
                "tracing",
                'tracing="otel" records nothing: the application has set no OpenTelemetry SDK up',
            )

    def begin_delivery(
        self,
        queue: str,
        messages: Sequence[Message[Any]],
        within: tuple[str, str] | None,
        own_span: bool,
    ) -> Begun | None:
        """Open one span for all that comes of one delivery, parent of its messages' spans.

        Where OpenTelemetry's own instrumentation of Lambda has opened it, that one is taken.
        """
        self.serve(queue)
        if not self._recording:
            return None
        outer = None
        if within and (caller := w3c_context(*within)) is not None:
            outer = set_span_in_context(NonRecordingSpan(caller))
        current = get_current_span(outer)
        if not own_span or _is_batch_span(current, queue):
            return INVALID_SPAN, attach(set_span_in_context(current)), None
        # Where each message has a span, that one has the link, and a second one would say no more.
        links = self._links(messages) if self._is_batch else None
        span = self._batch_span(queue, messages, links, outer)
        return span, attach(set_span_in_context(span)), None

    def end_delivery(self, begun: Begun, messages: Sequence[Message[Any]], error: str) -> None:
        """Close a delivery's span; `error` is the kind of what ended it, if something did."""
        span, token, _ = begun
        if error:
            _failed(span, error)
        detach(token)
        span.end()
        if self._processed or self._producers:
            for message in messages:
                self.forgotten(message)

    def _batch_span(
        self,
        queue: str,
        messages: Sequence[Message[Any]],
        links: list[Link] | None,
        parent: Context | None = None,
    ) -> Span:
        # A delivery of one message to a handler of single ones has a span below, which names it.
        attributes = self._of("process", queue, messages, named=self._is_batch)
        return self._tracer.start_span(
            f"process {queue}", parent, SpanKind.CONSUMER, attributes, links
        )

    # --- what report tells -----------------------------------------------------------------------

    def received(self, queue: str, messages: Sequence[Message[Any]], seconds: float) -> None:
        """Record a receive of ours."""
        if queue not in self._queues:
            return
        self._recording = self._look_for_sdk()
        if seconds and self._recording:
            self._record("receive", queue, messages, self._links(messages), seconds)

    def settled(
        self,
        queue: str,
        messages: Sequence[Message[Any]],
        outcomes: Sequence[Outcome],
        seconds: float,
    ) -> None:
        """Record what was settled by requests of ours, a span for each way of settling."""
        if queue not in self._queues or not self._recording:
            return
        try:
            if seconds:
                self._record_settled(queue, messages, outcomes, seconds)
        finally:
            if self._processed or self._producers:
                for message in messages:
                    self.forgotten(message)

    def _record_settled(
        self,
        queue: str,
        messages: Sequence[Message[Any]],
        outcomes: Sequence[Outcome],
        seconds: float,
    ) -> None:
        for disposition, operation in _OPERATIONS.items():
            if disposition is Disposition.ACK and not self._completes:
                continue
            chosen = [
                message
                for message, outcome in zip(messages, outcomes, strict=True)
                if outcome.disposition is disposition
            ]
            self._record(operation, queue, chosen, self._process_links(chosen), seconds)

    def forgotten(self, message: Message[Any]) -> None:
        """Keep nothing of a message any more."""
        self._producers.pop(id(message), None)
        self._processed.pop(id(message), None)

    def session_accepted(self, queue: str, session: str) -> None:
        """Open a session's span."""
        if queue not in self._queues or not self._recording:
            return
        attributes = {
            **self._names.of_operation("session", queue),
            "queue_runtime.session_id": printable(session),
        }
        self._sessions[queue, session] = self._tracer.start_span(
            f"session {queue}", None, SpanKind.CONSUMER, attributes
        )

    def session_ended(self, queue: str, session: str, *, completed: bool) -> None:
        """Close a session's span."""
        span = self._sessions.pop((queue, session), None)
        if span is not None:
            if not completed:
                span.set_attribute("queue_runtime.session_abandoned", True)
            span.end()

    def _look_for_sdk(self) -> bool:
        # OpenTelemetry's API alone records nothing, and to ask it costs as much as all else here.
        return self._own_tracer or not isinstance(get_tracer_provider(), _WITHOUT_SDK)

    # --- parts -----------------------------------------------------------------------------------

    def _record(
        self,
        operation: str,
        queue: str,
        messages: Sequence[Message[Any]],
        links: list[Link],
        seconds: float,
    ) -> None:
        if not messages:
            return
        attributes = self._of(operation, queue, messages)
        now = time_ns()
        self._tracer.start_span(
            f"{operation} {queue}",
            None,
            SpanKind.CLIENT,
            attributes,
            links,
            start_time=now - int(seconds * 1e9),
        ).end(now)

    def _of(
        self, operation: str, queue: str, messages: Sequence[Message[Any]], *, named: bool = True
    ) -> dict[str, Any]:
        """Give the attributes of what is done to messages: how many there are, or which one."""
        attributes = dict(self._names.of_operation(operation, queue))
        if len(messages) > 1:
            attributes["messaging.batch.message_count"] = len(messages)
        elif named:
            attributes = self._names.with_message(attributes, messages[0])
        return attributes

    def _parent(self, message: Message[Any], producers: tuple[SpanContext, ...]) -> Context | None:
        if self._sessions and message.group_id is not None:
            session = self._sessions.get((message.queue, message.group_id))
            if session is not None:
                return set_span_in_context(session)
        if (
            self._producer_is_parent
            and producers
            and not get_current_span().get_span_context().is_valid
        ):
            return set_span_in_context(NonRecordingSpan(producers[0]))
        return None

    def _producers_of(self, message: Message[Any]) -> tuple[SpanContext, ...]:
        key = id(message)
        known = self._producers.get(key)
        if known is None:
            known = self._producers[key] = creation_contexts(message)
        return known

    def _links(self, messages: Sequence[Message[Any]]) -> list[Link]:
        return [
            Link(context, self._names.with_message({}, message) if len(messages) > 1 else None)
            for message in messages
            for context in self._producers_of(message)
        ]

    def _process_links(self, messages: Sequence[Message[Any]]) -> list[Link]:
        # A batch handler's messages have one span in common, and one link to it says so.
        contexts = {
            context.span_id: context
            for message in messages
            if (context := self._processed.get(id(message))) is not None
        }
        return [Link(context) for context in contexts.values()]


def _is_batch_span(span: Span, queue: str) -> bool:
    return (
        span.is_recording()
        and getattr(span, "kind", None) is SpanKind.CONSUMER
        and getattr(span, "name", None) == f"process {queue}"
    )


def _say(span: Span, outcome: Outcome) -> None:
    span.set_attribute("queue_runtime.disposition", str(outcome.disposition))
    if outcome.unrun:
        _failed(span, "interrupted")
    elif outcome.error is not None and not isinstance(outcome.error, Signal):
        _failed(span, type(outcome.error).__qualname__)


def _failed(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(_FAILED)
