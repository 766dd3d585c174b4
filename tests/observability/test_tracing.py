from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from queue_runtime import Batch, DeadLetter, Message, Retry, queue_handler
from queue_runtime.config import load_settings
from queue_runtime.observability.events import events
from queue_runtime.observability.span_attributes import SpanPlace
from queue_runtime.observability.trace_context import (
    creation_contexts,
    traceparent,
    w3c_context,
    xray_context,
    xray_header,
)
from queue_runtime.observability.tracing import Tracing
from queue_runtime.testing import sns_notification, sqs_event
from queue_runtime.transports.base import OutgoingMessage
from queue_runtime.transports.sqs.wire import LAMBDA_RECORD
from tests.lambda_rig import Rig, Sqs, fifo, records
from tests.observability.rig import OTHER_PRODUCER, PRODUCER, XRAY, poll

seen: list[tuple[str, str]] = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


def current() -> str:
    return traceparent(trace.get_current_span().get_span_context())


@queue_handler(tracing="otel", dead_letter="dlq")
def take(message: Message[str]) -> None:
    seen.append((message.body, current()))
    if message.body == "busy":
        raise Retry("busy", after=3)
    if message.body == "bad":
        raise DeadLetter("SECRET")
    if message.body == "broken":
        raise KeyError("SECRET")


@queue_handler(tracing="otel", concurrency=3)
async def take_in_loop(message: Message[str]) -> None:
    before = current()
    await asyncio.sleep(0)
    assert current() == before
    seen.append((message.body, before))


@queue_handler(tracing="otel")
def take_all(batch: Batch[str]) -> None:
    seen.append(("batch", current()))
    if batch[0].body == "broken":
        batch.fail(batch[0], KeyError("SECRET"))


def _named(spans: Any, name: str) -> list[Any]:
    return [span for span in spans.get_finished_spans() if span.name == name]


def _traced(body: str, parent: str = PRODUCER) -> dict[str, Any]:
    (record,) = records(body, attributes={"traceparent": parent, "correlation_id": "c1"})
    return record


def test_a_process_span_is_linked_to_its_producer_and_a_child_of_its_delivery(spans: Any) -> None:
    Rig(take)(_traced("a"))
    one, batch = _named(spans, "process orders")
    assert one.kind is batch.kind is SpanKind.CONSUMER
    assert one.parent.span_id == batch.context.span_id
    assert batch.parent is None
    assert [traceparent(link.context) for link in one.links] == [PRODUCER]
    assert not batch.links  # its message's span has it
    assert seen == [("a", traceparent(one.context))]
    assert one.attributes["messaging.message.id"] == "m1"
    assert one.attributes["messaging.message.conversation_id"] == "c1"


@queue_handler(tracing="otel", envelope="sns")
def take_published(message: Message[str]) -> None:
    seen.append((message.id, message.body))


@pytest.mark.parametrize("count", [1, 2])
def test_the_trace_id_and_correlation_inside_an_envelope_are_those_of_the_spans(
    spans: Any, count: int
) -> None:
    told = {"traceparent": PRODUCER, "correlation_id": "c1"}
    notification = sns_notification("a", attributes=told)
    Rig(take_published)(*records(*[notification] * count))
    one = _named(spans, "process orders")[0]
    id = json.loads(notification)["MessageId"]
    assert seen == [(id, "a")] * count
    assert [traceparent(link.context) for link in one.links] == [PRODUCER]
    assert one.attributes["messaging.message.id"] == id
    assert one.attributes["messaging.message.conversation_id"] == "c1"


def test_the_producer_is_the_parent_where_the_operator_asks_for_it(spans: Any) -> None:
    poll(
        take,
        OutgoingMessage(body="a", attributes={"traceparent": PRODUCER}),
        queue="parent",
        trace_parent=True,
    )
    (one,) = _named(spans, "process parent")
    assert f"{one.parent.span_id:016x}" == PRODUCER.split("-")[2]
    assert f"{one.context.trace_id:032x}" == PRODUCER.split("-")[1]


def test_with_a_delivery_span_as_the_parent_the_producer_stays_a_link(spans: Any) -> None:
    Rig(take, trace_parent=True)(_traced("a"))
    one, batch = _named(spans, "process orders")
    assert one.parent.span_id == batch.context.span_id


def test_overlapping_async_calls_each_see_their_own_span(spans: Any) -> None:
    Rig(take_in_loop)(*records("a", "b", "c"))
    by_id = {
        span.attributes.get("messaging.message.id"): traceparent(span.context)
        for span in _named(spans, "process orders")
    }
    assert dict(seen) == {"a": by_id["m1"], "b": by_id["m2"], "c": by_id["m3"]}


