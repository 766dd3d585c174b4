"""Surrounds a host's calls with what observes them: log fields, times and spans."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from queue_runtime.definition import Shape
from queue_runtime.errors import MissingExtraError
from queue_runtime.observability.events import events
from queue_runtime.observability.exporters.logs import RUNNING, log_as_json
from queue_runtime.observability.metrics import HANDLER_DURATION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from queue_runtime.config import Settings
    from queue_runtime.definition import HandlerDefinition
    from queue_runtime.message import Message
    from queue_runtime.middleware import Messages, Run, RunBatch
    from queue_runtime.observability.span_attributes import SpanPlace
    from queue_runtime.outcome import Outcome


Took: TypeAlias = "Callable[[float], None]"
Caller: TypeAlias = tuple[str, str] | None


class Spans(Protocol):
    """Records spans around deliveries and calls."""

    def serve(self, queue: str, /) -> None:
        """Record what is done to a queue."""

    def begin(self, message: Message[Any], /) -> Any:
        """Open one message's span and make it current."""

    def begin_batch(self, messages: Messages, /) -> Any:
        """Open the span of a batch handler's call and make it current."""

    def end(self, begun: Any, outcomes: Sequence[Outcome], /) -> None:
        """Close what was begun; no outcomes where the call was interrupted."""

    def begin_delivery(
        self, queue: str, messages: Messages, within: Caller, own_span: bool, /
    ) -> Any:
        """Open the span of what a host handed over and make it current."""

    def end_delivery(self, begun: Any, messages: Messages, error: str, /) -> None:
        """Close it."""


class Watch:
    """Observes one host's deliveries and calls; changes no outcome.

    Args:
        system: what OpenTelemetry calls the queue service.
        spans: records spans; None records none.
        flushes: what sends before a reply, each given the seconds that it may take.
    """

    def __init__(
        self,
        system: str,
        spans: Spans | None = None,
        flushes: Sequence[Callable[[float], None]] = (),
    ) -> None:
        self._system = system
        self._spans = spans
        self._flushes = flushes
        self._durations: deque[float] = deque()
        events.watching = True

    def serve(self, queue: str) -> None:
        """Observe what is done to a queue."""
        events.systems[queue] = self._system
        if self._spans is not None:
            _careful(self._spans.serve, queue)

    def around(self, queue: str | None = None) -> AroundCalls:
        """Give what observes a pipeline's calls.

        Times are counted for `queue` at once; where it is None, at the end of each delivery, which
        is cheaper.
        """
        if queue is None:
            return AroundCalls(self._spans, self._durations.append)
        return AroundCalls(self._spans, lambda seconds: HANDLER_DURATION.record(seconds, queue))

    @contextmanager
    def delivery(
        self, queue: str, messages: Messages, *, within: Caller = None, own_span: bool = True
    ) -> Iterator[None]:
        """Surround what comes of one delivery.

        Args:
            queue: where the messages come from.
            messages: all of it.
            within: `traceparent` and `tracestate` of the host's span around it, if it has one.
            own_span: whether the delivery has a span itself.
        """
        self.serve(queue)
        spans, error, begun = self._spans, "", None
        if spans is not None:
            begun = _careful(spans.begin_delivery, queue, messages, within, own_span)
        try:
            yield
        except BaseException as raised:
            error = type(raised).__qualname__
            raise
        finally:
            self._count_durations(queue)
            if spans is not None and begun is not None:
                _careful(spans.end_delivery, begun, messages, error)

    def _count_durations(self, queue: str) -> None:
        found = []
        while self._durations:  # other deliveries may be adding to it, on other threads
            found.append(self._durations.popleft())
        HANDLER_DURATION.record_all(found, queue)

    def close(self) -> None:
        """Record nothing more of what is reported; another run brings its own."""
        if self._spans is not None:
            events.unwatch(self._spans)  # type: ignore[arg-type]  # one that never watched is no news

    def flush(self, seconds: float) -> None:
        """Send what was recorded, in at most so many seconds."""
        ends = monotonic() + seconds
        for send in self._flushes:
            left = ends - monotonic()
            if left > 0:
                _careful(send, left)
            else:
                events.say_once("telemetry", "flush", _NO_TIME)


