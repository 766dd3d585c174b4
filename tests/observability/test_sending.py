from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from queue_runtime.config import load_settings
from queue_runtime.errors import MessageTooLargeError, TransportError
from queue_runtime.observability import metrics
from queue_runtime.observability.trace_context import traceparent, xray_header
from queue_runtime.sending.observed_send import send_observed
from queue_runtime.transports.base import OutgoingMessage, SendResult
from tests.observability.rig import PRODUCER

if TYPE_CHECKING:
    from collections.abc import Sequence


class Outlet:
    """Takes what is sent."""

    def __init__(self, queue: str, system: str = "aws_sqs", refuse: int = 0) -> None:
        self.queue, self.system, self.place, self._refuse = queue, system, None, refuse
        self.sent: list[OutgoingMessage] = []
        self.broken = False

    async def send(self, messages: Sequence[OutgoingMessage]) -> Sequence[SendResult]:
        if self.broken:
            raise TransportError("no")
        self.sent += messages
        too_large = SendResult(error=MessageTooLargeError("SECRET"))
        return [too_large if at < self._refuse else SendResult() for at in range(len(messages))]


def _send(outlet: Any, *messages: OutgoingMessage, **settings: object) -> None:
    known = load_settings({}, environ={}, arguments={"tracing": "otel", **settings})
    asyncio.run(send_observed(outlet, messages, known))


def test_sends_are_counted_by_status_and_timed() -> None:
    outlet = Outlet("sends", refuse=1)
    _send(outlet, *[OutgoingMessage(body="a")] * 3, tracing=None)
    counts = metrics.MESSAGES_SENT.values()
    assert counts[("sends", "success")] == 2
    assert counts[("sends", "failure")] == 1
    assert sum(metrics.SEND_DURATION.values()[("sends",)][0]) == 1


def test_a_send_that_fails_as_a_whole_is_counted_too(spans: Any) -> None:
    outlet = Outlet("fails")
    outlet.broken = True
    with pytest.raises(TransportError):
        _send(outlet, *[OutgoingMessage(body="a")] * 2)
    assert metrics.MESSAGES_SENT.values()[("fails", "failure")] == 2
    (span,) = spans.get_finished_spans()
    assert span.attributes["error.type"] == "TransportError"


def test_messages_name_the_span_of_their_send(spans: Any) -> None:
    outlet = Outlet("named")
    _send(outlet, OutgoingMessage(body="a", attributes={"tenant": "x"}))
    (span,) = spans.get_finished_spans()
    assert (span.name, span.kind.name) == ("send named", "PRODUCER")
    assert outlet.sent[0].attributes == {"tenant": "x", "traceparent": traceparent(span.context)}


def test_a_refused_message_is_an_error_by_its_type(spans: Any) -> None:
    _send(Outlet("refused", refuse=1), OutgoingMessage(body="a"), OutgoingMessage(body="b"))
    (span,) = spans.get_finished_spans()
    assert span.attributes["error.type"] == "MessageTooLargeError"
    assert span.attributes["messaging.batch.message_count"] == 2
    assert "SECRET" not in span.to_json()


def test_what_the_caller_says_of_its_origin_stays(spans: Any) -> None:
    outlet = Outlet("said")
    _send(outlet, OutgoingMessage(body="a", attributes={"traceparent": PRODUCER}))
    assert outlet.sent[0].attributes == {"traceparent": PRODUCER}
    (span,) = spans.get_finished_spans()
    assert span.kind.name == "CLIENT"  # it is no message's origin
    assert [traceparent(link.context) for link in span.links] == [PRODUCER]


def test_one_message_without_an_origin_makes_the_send_one(spans: Any) -> None:
    _send(
        Outlet("mixed"),
        OutgoingMessage(body="a", attributes={"traceparent": PRODUCER}),
        OutgoingMessage(body="b"),
    )
    (span,) = spans.get_finished_spans()
    assert span.kind.name == "PRODUCER"
    assert len(span.links) == 1


@pytest.mark.parametrize(("count", "has_room"), [(8, True), (9, False), (10, False)])
def test_sqs_keeps_room_for_the_producers_attributes_and_our_own(
    count: int, has_room: bool, spans: Any
) -> None:
    outlet = Outlet("crowded")
    attributes = {f"a{number}": "x" for number in range(count)}
    _send(outlet, OutgoingMessage(body="a", attributes=attributes))
    (span,) = spans.get_finished_spans()
    (message,) = outlet.sent
    assert ("traceparent" in message.attributes) == has_room
    assert len(message.attributes) <= max(count, 9)
    if not has_room:
        header = message.native["MessageSystemAttributes"]["AWSTraceHeader"]
        assert header == {"DataType": "String", "StringValue": xray_header(span.context)}


def test_service_bus_has_room_for_all(spans: Any) -> None:
    outlet = Outlet("roomy", "servicebus")
    _send(outlet, OutgoingMessage(body="a", attributes={f"a{number}": "x" for number in range(30)}))
    assert "traceparent" in outlet.sent[0].attributes
    assert not outlet.sent[0].native


def test_without_tracing_nothing_is_added(spans: Any) -> None:
    outlet = Outlet("plain")
    _send(outlet, OutgoingMessage(body="a"), tracing=None)
    assert outlet.sent == [OutgoingMessage(body="a")]
    assert not spans.get_finished_spans()