def test_a_batch_handler_has_one_span_for_its_call(spans: Any) -> None:
    Rig(take_all)(*records("a", "b", attributes={"traceparent": PRODUCER}))
    (batch,) = _named(spans, "process orders")
    assert batch.attributes["messaging.batch.message_count"] == 2
    assert [link.attributes["messaging.message.id"] for link in batch.links] == ["m1", "m2"]
    assert seen == [("batch", traceparent(batch.context))]


def test_a_batch_with_a_failure_is_an_error_that_names_its_kind(spans: Any) -> None:
    Rig(take_all)(*records("broken", "b"))
    (batch,) = _named(spans, "process orders")
    assert batch.status.status_code is StatusCode.ERROR
    assert batch.attributes["error.type"] == "KeyError"


@pytest.mark.parametrize(
    ("body", "disposition", "error"),
    [("a", None, None), ("busy", "retry", None), ("broken", "retry", "KeyError")],
)
def test_a_span_tells_the_outcome_and_a_signal_is_no_error(
    body: str, disposition: str | None, error: str | None, spans: Any
) -> None:
    Rig(take)(*records(body))
    one = _named(spans, "process orders")[0]
    assert one.attributes.get("queue_runtime.disposition") == disposition
    assert one.attributes.get("error.type") == error
    assert (one.status.status_code is StatusCode.ERROR) == bool(error)


def test_nothing_of_a_body_or_an_exceptions_text_is_in_a_span(spans: Any) -> None:
    Rig(take)(*records("bad", "broken", "a", "busy"))
    Rig(take_all)(*records("broken"))
    everything = "".join(span.to_json() for span in spans.get_finished_spans())
    assert "SECRET" not in everything
    assert "exception" not in everything


def test_poison_has_a_span_too(spans: Any) -> None:
    @queue_handler(tracing="otel")
    def typed(body: dict[str, Any]) -> None: ...

    Rig(typed)(*records("{no"))
    one = _named(spans, "process orders")[0]
    assert one.attributes["error.type"] == "BodyDecodeError"


def test_settling_on_lambda_has_spans_for_what_is_asked_of_sqs_only(spans: Any) -> None:
    Rig(take)(*records("a", "busy", "bad"))
    names = [span.name for span in spans.get_finished_spans()]
    assert sorted(names) == [
        "abandon orders",
        "dead_letter orders",
        *["process orders"] * 4,
    ]
    (abandon,) = _named(spans, "abandon orders")
    processed = next(
        span
        for span in _named(spans, "process orders")
        if span.attributes.get("messaging.message.id") == "m2"
    )
    assert abandon.kind is SpanKind.CLIENT
    assert [link.context for link in abandon.links] == [processed.context]
    assert abandon.parent.span_id == processed.parent.span_id
    assert abandon.attributes["messaging.operation.type"] == "settle"


def test_a_groups_messages_are_below_their_session(spans: Any) -> None:
    Rig(take)(*fifo(("g", "a"), ("h", "b"), ("g", "c")))
    sessions = {
        span.context.span_id: span.attributes["queue_runtime.session_id"]
        for span in _named(spans, "session orders.fifo")
    }
    parents = {
        span.attributes["messaging.message.id"]: sessions[span.parent.span_id]
        for span in _named(spans, "process orders.fifo")
        if "messaging.message.id" in span.attributes
    }
    assert parents == {"m1": "g", "m2": "h", "m3": "g"}


def test_a_poller_records_receive_process_and_complete(spans: Any) -> None:
    poll(take, *[OutgoingMessage(body=body) for body in ("a", "b")], queue="plain")
    names = sorted(span.name for span in spans.get_finished_spans())
    assert names == ["complete plain", "process plain", "process plain", "receive plain"]
    (complete,) = _named(spans, "complete plain")
    processed = {span.context.span_id for span in _named(spans, "process plain")}
    assert {link.context.span_id for link in complete.links} == processed
    assert complete.attributes["messaging.batch.message_count"] == 2
    (receive,) = _named(spans, "receive plain")
    assert receive.start_time < receive.end_time


def test_a_pollers_sync_handlers_run_in_threads_with_their_span(spans: Any) -> None:
    where = []

    @queue_handler(tracing="otel")
    def handler(body: str) -> None:
        where.append((threading.current_thread(), current()))

    poll(handler, OutgoingMessage(body="a"), queue="threads")
    (one,) = _named(spans, "process threads")
    ((thread, context),) = where
    assert thread is not threading.main_thread()
    assert context == traceparent(one.context)


