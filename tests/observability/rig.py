"""What these tests share: pollers over queues, and spans as a tree that can be compared."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime.config import load_settings
from queue_runtime.hosts.poller import Poller, Until
from queue_runtime.transports import open_transport
from tests.brokers.service_bus import ServiceBusBroker
from tests.brokers.sqs import SqsBroker
from tests.brokers_tests.service_bus.bench import collect_leaks
from tests.sqs_rig import aws_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

    from queue_runtime.definition import Handles
    from queue_runtime.transports.base import OutgoingMessage, Transport

PRODUCER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER_PRODUCER = "00-11112222333344445555666677778888-1111222233334444-01"
XRAY = "Root=1-57ff426a-80c11c39b0c928905eb0828d;Parent=1111222233334445;Sampled=1"


def poll(
    handler: Handles,
    *messages: OutgoingMessage,
    queue: str,
    options: str = "",
    until: Until = Until.EMPTY,
    **settings: object,
) -> None:
    """Send messages to a local queue in memory, and poll it until it is empty."""
    known = load_settings(handler.definition.settings, environ={}, arguments=settings)
    transport = open_transport(f"local://{queue}?memory{options}", settings=known)
    poll_on(transport, handler, *messages, until=until, **settings)


def poll_on(
    transport: Transport,
    handler: Handles,
    *messages: OutgoingMessage,
    until: Until = Until.ONCE,
    **settings: object,
) -> None:
    """Send messages, and poll until one receive is answered."""

    async def run() -> None:
        known = load_settings(handler.definition.settings, environ={}, arguments=settings)
        try:
            await transport.send(messages)
            await Poller(handler, transport, settings=known).run(until)
        finally:
            await transport.aclose()

    asyncio.run(run())


@contextmanager
def sqs_broker() -> Iterator[SqsBroker]:
    """Run SQS on loopback, where the AWS SDK of this process finds it."""
    with pytest.MonkeyPatch.context() as patch, SqsBroker() as broker:
        aws_environment(patch, broker.endpoint_url)
        yield broker


@contextmanager
def service_bus_broker() -> Iterator[ServiceBusBroker]:
    """Run Service Bus on loopback; the SDK leaves sockets to the garbage collector."""
    with ServiceBusBroker() as broker:
        yield broker
    collect_leaks()


def tree(spans: Sequence[ReadableSpan]) -> list[dict[str, Any]]:
    """Give spans below their parents, with ids that say nothing replaced by what they stand for."""
    names = {span.context.span_id: _label(span) for span in spans if span.context}
    return [_node(span, spans, names) for span in _ordered(spans) if not _parent_in(span, names)]


def _node(
    span: ReadableSpan, spans: Sequence[ReadableSpan], names: dict[int, str]
) -> dict[str, Any]:
    assert span.context is not None
    node: dict[str, Any] = {"name": span.name, "kind": span.kind.name}
    if span.parent is not None and span.parent.span_id not in names:
        node["remote_parent"] = _written(span.parent)
    node["attributes"] = dict(sorted((span.attributes or {}).items()))
    node["status"] = span.status.status_code.name
    if span.links:
        node["links"] = [
            {
                "to": names.get(link.context.span_id, _written(link.context)),
                "attributes": dict(sorted((link.attributes or {}).items())),
            }
            for link in span.links
        ]
    children = [
        _node(child, spans, names)
        for child in _ordered(spans)
        if child.parent is not None and child.parent.span_id == span.context.span_id
    ]
    return {**node, "children": children} if children else node


def _written(context: SpanContext) -> str:
    return f"{context.trace_id:032x}-{context.span_id:016x}"


def _ordered(spans: Sequence[ReadableSpan]) -> list[ReadableSpan]:
    # By name, then by time: what runs one after the other stays in its order.
    return sorted(spans, key=lambda span: (span.name, span.start_time or 0))


def _parent_in(span: ReadableSpan, names: dict[int, str]) -> bool:
    return span.parent is not None and span.parent.span_id in names


def _label(span: ReadableSpan) -> str:
    attributes = span.attributes or {}
    message = attributes.get("messaging.message.id") or attributes.get("messaging.message_id") or ""
    return f"{span.name} {message}".strip()