class AroundCalls:
    """Surrounds calls with spans, times and log fields; see `Around`."""

    def __init__(self, spans: Spans | None, took: Took) -> None:
        self._spans, self._took = spans, took

    def one(self, run: Run) -> Run:
        """Observe the call for one message."""
        return _around_one(run, self._spans, self._took)

    def batch(self, run: RunBatch) -> RunBatch:
        """Observe the call for a batch."""
        return _around_batch(run, self._spans, self._took)


_NO_TIME: Final = (
    "there was no time left to send spans and metrics before the reply; they are sent with the "
    "next one's, or lost: QUEUE_FLUSH_SECONDS is what it may take"
)


def _careful(call: Callable[..., Any], *arguments: Any) -> Any:
    """Call what only looks on: where it fails, nothing else does."""
    try:
        return call(*arguments)
    except Exception as error:
        _say_failed(getattr(call, "__name__", "a part"), error)
        return None


def _say_failed(what: str, error: Exception) -> None:
    sentence = f"{type(error).__qualname__} in {what} of telemetry"
    events.say_once("telemetry", what, sentence, raised=error)


def _around_one(run: Run, spans: Spans | None, took: Took) -> Run:
    # Closures in the inner loop, as in the pipeline; each does what it is asked for and no more.
    async def timed(message: Message[Any]) -> Outcome:
        token = RUNNING.set(message) if events.binding else None
        started = perf_counter()
        try:
            return await run(message)
        finally:
            took(perf_counter() - started)
            if token is not None:
                RUNNING.reset(token)

    if spans is None:
        return timed
    begin, end = spans.begin, spans.end

    async def traced(message: Message[Any]) -> Outcome:
        try:
            begun = begin(message)
        except Exception as error:
            _say_failed("begin", error)
            begun = None
        if begun is None:
            return await timed(message)
        outcomes: Sequence[Outcome] = ()
        token = RUNNING.set(message) if events.binding else None
        started = perf_counter()
        try:
            outcome = await run(message)
            outcomes = (outcome,)
            return outcome
        finally:
            took(perf_counter() - started)
            if token is not None:
                RUNNING.reset(token)
            try:
                end(begun, outcomes)
            except Exception as error:
                _say_failed("end", error)

    return traced


def _around_batch(run: RunBatch, spans: Spans | None, took: Took) -> RunBatch:
    async def watched(messages: Messages) -> Sequence[Outcome]:
        begun = None if spans is None else _careful(spans.begin_batch, messages)
        token = RUNNING.set(messages) if events.binding else None
        started = perf_counter()
        outcomes: Sequence[Outcome] = ()
        try:
            outcomes = await run(messages)
            return outcomes
        finally:
            took(perf_counter() - started)
            if token is not None:
                RUNNING.reset(token)
            if spans is not None and begun is not None:
                _careful(spans.end, begun, outcomes)

    return watched


def watch_for(
    settings: Settings,
    definition: HandlerDefinition,
    system: str,
    *,
    completes: bool = True,
    place: Callable[[], SpanPlace | None] = lambda: None,
) -> Watch:
    """Set up what an operator asked for; all of it is imported here and nowhere before.

    Args:
        settings: of the host.
        definition: of the handler.
        system: what OpenTelemetry calls the queue service.
        completes: whether completed messages are acknowledged by a request of ours.
        place: tells where the queue is.

    Raises:
        MissingExtraError: an optional dependency is not installed.
    """
    if settings.logs == "json":
        log_as_json(info_lines=settings.info_lines)
    flushes = []
    if settings.metrics is not None:
        from queue_runtime.observability.exporters.choice import start_metrics

        if (send := start_metrics(settings.metrics)) is not None:
            flushes.append(send)
    spans: Spans | None = None
    if settings.tracing == "otel":
        try:
            from queue_runtime.observability.tracing import Tracing
        except ImportError:
            raise MissingExtraError("tracing with OpenTelemetry", "otel") from None
        is_batch = definition.shape is Shape.BATCH
        spans = Tracing(system, settings, is_batch=is_batch, completes=completes, place=place)
        events.watch(spans)
        from queue_runtime.observability.exporters.periodic import flush_spans

        flushes.append(flush_spans)
    elif settings.tracing == "xray":
        from queue_runtime.observability.xray import xray_spans

        spans = xray_spans(is_async=definition.is_async)
    return Watch(system, spans, flushes)