def test_what_is_kept_of_held_messages_is_let_go(spans: Any) -> None:
    tracings: list[Tracing] = []

    async def keep(messages: Any, call_next: Any) -> Any:
        tracings.extend(each for each in events._watchers if isinstance(each, Tracing))
        return await call_next(messages)

    handler = queue_handler(tracing="otel", call_middleware=[keep])(take.definition.function)
    poll(handler, *[OutgoingMessage(body=body) for body in ("a", "b", "bad")], queue="kept")
    rig = Rig(handler)
    rig(*fifo(("g", "a"), ("g", "broken")))
    for tracing in tracings:
        assert not tracing._producers
        assert not tracing._processed
        assert not tracing._sessions
    assert tracings


def test_two_hosts_in_a_process_do_not_record_each_others(spans: Any) -> None:
    Rig(take)(*records("a"))
    poll(take, OutgoingMessage(body="b"), queue="theirs")
    assert len(_named(spans, "receive theirs")) == 1
    assert len(_named(spans, "complete theirs")) == 1


def test_the_span_of_the_official_instrumentation_is_taken_and_not_doubled(spans: Any) -> None:
    import sys
    from types import ModuleType

    from opentelemetry.instrumentation.aws_lambda import AwsLambdaInstrumentor

    rig = Rig(take)
    module = ModuleType("instrumented")
    module.handler = rig.host.__call__  # type: ignore[attr-defined]
    sys.modules["instrumented"] = module
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
        patch.setenv("_HANDLER", "instrumented.handler")
        instrumentor = AwsLambdaInstrumentor()
        instrumentor.instrument(skip_dep_check=True)
        try:
            from queue_runtime.testing import lambda_context

            event = sqs_event("a", attributes={"traceparent": PRODUCER})
            module.handler(event, lambda_context())
        finally:
            instrumentor.uninstrument()
            del sys.modules["instrumented"]
    processes = _named(spans, "process orders")
    assert len(processes) == 2
    one, batch = processes
    assert one.parent.span_id == batch.context.span_id
    assert batch.parent is not None  # the invocation's span


@pytest.mark.parametrize("names", ["current", "guide", "both"])
def test_attribute_names_are_the_operators_choice(names: str, spans: Any) -> None:
    Rig(take, semconv=names)(*fifo(("g", "a")))
    one = _named(spans, "process orders.fifo")[0].attributes
    current_names = {
        "messaging.system": "aws_sqs",
        "messaging.destination.name": "orders.fifo",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.message.id": "m1",
    }
    guide = {
        "messaging.system": "aws_sqs",
        "messaging.destination": "orders.fifo",
        "messaging.operation": "process",
        "messaging.message_id": "m1",
        "messaging.conversation_id": "g",
    }
    expected = {"current": current_names, "guide": guide, "both": {**guide, **current_names}}
    assert dict(one) == expected[names]


def test_a_subscription_is_told_from_its_topic() -> None:
    from queue_runtime.observability.span_attributes import Names

    place = SpanPlace("shop.servicebus.windows.net", "news", "all")
    found = Names("servicebus", "current", lambda: place).of_operation("process", "news/all")
    assert found["messaging.destination.name"] == "news"
    assert found["messaging.destination.subscription.name"] == "all"
    assert found["server.address"] == "shop.servicebus.windows.net"


def test_the_guides_name_of_service_bus_is_the_guides() -> None:
    from queue_runtime.observability.span_attributes import Names

    assert Names("servicebus", "guide").of_operation("process", "q")["messaging.system"] == (
        "azure_service_bus"
    )
    assert Names("servicebus", "both").of_operation("process", "q")["messaging.system"] == (
        "servicebus"
    )


