"""Sends messages so that metrics count them, and their receivers know where they come from."""

from __future__ import annotations

import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.observability.events import events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from queue_runtime.config import Settings
    from queue_runtime.transports.base import OutgoingMessage, SendResult, Transport

# SQS takes ten attributes, and one has to be left for what a dead-letter says of its failure.
_MOST_ON_SQS: Final = 9


async def send_observed(
    transport: Transport, messages: Sequence[OutgoingMessage], settings: Settings
) -> Sequence[SendResult]:
    """Send, count and time it; with tracing, in a span that the messages name as their origin.

    Raises:
        TransportError: the whole request failed; it is counted all the same.
    """
    system = transport.system
    span = _span(transport, system, messages, settings)
    if span is not None:
        messages = [_carrying(message, span.get_span_context(), system) for message in messages]
    started = perf_counter()
    failed, kind = len(messages), "interrupted"
    try:
        results = await transport.send(messages)
        errors = [result.error for result in results if result.error is not None]
        failed, kind = len(errors), type(errors[0]).__qualname__ if errors else ""
        return results
    except Exception as error:
        kind = type(error).__qualname__
        raise
    finally:
        events.sent(transport.queue, len(messages), failed, perf_counter() - started)
        if span is not None:
            _end(span, kind)


def _span(
    transport: Transport, system: str, messages: Sequence[OutgoingMessage], settings: Settings
) -> Any | None:
    # A process that has not loaded OpenTelemetry has set no SDK up either.
    if settings.tracing != "otel" or "opentelemetry.trace" not in sys.modules or not messages:
        return None
    from opentelemetry.trace import Link, SpanKind, get_tracer

    from queue_runtime.observability.span_attributes import Names
    from queue_runtime.observability.trace_context import w3c_context

    names = Names(system, settings.semconv, lambda: transport.place)
    attributes = dict(names.of_operation("send", transport.queue))
    if len(messages) > 1:
        attributes["messaging.batch.message_count"] = len(messages)
    made = [w3c_context(message.attributes.get("traceparent")) for message in messages]
    # Where each message names another span as its origin, this one only carries them.
    kind = SpanKind.CLIENT if all(made) else SpanKind.PRODUCER
    links = [Link(context) for context in made if context is not None]
    tracer = get_tracer("queue_runtime")
    return tracer.start_span(f"send {transport.queue}", None, kind, attributes, links)


def _end(span: Any, kind: str) -> None:
    if kind:
        from opentelemetry.trace import Status, StatusCode

        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR))
    span.end()


def _carrying(message: OutgoingMessage, context: Any, system: str) -> OutgoingMessage:
    from dataclasses import replace

    from queue_runtime.observability.trace_context import traceparent, xray_header

    if not context.is_valid or "traceparent" in message.attributes:
        return message  # the caller says better where it comes from
    attributes: Mapping[str, Any] = {**message.attributes, "traceparent": traceparent(context)}
    if system != "aws_sqs" or len(attributes) <= _MOST_ON_SQS:
        state = context.trace_state.to_header()
        if state and (system != "aws_sqs" or len(attributes) < _MOST_ON_SQS):
            attributes = {**attributes, "tracestate": state}
        return replace(message, attributes=attributes)
    # A system attribute counts neither among the ten nor in the size.
    header = {"DataType": "String", "StringValue": xray_header(context)}
    system_attributes = {
        "AWSTraceHeader": header,
        **message.native.get("MessageSystemAttributes", {}),
    }
    return replace(message, native={**message.native, "MessageSystemAttributes": system_attributes})