def test_a_crash_in_tracing_changes_no_outcome(
    spans: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(*_: Any, **__: Any) -> Any:
        raise RuntimeError("SECRET")

    for name in ("serve", "begin", "end", "begin_delivery", "end_delivery", "settled"):
        monkeypatch.setattr(Tracing, name, crash)
    assert Rig(take)(*records("a", "busy")).fates == ["ack", "retry"]
    assert "SECRET" not in caplog.text
    assert "RuntimeError in settled of telemetry (at " in caplog.text
    assert f"in {crash.__qualname__})" in caplog.text


HOSTILE = "\ud800\n\x1b[31m" + "x" * 250_000


def _forged(record: dict[str, Any]) -> dict[str, Any]:
    identity = {"stringValue": json.dumps({"id": HOSTILE}), "dataType": "String"}
    correlation = {"stringValue": HOSTILE, "dataType": "String"}
    record["messageAttributes"] = {"queue_runtime": identity, "correlation_id": correlation}
    record["attributes"]["MessageGroupId"] = HOSTILE
    return record


def test_what_a_producer_wrote_can_be_sent_with_a_span(spans: Any) -> None:
    forged, good = fifo(("g", "a"), ("h", "b"))
    Rig(take, semconv="both")(_forged(forged), good)
    texts = [
        value
        for span in spans.get_finished_spans()
        for value in span.attributes.values()
        if isinstance(value, str)
    ]
    assert len([text for text in texts if text.startswith("\\ud800\\n\\x1b[31mxxx")]) == 5
    assert all(len(text.encode()) <= 1_100 for text in texts)
    assert len(_named(spans, "process orders.fifo")) == 3


@pytest.mark.parametrize("state", ["x" * 250_000, "a=1\nFORGED", "a=\x1b[31m", "a=\ud800"])
def test_a_tracestate_that_none_can_be_is_left_out_and_logged_by_nobody(
    state: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (context,) = creation_contexts(_message(traceparent=PRODUCER, tracestate=state))
    assert dict(context.trace_state) == {}
    assert caplog.records == []


# --- carriers ------------------------------------------------------------------------------------


def _message(system: str | None = None, **attributes: Any) -> Message[str]:
    (record,) = records("x", attributes=attributes)
    if system:
        record["attributes"]["AWSTraceHeader"] = system
    return Message(record, LAMBDA_RECORD, "q")


@pytest.mark.parametrize("name", ["traceparent", "Diagnostic-Id"])
def test_w3c_is_read_from_either_attribute(name: str) -> None:
    (context,) = creation_contexts(_message(**{name: PRODUCER}))
    assert traceparent(context) == PRODUCER
    assert context.is_remote


def test_tracestate_comes_along() -> None:
    (context,) = creation_contexts(_message(traceparent=PRODUCER, tracestate="a=1,b=2"))
    assert dict(context.trace_state) == {"a": "1", "b": "2"}


def test_x_ray_is_read_and_written() -> None:
    (context,) = creation_contexts(_message(XRAY))
    assert xray_header(context) == XRAY


def test_two_producers_are_two_links_and_w3c_is_first() -> None:
    contexts = creation_contexts(_message(XRAY, traceparent=PRODUCER))
    assert [traceparent(contexts[0]), xray_header(contexts[1])] == [PRODUCER, XRAY]


def test_the_same_trace_in_both_is_one_link() -> None:
    same = xray_header(w3c_context(PRODUCER))  # type: ignore[arg-type]
    assert len(creation_contexts(_message(same, traceparent=PRODUCER))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        PRODUCER.upper(),
        "ff" + PRODUCER[2:],
        PRODUCER + "x",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
        7,
    ],
)
def test_a_producers_mistake_costs_its_trace_and_no_message(text: Any, spans: Any) -> None:
    assert w3c_context(text) is None
    result = Rig(take)(*records("a", attributes={"traceparent": text or "x"}))
    assert result.fates == ["ack"]


def test_a_later_version_is_read_by_what_we_know_of_it() -> None:
    assert w3c_context("01" + PRODUCER[2:] + "-more") is not None


@pytest.mark.parametrize("header", ["", XRAY.partition(";")[0], "Root=x;Parent=y"])
def test_an_x_ray_header_without_a_span_says_nothing(header: str) -> None:
    assert xray_context(header) is None


def test_an_attribute_that_cannot_be_read_costs_no_other_ones_trace() -> None:
    message = _message(traceparent=PRODUCER)
    message.native["messageAttributes"]["n"] = {"dataType": "Number", "stringValue": "x"}
    assert len(creation_contexts(message)) == 1


def test_a_span_of_nothing_that_is_sampled_out_says_so() -> None:
    unsampled = PRODUCER[:-1] + "0"
    (context,) = creation_contexts(_message(traceparent=unsampled))
    assert traceparent(context) == unsampled
    assert xray_header(context).endswith("Sampled=0")


def test_each_poller_has_a_settings_choice(spans: Any) -> None:
    assert load_settings(take.definition.settings, environ={}).tracing == "otel"
    assert load_settings({}, environ={"QUEUE_TRACING": "xray"}).tracing == "xray"


def test_a_dead_letter_keeps_its_producers_context() -> None:
    sqs = Sqs()
    Rig(take, sqs=sqs)(_traced("bad", OTHER_PRODUCER))
    (entry,) = sqs.sent
    assert entry["MessageAttributes"]["traceparent"]["StringValue"] == OTHER_PRODUCER
